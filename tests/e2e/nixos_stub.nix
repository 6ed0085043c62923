# What contrib/nixos sets, as an attribute set: evaluated with as much of nixpkgs as it uses. The
# module system itself is not here: a merge takes the last definition, and priorities count nothing.
{
  machine, # a function of a NixOS configuration, as on the page
  isNew, # whether Postfix has services.postfix.settings, as from NixOS 25.11 on
  postfixVersion,
}:

let
  isSet = builtins.isAttrs;
  merge =
    one: other:
    one
    // builtins.mapAttrs (
      name: value: if isSet value && isSet (one.${name} or null) then merge one.${name} value else value
    ) other;

  lib = {
    getExe = package: "${package.outPath}/bin/${package.meta.mainProgram}";
    licenses.mit = "MIT";
    literalExpression = text: text;
    mkAfter = value: value;
    mkDefault = value: value;
    mkEnableOption = _: { default = false; };
    mkIf = condition: content: if condition then content else { };
    mkMerge = builtins.foldl' merge { };
    mkOption = option: option;
    mkOverride = _: value: value;
    optional = condition: value: if condition then [ value ] else [ ];
    platforms.linux = [ "x86_64-linux" ];
    types = {
      bool = "bool";
      package = "package";
    };
    versionAtLeast = version: least: builtins.compareVersions version least >= 0;
    fileset = {
      toSource = source: map (path: assert builtins.pathExists path; toString path) source.fileset;
      unions = paths: paths;
    };
  };

  postfix = {
    outPath = "/postfix";
    version = postfixVersion;
  };
  pkgs = {
    inherit postfix;
    coreutils = "/coreutils";
    callPackage =
      file: _:
      import file {
        inherit lib;
        python3Packages = libraries;
      };
    formats.yaml = _: {
      type = "yaml";
      generate = name: value: "/generated/${name}";
    };
  };
  libraries =
    builtins.listToAttrs (
      map (name: {
        inherit name;
        value = name;
      }) (builtins.fromJSON (builtins.readFile /mnt/libraries.json))
    )
    // {
      buildPythonApplication = package: package // { outPath = "/package"; };
    };

  module = import (builtins.head written.imports) {
    inherit lib pkgs;
    options.services.postfix = if isNew then { settings = { }; } else { };
    config.services = {
      postfix-mta-sts = merge defaults written.services.postfix-mta-sts;
      postfix = {
        enable = true;
      }
      // (if isNew then { package = postfix; } else { });
    };
  };
  defaults = builtins.mapAttrs (_: option: option.default) module.options.services.postfix-mta-sts;
  written = machine { inherit lib pkgs; };
in
{
  inherit (module) config;
  written = removeAttrs written [ "imports" ];
  package = removeAttrs defaults.package [ "outPath" ]; # with it, the JSON would be only that
}
