"""Where a command finds the daemon's store, and as whose user it writes there."""

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
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


class TestStorePath:
    """`store_path`."""

    def test_configured(self, tmp_path: Path) -> None:
        """What the configuration says goes before all else."""
        chosen = parse("cache: {path: /srv/p.db}", "test")
        assert store_path(chosen, {"STATE_DIRECTORY": "/s"}, tmp_path) == Path("/srv/p.db")

    def test_of_the_service(self, tmp_path: Path) -> None:
        """An administrator's shell has no $STATE_DIRECTORY: it is the service's if there is one."""
        assert store_path(Settings(), {"HOME": "/h"}, tmp_path) == tmp_path / "policies.db"

    @pytest.mark.parametrize(
        ("environ", "expected"),
        [
            ({"STATE_DIRECTORY": "/s", "HOME": "/h"}, "/s/policies.db"),
            ({"HOME": "/h"}, "/h/.local/state/postfix-mta-sts/policies.db"),
        ],
    )
    def test_otherwise(self, tmp_path: Path, environ: Mapping[str, str], expected: str) -> None:
        """Else it is where a daemon with the same environment has it."""
        folder = tmp_path if "STATE_DIRECTORY" in environ else tmp_path / "none"
        assert store_path(Settings(), environ, folder) == Path(expected)


class TestBecomeOwnerOf:
    """`become_owner_of`, in processes of their own."""

    SCRIPT = (
        "import os, sys, pathlib; from postfix_mta_sts.cli import locate;"
        "locate.become_owner_of(pathlib.Path(sys.argv[1]));"
        "print(os.getresuid(), os.getresgid(), os.getgroups())"
    )

    def become(self, folder: Path) -> str:
        """Who a process is after it has become the owner of the folder."""
        words: list[str | Path] = [sys.executable, "-c", self.SCRIPT, folder]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()

    @only_root
    def test_another_user(self, tmp_path: Path) -> None:
        """Root becomes the owner for good, with the owner's groups and no others."""
        os.chown(tmp_path, NOBODY, 0)
        ids = f"({NOBODY}, {NOBODY}, {NOBODY})"
        assert self.become(tmp_path) == f"{ids} {ids} [{NOBODY}]"

    @only_root
    def test_a_user_without_a_name(self, tmp_path: Path) -> None:
        """An owner whom this system does not know is known by the folder's group."""
        os.chown(tmp_path, 54_321, 54_322)
        assert self.become(tmp_path) == "(54321, 54321, 54321) (54322, 54322, 54322) []"

    @only_root
    def test_root(self, tmp_path: Path) -> None:
        """Root's own folder is root's to write in."""
        assert self.become(tmp_path).startswith("(0, 0, 0)")

    @only_root
    def test_no_folder(self, tmp_path: Path) -> None:
        """Where there is none root is told what to do: whose it must be, nobody here knows."""
        with pytest.raises(CommandError, match="start the daemon once, or: install -d"):
            become_owner_of(tmp_path / "none")


async def test_what_a_store_says(tmp_path: Path) -> None:
    """An error of the store is one for the person, while it is used as well as at first."""
    path = tmp_path / "policies.db"

    async def write() -> None:
        async with open_store(path) as store:
            with closing(sqlite3.connect(path, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                await store.remove_expired(0.0)

    with pytest.raises(CommandError, match="locked"):
        await write()
