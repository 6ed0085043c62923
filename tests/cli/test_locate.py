"""The path of the daemon's store, and the user that a command writes it as."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import pytest

from postfix_mta_sts.cli.locate import become_owner_of, open_store, store_path
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.config.settings import Settings, parse

NOBODY = 65_534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can change its user")


class TestStorePath:
    """`store_path`."""

    def test_configured(self, tmp_path: Path) -> None:
        """The configured path comes first."""
        chosen = parse("cache: {path: /srv/p.db}", "test")
        assert store_path(chosen, {"STATE_DIRECTORY": "/s"}, tmp_path) == Path("/srv/p.db")

    def test_of_the_service(self, tmp_path: Path) -> None:
        """Without $STATE_DIRECTORY, as in a shell, the service's folder is used if it exists."""
        assert store_path(Settings(), {"HOME": "/h"}, tmp_path) == tmp_path / "policies.db"

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({"STATE_DIRECTORY": "/s", "HOME": "/h"}, "/s/policies.db"),
            ({"HOME": "/h"}, "/h/.local/state/postfix-mta-sts/policies.db"),
        ],
    )
    def test_default(self, tmp_path: Path, environ: Mapping[str, str], expected: str) -> None:
        """Otherwise the path is that of a daemon with the same environment."""
        folder = tmp_path if "STATE_DIRECTORY" in environ else tmp_path / "none"
        assert store_path(Settings(), environ, folder) == Path(expected)


class TestBecomeOwnerOf:
    """`become_owner_of`, in child processes."""

    SCRIPT = (
        "import os, sys, pathlib; from postfix_mta_sts.cli import locate;"
        "locate.become_owner_of(pathlib.Path(sys.argv[1]));"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )

    def become(self, folder: Path) -> str:
        """Return user, group and groups of a process that has become the owner of the folder."""
        words: list[str | Path] = [sys.executable, "-c", self.SCRIPT, folder]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    @only_root
    def test_another_user(self, tmp_path: Path) -> None:
        """Root becomes the owner permanently, with the owner's groups and no others."""
        os.chown(tmp_path, NOBODY, 0)
        ids = f"({NOBODY}, {NOBODY}, {NOBODY})"
        assert self.become(tmp_path) == f"{ids} {ids} [{NOBODY}]"

    @only_root
    def test_a_user_without_a_name(self, tmp_path: Path) -> None:
        """An owner without an account on this system gets the group of the folder."""
        os.chown(tmp_path, 54_321, 54_322)
        assert self.become(tmp_path) == "(54321, 54321, 54321) (54322, 54322, 54322) []"

    @only_root
    def test_root(self, tmp_path: Path) -> None:
        """For a folder of root nothing changes."""
        assert self.become(tmp_path).startswith("(0, 0, 0)")

    @only_root
    def test_no_folder(self, tmp_path: Path) -> None:
        """For a missing folder the error says what to do, because its owner is not known."""
        with pytest.raises(CommandError, match="start the daemon once, or: install -d"):
            become_owner_of(tmp_path / "none")


async def test_store_error(tmp_path: Path) -> None:
    """An error of the store becomes a `CommandError`, on opening and later."""
    path = tmp_path / "policies.db"

    async def write() -> None:
        async with open_store(path) as store:
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                await store.remove_expired(0.0)

    with pytest.raises(CommandError, match="locked"):
        await write()
