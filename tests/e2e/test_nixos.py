"""The NixOS module, evaluated by Debian's Nix with a stand-in for nixpkgs (`nixos_stub.nix`)."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.config.settings import parse
from tests.contrib.test_nixos import MODULE, PACKAGE
from tests.e2e.trees import WITH_DNS, NoTreeError, extended
from tests.e2e.wheels import ROOT
from tests.support.nix import value_of
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

PAGE: Final = (ROOT / "docs/wiring/nixos.md").read_text("utf-8")
ENABLED, NEWER = (dedent(block) for block in re.findall(r"(?ms)^ *```nix\n(.*?)^ *```$", PAGE))
"""The configurations of the page."""
LIBRARIES: Final = sorted({"hatchling", *re.findall(r"^    ([a-z-]+)$", PACKAGE, re.MULTILINE)})
SOCKETMAP: Final = "socketmap:inet:127.0.0.1:8461:"
# The tree is read-only, and Nix gets no store.
_INSIDE: Final = """\
tree=$1 source=$2 libraries=$3; shift 3
mount --bind "$tree" "$tree" && mount -o remount,bind,ro "$tree" &&
mount -t proc proc "$tree/proc" && mount -t tmpfs tmpfs "$tree/tmp" &&
mount -t tmpfs tmpfs "$tree/mnt" && mkdir "$tree/mnt/postfix-mta-sts" &&
cd "$tree/mnt/postfix-mta-sts" && mount --bind "$source" . && mount -o remount,bind,ro . &&
echo "$libraries" > "$tree/mnt/libraries.json" &&
exec chroot "$tree" env HOME=/tmp NIX_REMOTE=dummy:// \\
    sh -c 'cd /mnt && exec nix-instantiate "$@"' nix-instantiate "$@"
"""


class Nix:
    """nix-instantiate(1) in a tree, run beside the checkout, as on the page."""

    def __init__(self, tree: Path) -> None:
        self._tree = tree

    def run(self, *words: str) -> str:
        """Return the output of a run that must succeed."""
        command: list[str | Path] = ["unshare", "--mount", "--net", "sh", "-c", _INSIDE, "inside"]
        command += [self._tree, ROOT, json.dumps(LIBRARIES)]
        done = subprocess.run([*command, *words], check=False, capture_output=True, text=True)
        assert done.returncode == 0, f"{shlex.join(words)}: {done.stderr}"
        return done.stdout

    def machine(
        self, configuration: str, *, is_new: bool = True, postfix: str = "3.10.4"
    ) -> dict[str, Any]:
        """Return what the module sets on a machine with this configuration, and the package."""
        expression = f"""import ./postfix-mta-sts/tests/e2e/nixos_stub.nix {{
            machine = ({configuration});
            isNew = {json.dumps(is_new)};
            postfixVersion = "{postfix}";
        }}"""
        made: dict[str, Any] = json.loads(
            self.run("--eval", "--strict", "--json", "--expr", expression)
        )
        return made


@pytest.fixture(scope="module")
def nix(trees: dict[str, Path]) -> Nix:
    """Nix from Debian 13."""
    try:
        return Nix(extended(trees[WITH_DNS.postfix], "nix", ("nix-bin",)))
    except NoTreeError as error:
        cannot(str(error))


def test_syntax(nix: Nix) -> None:
    """Nix can read the files, and the second configuration of the page."""
    files = [path.relative_to(ROOT) for path in (ROOT / "contrib/nixos").glob("*.nix")]
    assert len(files) == 2
    nix.run("--parse", *(f"postfix-mta-sts/{path}" for path in files))
    assert "callPackage" in nix.run("--parse", "--expr", NEWER)


def test_enabled(nix: Nix) -> None:
    """The configuration of the page enables the unit, the socket, and the map in Postfix."""
    config = nix.machine(ENABLED)["config"]
    service = config["systemd"]["services"]["postfix-mta-sts"]
    expected = value_of(MODULE, "serviceConfig")
    assert service["serviceConfig"].keys() == expected.keys()
    same = expected.keys() - {"ExecStart", "ExecReload"}
    assert {key: service["serviceConfig"][key] for key in same} == {
        key: expected[key] for key in same
    }
    assert service["serviceConfig"]["ExecStart"] == "/package/bin/postfix-mta-sts serve"
    assert service["serviceConfig"]["ExecReload"] == "/coreutils/bin/kill -HUP $MAINPID"
    assert service["path"] == ["/postfix"]
    file = config["environment"]["etc"]["postfix-mta-sts.yml"]["source"]
    assert service["reloadTriggers"] == [file] == ["/generated/postfix-mta-sts.yml"]
    socket = config["systemd"]["sockets"]["postfix-mta-sts"]["socketConfig"]
    assert socket["ListenStream"] == "127.0.0.1:8461"
    assert [each["assertion"] for each in config["assertions"]] == [True]


@pytest.mark.parametrize(
    ("is_new", "postfix", "name"),
    [
        (True, "3.11.7", "QUERYwithTLSRPT"),
        (True, "3.9.1", "postfix"),
        (False, "3.10", "QUERYwithTLSRPT"),
    ],
)
def test_postfix(nix: Nix, postfix: str, name: str, *, is_new: bool) -> None:
    """Postfix gets the map that its version knows, by the option that this NixOS has."""
    config = nix.machine(ENABLED, is_new=is_new, postfix=postfix)["config"]
    found = config["services"]["postfix"]
    main = found["settings"]["main"] if is_new else found["config"]
    assert main["smtp_tls_policy_maps"] == [f"{SOCKETMAP}{name}"]
    assert (main["smtp_tls_security_level"], main["smtp_tls_loglevel"]) == ("may", "1")


def test_postfix_left_alone(nix: Nix) -> None:
    """Without `configurePostfix` nothing is set in Postfix."""
    config = nix.machine(more(ENABLED, "configurePostfix = false"))["config"]
    assert "postfix" not in config["services"]


def test_disabled(nix: Nix) -> None:
    """The module alone does nothing."""
    assert nix.machine(ENABLED.replace("enable = true", "enable = false"))["config"] == {}


def test_listen(nix: Nix) -> None:
    """A list of listeners without the address that Postfix asks is refused."""
    other = '{ tcp_table = "127.0.0.1:8462"; }'
    right = '{ socketmap = "127.0.0.1:8461"; }'
    for listen, is_right in ((other, False), (f"{other} {right}", True)):
        config = nix.machine(more(ENABLED, f"settings.listen = [ {listen} ]"))["config"]
        assert [each["assertion"] for each in config["assertions"]] == [is_right]


def test_trial(nix: Nix) -> None:
    """The line for a trial on the page is one that the daemon understands."""
    (line,) = re.findall(r"# (services\.postfix-mta-sts\.settings\.trial = .*;)", ENABLED)
    configuration = ENABLED.replace(f"# {line}", line)
    written = nix.machine(configuration)["written"]["services"]["postfix-mta-sts"]
    assert parse(json.dumps(written["settings"]), "page").trial.enabled  # JSON is YAML


def test_package(nix: Nix) -> None:
    """The package has the version of this checkout, and the files from which a wheel is built."""
    package = nix.machine(ENABLED)["package"]
    assert package["version"] == __version__
    assert package["build-system"] == ["hatchling"]
    assert "aiohttp" in package["dependencies"]
    sources = {Path(each).name for each in package["src"]}
    assert sources == {"LICENSE", "README.md", "postfix_mta_sts", "pyproject.toml"}


def more(configuration: str, line: str) -> str:
    """Add a setting of the daemon to a configuration."""
    enable = "services.postfix-mta-sts.enable = true;"
    assert enable in configuration
    return configuration.replace(enable, f"{enable}\n services.postfix-mta-sts.{line};")
