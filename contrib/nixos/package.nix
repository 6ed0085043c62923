# The daemon, built from this checkout with the Python libraries of nixpkgs:
#   nix-build -E 'with import <nixpkgs> { }; callPackage ./contrib/nixos/package.nix { }'
# The build ends with an error that names them if some are older than pyproject.toml asks for.
{
  lib,
  python3Packages,
}:

let
  versionFile = builtins.readFile ../../postfix_mta_sts/__init__.py;
in
python3Packages.buildPythonApplication {
  pname = "postfix-mta-sts";
  version = builtins.head (builtins.match ".*__version__ = \"([^\"]+)\".*" versionFile);
  pyproject = true;

  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../LICENSE
      ../../README.md
      ../../postfix_mta_sts
      ../../pyproject.toml
    ];
  };

  build-system = [ python3Packages.hatchling ];

  dependencies = with python3Packages; [
    aiohappyeyeballs
    aiohttp
    aiosqlite
    cryptography
    httptools
    idna
    msgspec
    prometheus-client
    pyopenssl
    pyyaml
    rich
    shtab
    uvloop
    # For relays that share a store; imported only if the configuration names one.
    asyncpg
    redis
  ];

  pythonImportsCheck = [ "postfix_mta_sts" ];

  meta = {
    description = "MTA-STS policies for Postfix (RFC 8461)";
    license = lib.licenses.mit;
    mainProgram = "postfix-mta-sts";
    platforms = lib.platforms.linux;
  };
}
