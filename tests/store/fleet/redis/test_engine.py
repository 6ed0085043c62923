"""What the engine for Redis sends, and what it makes of the replies.

tests/fleet/test_engines.py has what comes of it on real servers.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final, TypeAlias

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import LIMITS, Claimed, Engine, Kind, Name, Read
from postfix_mta_sts.store.fleet.errors import CannotServeError
from postfix_mta_sts.store.fleet.redis.engine import AT_ONCE, MOST_ROUNDS, NOTED_AT_ONCE
from postfix_mta_sts.store.fleet.redis.scripts import UNREADABLE
from tests.support.redis_peer import command, peer, relay

DOMAIN: Final = Domain("example.com")
POLICY: Final = Name(Kind.POLICY, DOMAIN)
CHECK: Final = Name(Kind.CHECK, DOMAIN)
TIME: Final["Value"] = [b"1700000000", b"42"]  # the microseconds have no leading zeros
NOW: Final = 1_700_000_000_000_042

Value: TypeAlias = bytes | int | Exception | Sequence["Value"]
Answer = Callable[[list[bytes]], Value]
"""From the words of a command."""


def encoded(value: Value) -> bytes:
    """A reply as Redis writes it."""
    match value:
        case bytes():
            return b"$%d\r\n%s\r\n" % (len(value), value)
        case int():
            return b":%d\r\n" % value
        case Exception():
            return b"-%s\r\n" % str(value).encode()
    return b"*%d\r\n" % len(value) + b"".join(map(encoded, value))


class Server:
    """A server that answers so, and notes the commands."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.got: list[list[bytes]] = []

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the commands of a connection."""
        while True:
            words = await command(reader)
            self.got.append(words)
            writer.write(encoded(TIME if words == [b"TIME"] else self.answer(words)))

    @contextlib.asynccontextmanager
    async def engine(self) -> AsyncIterator[Engine]:
        """A relay of this server."""
        async with peer(self.talk) as port, relay(port) as made:
            yield made


async def test_records_are_read_in_one_go() -> None:
    """A read asks for the time and for each record, one byte longer than it may be."""
    values: dict[bytes, Value] = {
        b"mta_sts:policy:{example.com}": b"a record",
        b"mta_sts:check:{example.com}": b"",
        b"mta_sts:relay:{a}": Exception("WRONGTYPE Operation against a key"),
    }
    server = Server(lambda words: values[words[1]])
    other = Name(Kind.RELAY, "a")
    async with server.engine() as engine:
        found = await engine.read([POLICY, CHECK, other])
    assert found == Read(NOW, {POLICY: b"a record", other: UNREADABLE})
    limit = str(LIMITS[Kind.POLICY]).encode()
    assert server.got[:2] == [
        [b"TIME"],
        [b"GETRANGE", b"mta_sts:policy:{example.com}", b"0", limit],
    ]


async def test_a_server_that_does_not_know_a_script_gets_it() -> None:
    """Only the scripts that a server does not know are sent as text."""

    def answer(words: list[bytes]) -> Value:
        if words[0] == b"EVALSHA" and b"mta_sts:index:{check}" in words:
            return Exception("NOSCRIPT No matching script. Please use EVAL.")
        return 1

    server = Server(answer)
    async with server.engine() as engine:
        assert await engine.put(CHECK, b"record", 7, 5_999_999)
    first, second, third = server.got
    assert [each[0] for each in server.got] == [b"EVALSHA", b"EVALSHA", b"EVAL"]
    # The record, its order, its end in milliseconds, and no limit for an order in the future.
    assert first[2:] == [b"1", b"mta_sts:check:{example.com}", b"record", b"7", b"5999", b"-1"]
    assert second[2:] == third[2:]
    assert b"ZADD" in third[1]


async def test_orders_of_policies_are_limited_by_the_clock() -> None:
    """The script for a policy gets how far in the future an order may be."""
    server = Server(lambda _: 0)
    async with server.engine() as engine:
        assert not await engine.put(POLICY, b"record", 7, 8)
    assert server.got[0][-1] == b"60000000"


async def test_a_claim() -> None:
    """Lease and policy of a domain are in one slot, and come in one step."""
    server = Server(lambda _: [TIME, 1, b"a record"])
    async with server.engine() as engine:
        assert await engine.claim(DOMAIN, "token") == Claimed(NOW, True, b"a record")  # noqa: FBT003
        server.answer = lambda _: [TIME, 0, b""]
        assert await engine.claim(DOMAIN, "token") == Claimed(NOW, False, None)  # noqa: FBT003
        server.answer = lambda _: 1
        assert await engine.renew(DOMAIN, "token")
        await engine.release(DOMAIN, "token")
    keys = [b"mta_sts:lease:{example.com}", b"mta_sts:policy:{example.com}"]
    assert server.got[0][3:7] == [*keys, b"token", b"3000"]
    assert [words[3] for words in server.got[2:]] == [keys[0], keys[0]]


async def test_removal_counts_records_only() -> None:
    """What leaves an index is not counted."""
    server = Server(lambda words: 1 if words[0] == b"UNLINK" else 5)
    async with server.engine() as engine:
        assert await engine.remove([POLICY, CHECK]) == 2
    assert server.got[2] == [b"ZREM", b"mta_sts:index:{check}", b"example.com"]


async def test_keys_without_records_leave_the_index() -> None:
    """A page is filled from the next part; a record written meanwhile is listed again."""
    pages: list[Value] = [[3, [b"a", b"b", b"c"]], [2, [b"d", b"e"]], [0, []]]
    reads = {b"b": 0, b"c": 0}

    def answer(words: list[bytes]) -> Value:
        key = words[1].partition(b"{")[2][:-1]
        match words[0]:
            case b"EVALSHA" if words[2:4] == [b"1", b"mta_sts:index:{check}"] and len(words) == 6:
                return pages.pop(0)
            case b"GETRANGE" if key == b"a":
                return b"a record"
            case b"GETRANGE" if key == b"c":  # not there at first
                reads[b"c"] += 1
                return b"" if reads[b"c"] == 1 else b"written meanwhile"
            case b"GETRANGE":
                return b"d record" if key == b"d" else b""
        return 1

    server = Server(answer)
    async with server.engine() as engine:
        page = await engine.page(Kind.CHECK, "", 9)
    assert page == [("a", b"a record"), ("d", b"d record")]
    assert [b"ZREM", b"mta_sts:index:{check}", b"b", b"c"] in server.got
    added = [words for words in server.got if words[0] == b"EVALSHA" and words[-1] == b"c"]
    assert len(added) == 1
    starts = [words[4] for words in server.got if words[0] == b"EVALSHA" and len(words) == 6]
    assert starts == [b"-", b"(c", b"(e"]


async def test_an_index_that_never_ends() -> None:
    """A server that names ever new keys without records is not read for ever."""
    server = Server(lambda words: [1, []] if words[0] == b"EVALSHA" else b"")
    async with server.engine() as engine:
        assert await engine.page(Kind.RELAY, "", 5) == []
    assert len(server.got) == MOST_ROUNDS


async def test_uses_are_noted_in_parts() -> None:
    """A script gets a limited number of domains: pairs of time and domain, those asked first."""
    server = Server(lambda _: 1)
    asked = {Domain(f"a{number}.example"): number for number in range(NOTED_AT_ONCE + 1)}
    due = {Domain("due.example"): 77}
    async with server.engine() as engine:
        await engine.note_uses(asked, due)
    first, second = server.got
    assert first[2:5] == [b"2", b"mta_sts:asked:{uses}", b"mta_sts:due:{uses}"]
    assert first[7:10] == [str(NOTED_AT_ONCE).encode(), b"0", b"a0.example"]
    assert first[-2:] == [b"77", b"due.example"]
    assert second[7:] == [b"1", str(NOTED_AT_ONCE).encode(), f"a{NOTED_AT_ONCE}.example".encode()]


async def test_what_is_due_is_found_behind_what_is_idle() -> None:
    """Parts of which all was dropped are followed by the next."""
    parts: list[Value] = [[AT_ONCE, []], [AT_ONCE, [b"a.example"]], [2, [b"b.example"]]]
    server = Server(lambda _: parts.pop(0))
    async with server.engine() as engine:
        assert await engine.due(5, 9) == ["a.example", "b.example"]
    thousand = str(AT_ONCE).encode()
    assert [words[5:] for words in server.got] == [
        [b"5", b"9", thousand, b"0"],
        [b"5", b"9", thousand, b"0"],
        [b"5", b"8", thousand, b"1"],
    ]


@pytest.mark.parametrize("reply", [[TIME, 1], [TIME, b"1", b""], [[b"x", b"1"], 1, b""], 7, b"x"])
async def test_replies_of_another_form(reply: Value) -> None:
    """A reply that has not the form of the script's is an error of the store."""
    server = Server(lambda _: reply)
    async with server.engine() as engine:
        with pytest.raises(CannotServeError, match="as no Redis does"):
            await engine.claim(DOMAIN, "token")


async def test_keys_that_are_not_ascii() -> None:
    """Bytes above 127 in a list of keys are an error of the store."""
    server = Server(lambda _: [1, [b"\xff"]])
    async with server.engine() as engine:
        with pytest.raises(CannotServeError, match="as no Redis does"):
            await engine.page(Kind.CHECK, "", 5)
