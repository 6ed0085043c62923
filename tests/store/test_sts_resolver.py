"""The cache of postfix-mta-sts-resolver: read while in use; only valid rows are accepted."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.lifecycle import Standing, standing
from postfix_mta_sts.store.sts_resolver import (
    ForeignCacheError,
    ForeignRow,
    Refusal,
    RefusedError,
    open_cache,
    state_of,
)
from tests.support.peer import body, peer_file

NOW = 1_790_000_000.0
AN_HOUR_AGO = int(NOW) - 3600


def row(
    domain: object = b"good.test",
    ts: object = AN_HOUR_AGO,
    policy_id: object = b"id1",
    text: str | bytes = body(),
) -> ForeignRow:
    """Return a row as it is read from the file."""
    return ForeignRow(1, domain, ts, policy_id, text.encode() if isinstance(text, str) else text)


class TestStateOf:
    """`state_of`."""

    def test_good(self) -> None:
        """A valid row keeps its age, its id and its fields."""
        domain, state = state_of(row(), NOW)
        assert (domain, state.policy_id) == ("good.test", "id1")
        assert (state.fetched_at, state.expires_at) == (AN_HOUR_AGO, AN_HOUR_AGO + 604_800)
        assert state.policy
        assert state.policy.lines == (
            "version: STSv1",
            "mx: mx1.good.test",
            "mx: *.good.test",
            "mode: enforce",
            "max_age: 604800",
        )

    def test_due(self) -> None:
        """It is served, and fetched again soon: its time may be that of a TXT query only."""
        _, state = state_of(row(), NOW)
        assert standing(state, NOW) is Standing.DUE
        assert state.refetch_at <= NOW

    def test_none_without_mx(self) -> None:
        """A policy of mode none needs no mx, and is accepted."""
        _, state = state_of(row(text=body(mode="none", mx=[])), NOW)
        assert state.policy
        assert state.policy.mode == "none"

    def test_domain_is_normalized(self) -> None:
        """The domain is converted to the form in which it is looked up."""
        assert state_of(row("Bücher.test.".encode()), NOW)[0] == "xn--bcher-kva.test"

    @pytest.mark.parametrize(
        ("domain", "reason"),
        [
            (b"a..test", "a..test"),
            (b"192.0.2.1", "192.0.2.1"),
            (b"", ""),
            (b"\xff\x1b[2J.test", r"\xff\x1b[2J.test"),
            (None, "None"),
            (7, "7"),
        ],
    )
    def test_invalid_domain(self, domain: object, reason: str) -> None:
        """A row with an invalid domain is refused, and its domain shown in printable ASCII."""
        with pytest.raises(RefusedError) as caught:
            state_of(row(domain), NOW)
        assert caught.value.refusal is Refusal.DOMAIN
        assert str(caught.value) == f"invalid domain name: {reason}"

    @pytest.mark.parametrize("policy_id", [b"", b"a b", b"a;x=1", b"x" * 33, b"\xff", None, 1])
    def test_invalid_id(self, policy_id: object) -> None:
        """An id is 1 to 32 letters and digits, and nothing else."""
        with pytest.raises(RefusedError) as caught:
            state_of(row(policy_id=policy_id), NOW)
        assert caught.value.refusal is Refusal.POLICY_ID

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "{",
            "[" * 100_000,
            "[]",
            "{}",
            b"\xff",
            body(mx=[]),
            body(mx=["hostname"]),
            body(mx=["under_score.test"]),
            body(mx=["a.test\nmode: none"]),
            body(mx=["a.test", ["b.test"]]),
            body(mx=[None]),
            body(mode="Enforce"),
            body(mode=True),
            body(max_age=1.5),
            body(max_age=-1),
            body(version="STSv2"),
            body(**{"mode:none": "x"}),
            body(**{"a\nmode": "none"}),
            body(note="\ud800"),
            body(note="\x07"),
            body(note="x" * 66_000),
            body(version=None),
        ],
        ids=lambda text: str(text)[:40],
    )
    def test_invalid_policy(self, text: str | bytes) -> None:
        """A policy that our parser would refuse from a Policy Host is refused here, too."""
        with pytest.raises(RefusedError) as caught:
            state_of(row(text=text), NOW)
        assert caught.value.refusal is Refusal.POLICY
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()

    @pytest.mark.parametrize("ts", [int(NOW) + 1, -1, None, "soon", 1.5])
    def test_invalid_time(self, ts: object) -> None:
        """A time that is not in the past is refused: the policy would live too long."""
        with pytest.raises(RefusedError) as caught:
            state_of(row(ts=ts), NOW)
        assert caught.value.refusal is Refusal.TIME

    def test_expired(self) -> None:
        """A policy older than its max_age is refused; the reason says since when."""
        with pytest.raises(RefusedError, match=r"^expired: 3540 s ago$") as caught:
            state_of(row(text=body(max_age=60)), NOW)
        assert caught.value.refusal is Refusal.EXPIRED

    @given(
        st.dictionaries(
            st.sampled_from(["mode", "mx", "note"]) | st.text(),
            st.sampled_from(["STSv1", "enforce", "none", 86400, ["a.test"], ["*.b.test"]])
            | st.text()
            | st.lists(st.text(), max_size=3)
            | st.integers(),
            max_size=3,
        )
    )
    def test_no_field_can_add_another(self, fields: dict[str, object]) -> None:
        """Any fields give a policy with exactly these values, or are refused."""
        try:
            _, state = state_of(row(text=body(**fields)), NOW)
        except RefusedError as error:
            assert str(error).isprintable()
            return
        assert state.policy
        given = json.loads(body(**fields))
        assert state.policy.mode == given["mode"].strip(" \t")
        assert list(state.policy.mx) == _names(given.get("mx", []))


def _names(mx: object) -> list[str]:
    names = mx if isinstance(mx, list) else [mx]
    return list(dict.fromkeys(str(name).strip(" \t").lower() for name in names))


def domains(path: Path) -> list[object]:
    """Return the domains of all rows."""
    with open_cache(path) as rows:
        return [row.domain for row in rows]


class TestOpenCache:
    """`open_cache`."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        """A file with two rows; the program has ended."""
        path = tmp_path / "a #?% name.db"
        with peer_file(path) as peer:
            for n in range(2):
                peer.put(f"d{n}.test", AN_HOUR_AGO, "id1", body())
        return path

    def test_at_rest(self, path: Path) -> None:
        """A file that no program has open is read, and no file is created beside it."""
        before = path.stat()
        with open_cache(path) as rows:
            assert [row.domain for row in rows] == [b"d0.test", b"d1.test"]
            assert list(path.parent.iterdir()) == [path]
        assert list(path.parent.iterdir()) == [path]
        assert path.stat().st_mtime_ns == before.st_mtime_ns

    def test_in_use(self, path: Path) -> None:
        """While the program runs, its committed rows are read, and it can keep writing."""
        with peer_file(path) as peer:
            peer.put("d2.test", AN_HOUR_AGO, "id1", body())
            with open_cache(path) as rows:
                assert next(rows).domain == b"d0.test"
                peer.put("d3.test", AN_HOUR_AGO, "id1", body())
                assert [row.domain for row in rows] == [b"d1.test", b"d2.test"]
            assert domains(path)[-1] == b"d3.test"

    def test_written_while_read(self, path: Path) -> None:
        """If a file at rest changes while it is read, an error is raised."""
        with open_cache(path) as rows:
            next(rows)
            with peer_file(path) as peer:
                peer.put("d2.test", AN_HOUR_AGO, "id1", body())
            with pytest.raises(ForeignCacheError, match="wrote to the file while it was read"):
                list(rows)

    def test_wal_written_while_read(self, path: Path) -> None:
        """A write that only reaches the WAL does not matter: the file is read as it was."""
        with open_cache(path) as rows, peer_file(path) as peer:
            peer.put("d2.test", AN_HOUR_AGO, "id1", body())
            assert [row.domain for row in rows] == [b"d0.test", b"d1.test"]

    def test_path_is_needed_only_to_open(self, path: Path) -> None:
        """Once the file is open, its path is no longer needed."""
        with open_cache(path) as rows:
            path.rename(path.with_name("elsewhere"))
            assert [row.domain for row in rows] == [b"d0.test", b"d1.test"]

    def test_without_wal(self, path: Path) -> None:
        """A file that is not in WAL mode is read as well."""
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA journal_mode = DELETE")
        assert domains(path) == [b"d0.test", b"d1.test"]

    def test_damaged(self, path: Path) -> None:
        """Damage that is found while reading raises an error."""
        with peer_file(path) as peer:
            for n in range(500):
                peer.put(f"e{n}.test", AN_HOUR_AGO, "id1", body())
        with path.open("r+b") as file:
            file.seek(20 * 4096)
            file.write(b"\xff" * 40 * 4096)
        with pytest.raises(ForeignCacheError, match="malformed"):
            domains(path)

    @pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + bytes(84)])
    def test_other_file(self, tmp_path: Path, content: bytes) -> None:
        """A file of another kind raises an error that names its path."""
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(ForeignCacheError, match=f"^{path}: "), open_cache(path):
            pass
        assert path.read_bytes() == content

    def test_no_file(self, tmp_path: Path) -> None:
        """A missing file raises an error, and is not created."""
        path = tmp_path / "none"
        with pytest.raises(ForeignCacheError, match="No such file or directory"), open_cache(path):
            pass
        assert not path.exists()
