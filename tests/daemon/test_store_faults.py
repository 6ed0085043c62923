"""A store that fails, under the whole daemon."""

import contextlib
import sqlite3
from pathlib import Path

import pytest

from tests.support.daemons import (
    daemon,
    fetch_times,
    secure,
    until,
)
from tests.support.dns import Fault
from tests.support.internet import Internet


class TestStore:
    """The daemon answers while its store fails."""

    async def test_locked(self, net: Internet, tmp_path: Path) -> None:
        """While another process locks the file all look-ups are answered, and written later."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
            with contextlib.closing(sqlite3.connect(running.store, isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                net.publish("new.test")
                assert await running.ask("new.test") == secure("new.test")
                assert await running.ask("good.test") == secure("good.test")
        assert fetch_times(running.store).keys() == {"good.test", "new.test"}

    @pytest.mark.parametrize("how", ["damaged", "removed", "a folder"])
    async def test_destroyed(self, net: Internet, tmp_path: Path, how: str) -> None:
        """A file that is removed or overwritten costs no reply and no cached policy."""
        async with daemon(net, tmp_path) as running:
            await running.ask("good.test")
            damage(running.store, how)
            net.publish("new.test")
            assert await running.ask("new.test") == secure("new.test")
            assert await running.ask("good.test") == secure("good.test")
            if how == "a folder":
                running.store.rmdir()
            await until(lambda: stored_domains(running.store) == {"good.test", "new.test"})
        assert fetch_times(running.store).keys() == {"good.test", "new.test"}

    async def test_unusable_from_the_start(self, net: Internet, tmp_path: Path) -> None:
        """With a directory in place of the file the daemon starts and serves from memory."""
        (tmp_path / "policies.db").mkdir()
        async with daemon(net, tmp_path) as running:
            assert await running.ask("good.test") == secure("good.test")
            net.vanish(Fault.SILENCE)
            assert await running.ask("[good.test]") == secure("good.test")


def stored_domains(path: Path) -> set[str]:
    """The domains in the store; none if the file cannot be read."""
    try:
        return set(fetch_times(path)) if path.is_file() else set()
    except sqlite3.Error:
        return set()


def damage(path: Path, how: str) -> None:
    """Damage the file of a store."""
    if how == "damaged":
        path.write_bytes(b"\xff" * path.stat().st_size)
        return
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    if how == "a folder":
        path.mkdir()
