"""`import`: which rows of the other program's cache are imported, and why others are not."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from postfix_mta_sts.cli.main import main
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.store import Row
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.peer import body, peer_file
from tests.support.states import TEXT, a_state

GOOD = Domain("good.test")
NOW = int(time.time())


class Case:
    """The other program's cache, a store, and the command that imports one into the other."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.peer = folder / "cache.db"
        self.store = folder / "policies.db"
        self._config = folder / "config.yml"
        self._config.write_text(json.dumps({"cache": {"path": str(self.store)}}))
        self._capsys = capsys

    def run(self, *options: str) -> tuple[int, list[str], str]:
        """Run the command; return exit code, lines of standard output, and standard error."""
        code = main(["import", str(self.peer), "--config", str(self._config), *options])
        out, err = self._capsys.readouterr()
        return code, out.splitlines(), err

    def row(self, domain: Domain = GOOD) -> Row | None:
        """Return the row of a domain in the store."""

        async def row() -> Row | None:
            store = await SqliteStore.open(self.store)
            try:
                return await store.row(domain)
            finally:
                await store.close()

        return asyncio.run(row())

    def save(self, state: State, domain: Domain = GOOD) -> None:
        """Save a state in the store, as the daemon does."""

        async def save() -> None:
            store = await SqliteStore.open(self.store)
            await store.save(domain, state, 0.0)
            await store.close()

        asyncio.run(save())


@pytest.fixture
def case(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Case:
    """A case with an empty cache and an empty store."""
    return Case(tmp_path, capsys)


def test_times_kept(case: Case) -> None:
    """A policy keeps its age, counts as asked for when it was fetched, and is due for renewal."""
    with peer_file(case.peer) as peer:
        peer.put("good.test", NOW - 3600, "id1", body())
    assert case.run() == (0, [f"       1 imported into {case.store}"], "")
    row = case.row()
    assert row
    assert (row.state.fetched_at, row.state.policy_id) == (NOW - 3600, "id1")
    assert (row.state.expires_at, row.state.refetch_at) == (NOW - 3600 + 604_800, NOW - 3600)
    assert row.asked_at == NOW - 3600


def test_refused(case: Case) -> None:
    """Refused rows are counted by reason; the others are imported, and the exit code is 0."""
    with peer_file(case.peer) as peer:
        peer.put("good.test", NOW - 3600, "id1", body())
        peer.put("old.test", NOW - 3600, "id1", body(max_age=60))
        peer.put("older.test", NOW - 7200, "id1", body(max_age=60))
        peer.put("a..test", NOW - 3600, "id1", body())
        peer.put("bad.test", NOW - 3600, "id1", body(mx=["hostname"]))
    code, lines, err = case.run()
    assert (code, err) == (0, "")
    assert lines[:2] == [f"       1 imported into {case.store}", "       2 refused: expired"]
    assert set(lines[2:]) == {
        "       1 refused: invalid domain name",
        "       1 refused: invalid policy",
    }


def test_verbose(case: Case) -> None:
    """With -v each refused row is printed with its reason."""
    with peer_file(case.peer) as peer:
        peer.put("a..\x1b[2J", NOW - 3600, "id1", body())
        peer.put("bad.test", NOW - 3600, "id1", body(mx=["hostname"]))
    _, lines, _ = case.run("-v")
    assert lines[:2] == [
        r"row 1, a..\x1b[2J: invalid domain name: a..\x1b[2J",
        "row 2, bad.test: invalid policy: line 2: mx: not a fully qualified host name: 'hostname'",
    ]


def test_second_import(case: Case) -> None:
    """A second import changes nothing."""
    with peer_file(case.peer) as peer:
        for n in range(1200):
            peer.put(f"d{n}.test", NOW - 3600, "id1", body())
    assert case.run()[1] == [f"    1200 imported into {case.store}"]
    assert case.run()[1] == [
        f"       0 imported into {case.store}",
        "    1200 skipped: the store has a policy that is as good",
    ]


@pytest.mark.parametrize(
    ("fetched_at", "policy_id", "stays"),
    [
        (NOW - 60, "id2", True),
        (NOW - 7200, "id2", False),
        (NOW - 7200, "id1", True),
        (NOW - 700_000, "id1", False),
        (NOW + 9999, "id2", False),
    ],
    ids=["newer", "older", "older, same id", "expired, same id", "from the future"],
)
def test_stored_policy(case: Case, fetched_at: int, policy_id: str, stays: bool) -> None:  # noqa: FBT001 (a parameter of the table)
    """A stored policy stays if it was fetched later, or is valid and has the same id."""
    case.save(a_state(float(fetched_at), float(fetched_at), policy_id))
    with peer_file(case.peer) as peer:
        peer.put("good.test", NOW - 3600, "id1", body())
    case.run()
    row = case.row()
    assert row
    assert row.state.policy
    assert (row.state.policy.text.startswith(TEXT), row.state.fetched_at) == (
        (True, fetched_at) if stays else (False, NOW - 3600)
    )


def test_running_daemon(case: Case) -> None:
    """The command writes while the daemon has the store open."""
    with peer_file(case.peer) as peer:
        peer.put("good.test", NOW - 3600, "id1", body())

    async def imported() -> State | None:
        store = await SqliteStore.open(case.store)
        try:
            await asyncio.to_thread(case.run)
            return await store.load(GOOD)
        finally:
            await store.close()

    assert asyncio.run(imported())


@pytest.mark.parametrize("content", [None, b"no database"])
def test_unreadable(case: Case, content: bytes | None) -> None:
    """For an unreadable file the command prints one line on standard error; exit code 2."""
    if content:
        case.peer.write_bytes(content)
    code, lines, err = case.run()
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert err.startswith(f"postfix-mta-sts: {case.peer}: ")


def test_unwritable(case: Case) -> None:
    """For a store that it cannot write the command does the same."""
    with peer_file(case.peer) as peer:
        peer.put("good.test", NOW - 3600, "id1", body())
    case.store.mkdir()
    code, lines, err = case.run()
    assert (code, lines, err.count("\n")) == (2, [], 1)
    assert err.startswith(f"postfix-mta-sts: {case.store}: ")
