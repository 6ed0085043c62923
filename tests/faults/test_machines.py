"""Machines that lack what most have: a home, a passwd entry, CA certificates, an address family."""

import pwd
from pathlib import Path
from typing import NoReturn

import pytest

from postfix_mta_sts.config import settings as config
from postfix_mta_sts.config.settings import default_cache_path, default_control_path
from postfix_mta_sts.daemon.assembly import running
from tests.support.daemons import RunningDaemon, secure
from tests.support.internet import Internet


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without $HOME that passwd(5) does not know, as `docker run --user 12345` makes one."""

    def unknown(_: object) -> NoReturn:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.mark.usefixtures("no_home")
class TestNoHome:
    """D10: a user without a home, which no file of the system knows."""

    async def test_the_daemon_starts(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With `cache.path` it answers; only the control socket may be missing."""
        monkeypatch.setattr(config, "_STATE_FOLDER", tmp_path)  # not /var/lib, if root tests
        changes = {"control": {"path": None}}
        settings = net.settings(tmp_path, changes)
        async with running(settings, {}, https_port=net.hosts.port):
            assert await RunningDaemon(tmp_path).ask("good.test") == secure("good.test")

    def test_default_paths(self) -> None:
        """Without a path in the settings it is the folder of the systemd service."""
        folder = Path("/var/lib/postfix-mta-sts")
        assert default_cache_path({}) == folder / "policies.db"
        assert default_control_path({}) == folder / "control.sock"
