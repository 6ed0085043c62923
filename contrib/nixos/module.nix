# NixOS: the daemon, its socket, and the settings of Postfix; see docs/wiring/nixos.md. The unit is
# contrib/systemd/postfix-mta-sts.service, which has the reason for each line.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  cfg = config.services.postfix-mta-sts;

  # NixOS before 25.11 has neither this option nor services.postfix.settings.
  postfix = config.services.postfix.package or pkgs.postfix;
  hasSettings = options.services.postfix ? settings;

  format = pkgs.formats.yaml { };
  configFile = format.generate "postfix-mta-sts.yml" cfg.settings;

  address = "127.0.0.1:8461";
  # From 3.10 on Postfix knows the attributes for TLS reports.
  map = if lib.versionAtLeast postfix.version "3.10" then "QUERYwithTLSRPT" else "postfix";

  mainCf = {
    # Behind the tables of others, which are exceptions.
    smtp_tls_policy_maps = lib.mkAfter [ "socketmap:inet:${address}:${map}" ];
    # Weaker than what NixOS sets for DANE, stronger than the default of an option.
    smtp_tls_security_level = lib.mkOverride 1400 "may";
    smtp_tls_loglevel = lib.mkDefault "1";
  };
in
{
  options.services.postfix-mta-sts = {
    enable = lib.mkEnableOption "MTA-STS policies for Postfix (RFC 8461)";

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ./package.nix { };
      defaultText = lib.literalExpression "pkgs.callPackage ./package.nix { }";
      description = "The package of the daemon.";
    };

    settings = lib.mkOption {
      type = format.type;
      default = { };
      example = {
        trial = true;
        metrics.listen = "127.0.0.1:8463";
      };
      description = ''
        The content of {file}`/etc/postfix-mta-sts.yml`; {file}`config.example.yml` has every key.
        Everyone can read it in the Nix store: put passwords into files of their own.
      '';
    };

    configurePostfix = lib.mkOption {
      type = lib.types.bool;
      default = true;
      description = "Whether the Postfix of this machine, if it is enabled, asks the daemon.";
    };
  };

  config = lib.mkIf cfg.enable (
    lib.mkMerge [
      {
        services.postfix-mta-sts.settings.https.ca_file =
          lib.mkDefault "/etc/ssl/certs/ca-certificates.crt";

        assertions = [
          {
            assertion =
              !(cfg.settings ? listen) || builtins.elem { socketmap = address; } cfg.settings.listen;
            message = ''
              services.postfix-mta-sts.settings.listen lacks { socketmap = "${address}"; }, which
              systemd opens and Postfix asks.
            '';
          }
        ];

        environment.etc."postfix-mta-sts.yml".source = configFile;
        environment.systemPackages = [ cfg.package ];

        users.users.postfix-mta-sts = {
          description = "MTA-STS policies for Postfix";
          group = "postfix-mta-sts";
          isSystemUser = true;
        };
        users.groups.postfix-mta-sts = { };

        systemd.sockets.postfix-mta-sts = {
          description = "Address of the MTA-STS policy daemon for Postfix";
          before = [ "postfix.service" ];
          wantedBy = [ "sockets.target" ];
          socketConfig = {
            ListenStream = address;
            NoDelay = true;
            Backlog = 1024;
          };
        };

        systemd.services.postfix-mta-sts = {
          description = "MTA-STS policies for Postfix (RFC 8461)";
          documentation = [ "https://www.rfc-editor.org/rfc/rfc8461" ];
          wants = [ "network-online.target" ];
          after = [
            "network-online.target"
            "nss-lookup.target"
          ];
          before = [ "postfix.service" ];
          wantedBy = [ "multi-user.target" ];
          unitConfig.StartLimitIntervalSec = 0;
          # dane.mode: auto asks postconf.
          path = lib.optional config.services.postfix.enable postfix;
          reloadTriggers = [ configFile ];

          serviceConfig = {
            Type = "notify";
            ExecStart = "${lib.getExe cfg.package} serve";
            ExecReload = "${pkgs.coreutils}/bin/kill -HUP $MAINPID";
            Restart = "always";
            RestartSec = 1;
            TimeoutStopSec = 30;
            WatchdogSec = 30;
            LimitNOFILE = 65536;
            MemoryMax = "400M";
            TasksMax = 150;
            OOMPolicy = "continue";

            User = "postfix-mta-sts";
            StateDirectory = "postfix-mta-sts";
            StateDirectoryMode = "0700";
            RuntimeDirectory = "postfix-mta-sts";
            RuntimeDirectoryMode = "0755";
            UMask = "0077";

            CapabilityBoundingSet = "";
            NoNewPrivileges = true;
            LockPersonality = true;
            MemoryDenyWriteExecute = true;
            PrivateDevices = true;
            PrivateMounts = true;
            PrivateTmp = true;
            ProcSubset = "pid";
            ProtectClock = true;
            ProtectControlGroups = true;
            ProtectHome = true;
            ProtectHostname = true;
            ProtectKernelLogs = true;
            ProtectKernelModules = true;
            ProtectKernelTunables = true;
            ProtectProc = "invisible";
            ProtectSystem = "strict";
            RemoveIPC = true;
            RestrictAddressFamilies = "AF_INET AF_INET6 AF_NETLINK AF_UNIX";
            RestrictNamespaces = true;
            RestrictRealtime = true;
            RestrictSUIDSGID = true;
            SystemCallArchitectures = "native";
            SystemCallErrorNumber = "EPERM";
            SystemCallFilter = [
              "@system-service"
              "~@keyring @memlock @privileged @resources @setuid"
              "setpriority"
              "landlock_create_ruleset landlock_add_rule landlock_restrict_self"
            ];
          };
        };
      }

      (lib.mkIf (cfg.configurePostfix && config.services.postfix.enable) {
        services.postfix = if hasSettings then { settings.main = mainCf; } else { config = mainCf; };
      })
    ]
  );
}
