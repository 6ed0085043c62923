"""The files in contrib/ and the Dockerfile fit the package."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from postfix_mta_sts.config.settings import Settings, load, parse
from tests.support.obstacles import cannot

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "contrib/systemd"
EXPOSURE_LIMIT = 1.5


def analyze(*words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze(1)."""
    if not shutil.which("systemd-analyze"):
        cannot("there is no systemd-analyze (package systemd)")
    command = ["systemd-analyze", "--no-pager", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """Return the units, with a command that exists."""
    (tmp_path / "postfix-mta-sts").symlink_to(sys.executable)
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.socket")):
        command = f"ExecStart={tmp_path}/postfix-mta-sts"
        text = unit.read_text("utf-8").replace("ExecStart=postfix-mta-sts", command)
        (tmp_path / unit.name).write_text(text)
    return sorted([*tmp_path.glob("*.service"), *tmp_path.glob("*.socket")])


def test_units_are_valid(installed: list[Path]) -> None:
    """Systemd reports no errors in the units."""
    done = analyze("verify", *installed)
    assert len(installed) == 3
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_unit_has_few_privileges() -> None:
    """Systemd's measure of the privileges of the service stays below the limit."""
    done = analyze("security", "--offline=true", UNITS / "postfix-mta-sts.service")
    verdict = re.search(r"exposure level for .*: ([0-9.]+)", done.stdout)
    assert verdict, done.stderr
    assert float(verdict[1]) <= EXPOSURE_LIMIT


def test_sysusers_creates_the_user_of_the_unit() -> None:
    """The service runs as the user that sysusers.d creates."""
    unit = (UNITS / "postfix-mta-sts.service").read_text("utf-8")
    made = (UNITS / "sysusers.d/postfix-mta-sts.conf").read_text("utf-8")
    (user,) = re.findall(r"^User=(.*)$", unit, re.MULTILINE)
    assert re.findall(r"^u (\S+)", made, re.MULTILINE) == [user]


def test_socket_in_the_chroot_matches_its_comments() -> None:
    """The listener and the line for main.cf in the comments of the socket unit name its socket."""
    text = (UNITS / "postfix-mta-sts-chroot.socket").read_text("utf-8")
    (address,) = re.findall(r"^ListenStream=(.*)$", text, re.MULTILINE)
    shown = "\n".join(re.findall(r"^#   (listen:|  - .*)$", text, re.MULTILINE))
    first, second = parse(shown, "unit").listen
    assert (first,) == Settings().listen
    assert str(second.address) == f"unix:{address}"
    (queue_path,) = re.findall(r"socketmap:unix:(\S+):postfix", text)
    assert address == f"/var/spool/postfix/{queue_path}"


def test_socket_unit_opens_the_default_address() -> None:
    """The socket unit has the address that the daemon opens by default."""
    unit = (ROOT / "contrib/systemd/postfix-mta-sts.socket").read_text("utf-8")
    addresses = re.findall(r"^ListenStream=(.*)$", unit, re.MULTILINE)
    assert addresses == [str(listener.address) for listener in Settings().listen]


def test_image_accepts_connections_from_outside() -> None:
    """The image's configuration is valid, and its listener is not on loopback."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    written = re.search(r"printf '(.*)' > /etc/postfix-mta-sts\.yml", dockerfile)
    assert written
    (listener,) = parse(written[1].replace("\\n", "\n"), "image").listen
    exposed = re.search(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)
    assert exposed
    assert str(listener.address) == f"0.0.0.0:{exposed[1]}"


def test_compose() -> None:
    """The variables in compose.yml are valid, and both containers use the same addresses."""
    text = (ROOT / "contrib/docker/compose.yml").read_text("utf-8")
    services = yaml.safe_load(text)["services"]
    ours, mta = services["mta-sts"], services["mta"]
    tcp, unix = (str(each.address) for each in load(None, ours["environment"]).listen)
    folders = [dict([each.split(":")]) for each in (ours["volumes"][1], mta["volumes"][0])]
    shared, theirs = folders[0]["sockets"], folders[1]["sockets"]
    path = unix.removeprefix("unix:").replace(shared, theirs).removeprefix("/var/spool/postfix/")
    assert f"socketmap:unix:{path}:postfix" in text
    assert f"socketmap:inet:mta-sts:{tcp.rsplit(':', 1)[1]}:postfix" in text
    assert ours["read_only"]
    assert ours["cap_drop"] == ["ALL"]
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    health = ours["healthcheck"]
    how = "--interval={interval} --timeout={timeout} --start-period={start_period}".format_map(
        health
    )
    assert f"HEALTHCHECK {how} \\\n" in dockerfile
    assert health["test"] == ["CMD", "postfix-mta-sts", "healthcheck"]
    for folder in (shared, ours["volumes"][0].split(":")[1]):
        assert re.search(rf"install --directory .* {folder}\b", dockerfile)
