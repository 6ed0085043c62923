"""Exceptions, checks and events in a SQLite file: rows that are damaged, old files, and bounds."""

import json
from hashlib import blake2b
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.store import DamagedStoreError
from postfix_mta_sts.store.records import FleetNotes
from postfix_mta_sts.store.sqlite import file
from postfix_mta_sts.store.sqlite.layout import SCHEMA
from postfix_mta_sts.store.sqlite.records import SqliteRecords
from postfix_mta_sts.store.sqlite.schema import APPLICATION_ID
from postfix_mta_sts.store.sqlite.store import SqliteStore
from postfix_mta_sts.values import to_json
from tests.store.sqlite.test_read_only import refused
from tests.support.records import a_check, a_weakening, an_exception
from tests.support.sqlite_file import execute, overwrite, set_aside_files
from tests.support.states import a_state

GOOD = Domain("good.test")
OTHER = an_exception("other.test")


def digest(content: str) -> bytes:
    """The digest of a content, as the store makes it."""
    return blake2b(content.encode(), digest_size=16).digest()


@pytest.fixture
async def filled(path: Path) -> Path:
    """A file with two records of each kind, closed."""
    store = await SqliteStore.open(path)
    await store.put_exception(an_exception())
    await store.put_exception(OTHER)
    for domain in ("good.test", "other.test"):
        await store.put_check(a_check(domain))
        await store.put_weakenings(a_weakening(domain))
    await store.close()
    return path


CONTENT = to_json(an_exception(use=Use.PIN))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("content", "{}"),
        ("content", to_json(an_exception(until=9e9))),  # not that of its digest
        ("content", None),
        ("content", b"\xff"),
        ("digest", b""),
        ("digest", "x" * 16),
        ("digest", 7),
        ("scope", "third.test"),
        ("scope", "GOOD.test"),
        ("scope", "*"),
        ("scope", b"\xff"),
        ("scope", "x" * 70_000),
    ],
)
async def test_a_damaged_exception(
    filled: Path, caplog: pytest.LogCaptureFixture, column: str, value: object
) -> None:
    """It is left out, the others count, and one line of the log says so."""
    execute(filled, "CREATE TABLE copy AS SELECT * FROM exceptions")  # without constraints
    execute(filled, "DROP TABLE exceptions")
    execute(filled, "ALTER TABLE copy RENAME TO exceptions")
    execute(filled, f"UPDATE exceptions SET {column} = ? WHERE rowid = 1", value)  # noqa: S608 (of this file)
    store = await SqliteStore.open(filled)
    for _ in range(3):
        assert list(await store.exceptions()) == [OTHER]
    await store.close()
    [line] = [each for each in caplog.messages if "stored record" in each]
    assert "kind=exception" in line
    assert line.isprintable()
    assert len(line) < 1000
    assert not set_aside_files(filled)


@pytest.mark.parametrize(
    "change",
    [
        {"use": "allow"},
        {"use": "enforce", "ignores_dane": True, "mx": []},
        {"mx": ["a b"]},
        {"mx": ["mx.test"] * 21},
        {"mx": ["MX.test"]},
        {"reason": ""},
        {"reason": "a\nb"},
        {"reason": "ü"},
        {"reason": "x" * 801},
        {"until": "never"},
        {"until": 1e999},
        {"until": 1e300},  # no date
        {"added_at": -1e300},
        {"uid": "root"},
        {"scope": "other.test"},
        {"scope": "com"},
    ],
)
async def test_another_program_wrote_it(filled: Path, change: dict[str, object]) -> None:
    """A content that this program would not write is left out, although its digest is right."""
    content = json.dumps({**json.loads(CONTENT), **change})
    write = "UPDATE exceptions SET content = ?, digest = ? WHERE scope = 'good.test'"
    execute(filled, write, content, digest(content))
    store = await SqliteStore.open(filled)
    assert list(await store.exceptions()) == [OTHER]
    await store.close()


async def test_a_field_of_a_later_version(filled: Path) -> None:
    """A field that this version does not know is passed over."""
    content = json.dumps({**json.loads(CONTENT), "colour": "red"})
    write = "UPDATE exceptions SET content = ?, digest = ? WHERE scope = 'good.test'"
    execute(filled, write, content, digest(content))
    store = await SqliteStore.open(filled)
    assert list(await store.exceptions()) == [an_exception(use=Use.PIN), OTHER]
    await store.close()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        "null",
        "x" * 70_000,
        to_json(a_check("a.b")),
        to_json(a_check("good.test", -1e300)),
    ],
)
async def test_damaged_checks(filled: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    """A damaged check is as if it was not made; a page goes on with the next one."""
    execute(filled, "UPDATE checks SET content = ? WHERE domain = 'good.test'", content)
    store = await SqliteStore.open(filled)
    assert await store.check(GOOD) is None
    assert list(await store.checks(0.0, None, 1)) == [a_check("other.test")]
    await store.close()
    assert len([each for each in caplog.messages if "kind=check" in each]) == 1


@pytest.mark.timeout(20)
@pytest.mark.parametrize("key", ["\xff.test", b"blob.test", b"\xff"])
async def test_a_damaged_key_of_a_check(filled: Path, key: object) -> None:
    """A key that is no domain ends a page like any other row, wherever SQLite sorts it."""
    content = to_json(a_check("good.test"))
    insert = "INSERT INTO checks (domain, checked_at, content) VALUES (?, 9e9, ?)"
    execute(filled, insert, key, content)
    store = await SqliteStore.open(filled)
    assert not await store.checks(0.0, Domain("other.test"), 1)
    assert [each.domain for each in await store.checks(0.0, None, 9)] == ["good.test", "other.test"]
    await store.close()


@pytest.mark.parametrize(
    "change", [{"domain": 7}, {"at": 1e300}, {"at": -1e15}, {"at": 1e999}, {"before": "\x1b[2J"}]
)
async def test_damaged_events(
    filled: Path, caplog: pytest.LogCaptureFixture, change: dict[str, object]
) -> None:
    """A damaged event is left out of the list, also one with a time that no date can express."""
    content = json.dumps({**json.loads(to_json(a_weakening())), **change})
    execute(filled, "UPDATE weakenings SET content = ? WHERE number = 1", content)
    store = await SqliteStore.open(filled)
    assert list(await store.weakenings(0.0, 9)) == [a_weakening("other.test")]
    await store.close()
    assert len([each for each in caplog.messages if "kind=weakening" in each]) == 1


async def test_a_check_of_the_future(filled: Path) -> None:
    """A check by a clock that was ahead was made now at the latest: it is made again in time."""
    store = await SqliteStore.open(filled, clock=lambda: 500.0)
    found = await store.check(GOOD)
    assert found
    assert (found.checked_at, found.since) == (500.0, 500.0)
    await store.close()


async def test_the_oldest_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a number of checks and of events that is never exceeded."""
    for name in ("CHECKS_LIMIT", "WEAKENINGS_LIMIT"):
        monkeypatch.setattr(f"postfix_mta_sts.store.sqlite.records.{name}", 3)
    store = await SqliteStore.open(path)
    for n in range(6):
        await store.put_check(a_check(f"d{n}.test", 1000.0 + n))
        await store.put_weakenings(a_weakening(f"d{n}.test", 1000.0 + n))
    assert [each.domain for each in await store.checks(0.0, None, 9)] == [
        "d3.test",
        "d4.test",
        "d5.test",
    ]
    assert [each.domain for each in await store.weakenings(0.0, 9)] == [
        "d5.test",
        "d4.test",
        "d3.test",
    ]
    await store.close()


@pytest.mark.parametrize(
    "content",
    ["1.5", "'x'", "x'ff00'", "'00 {}'", "printf('%01048577d', 0)", "said_at || ' '", "0"],
)
async def test_damaged_notes(path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    """Notes that are not as they were written count as none, with a line in the log."""
    store = await SqliteStore.open(path)
    await store.take_exceptions({}, FleetNotes(7, ("0123abcd",)))
    execute(path, f"UPDATE exceptions_said SET said_at = {content} WHERE id = 2")  # noqa: S608 (of this test)
    assert await store.fleet_notes() == FleetNotes()
    assert "stored record is not readable kind=fleet" in caplog.text
    await store.take_exceptions({}, FleetNotes(8))
    assert await store.fleet_notes() == FleetNotes(8)
    await store.close()


async def test_they_leave_room_for_policies(path: Path) -> None:
    """In a small file there are fewer: domain owners cannot fill it with checks and events."""
    store = await SqliteStore.open(path, size_limit=lambda: 2**20)
    few = {store._limit(10**9, share) for share in (4, 16)}
    assert max(few) * 2000 < 2**20
    assert isinstance(store, SqliteRecords)
    await store.close()


def made_by_schema_4(path: Path) -> None:
    """Make the file of a version without records, with one policy."""
    for migration in SCHEMA[:4]:
        for statement in migration:
            execute(path, statement)
    execute(path, f"PRAGMA application_id = {APPLICATION_ID}")
    execute(path, "PRAGMA user_version = 4")
    row = ("good.test", "id1", a_state().policy.text, 1.0, 2.0, 9e9, 3.0)  # type: ignore[union-attr]
    columns = "domain, policy_id, policy, fetched_at, refetch_at, expires_at, asked_at"
    execute(path, f"INSERT INTO policies ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?)", *row)  # noqa: S608 (constant columns)


async def test_upgrade(path: Path) -> None:
    """A file of the version before gets the tables, and keeps its policies."""
    made_by_schema_4(path)
    store = await SqliteStore.open(path)
    assert await store.load(GOOD) == a_state(1.0, 2.0)
    await store.put_exception(an_exception())
    await store.close()
    # The version before uses the file meanwhile: it counts up to its own schema.
    execute(path, "UPDATE policies SET asked_count = asked_count + 1")
    assert execute(path, "SELECT since FROM compatible") == [(3,)]
    again = await SqliteStore.open(path)
    assert list(await again.exceptions()) == [an_exception()]
    assert await again.load(GOOD) == a_state(1.0, 2.0)
    await again.close()


async def test_an_old_file_on_a_read_only_file_system(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no records yet; its policies are used, and the file is left where it is."""
    made_by_schema_4(path)
    with monkeypatch.context() as remount:
        remount.setattr(file, "read_only_uri", lambda _: f"{path.as_uri()}?mode=ro&immutable=1")
        remount.setattr(file, "prepare", refused)
        store = await SqliteStore.open(path)
        assert not await store.exceptions()
        assert await store.said_at() is None
        assert await store.check(GOOD) is None
        assert not await store.checks(0.0, None, 9)
        assert not await store.weakenings(0.0, 9)
        assert await store.load(GOOD) == a_state(1.0, 2.0)
    await store.put_exception(an_exception())
    assert list(await store.exceptions()) == [an_exception()]
    await store.close()
    assert not set_aside_files(path)


async def broken(path: Path) -> SqliteStore:
    """Let a store find that policies are damaged, and open the one that replaces it."""
    store = await SqliteStore.open(path)
    with pytest.raises(DamagedStoreError):
        await store.file.read(lambda db: db.execute("SELECT no_such FROM policies"))
    await store.close()
    return await SqliteStore.open(path)


async def test_exceptions_are_taken_over(filled: Path, caplog: pytest.LogCaptureFixture) -> None:
    """When a damaged file has been replaced, the exceptions are there before the first look-up."""
    store = await broken(filled)
    assert list(await store.exceptions()) == [an_exception(), OTHER]
    await store.close()
    [line] = [each for each in caplog.messages if "exceptions taken over" in each]
    assert "count=2" in line
    assert "reason" not in line


async def test_notes_about_the_fleet_are_taken_over(filled: Path) -> None:
    """So the next file knows the highest document that was seen, too."""
    store = await SqliteStore.open(filled)
    await store.take_exceptions({}, notes := FleetNotes(7, ("0123abcd",), {OTHER.scope: "0f"}))
    await store.close()
    store = await broken(filled)
    assert await store.fleet_notes() == notes
    await store.close()


async def test_readable_exceptions_are_taken_over(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Those on damaged pages, and those that are damaged themselves, stay behind."""
    store = await SqliteStore.open(path)
    many = [an_exception(f"d{n}.test", reason="x" * 200) for n in range(300)]
    for each in many:
        await store.put_exception(each)
    await store.close()
    execute(path, "UPDATE exceptions SET digest = 'x' WHERE scope = 'd7.test'")
    overwrite(path, path.stat().st_size - 3 * 4096)
    store = await broken(path)
    found = await store.exceptions()
    assert 200 < len(found) < 300
    assert set(found) < set(many) - {many[7]}
    await store.close()
    assert "malformed" in next(each for each in caplog.messages if "exceptions taken over" in each)


async def test_nothing_to_take_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file of another program, one without the table, and garbage have no exceptions."""
    made_by_schema_4(path)
    execute(path, "PRAGMA application_id = 7")
    store = await SqliteStore.open(path)
    assert not await store.exceptions()
    await store.close()
    path.write_bytes(b"garbage")
    store = await SqliteStore.open(path)
    assert not await store.exceptions()
    await store.close()
    assert len(set_aside_files(path)) == 2
    assert "exceptions taken over" not in caplog.text
