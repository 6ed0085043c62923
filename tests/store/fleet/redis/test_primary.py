"""The primary is the one that Sentinels name, and is looked for again after each failure."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.store.fleet.connections import CONNECTIONS
from postfix_mta_sts.store.fleet.errors import CannotServeError, DeniedError, NotReachedError
from postfix_mta_sts.store.fleet.redis.primary import FINDING_LIMIT, Primary
from postfix_mta_sts.store.fleet.redis.wire import Login
from tests.support.ports import free_port
from tests.support.redis_peer import HOST, peer

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

Answer = Callable[[bytes], bytes | None]
"""From what was sent; None: the server hangs."""


class Peer:
    """A server that answers what it is told to, and notes what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = 0
        self.got: list[bytes] = []
        self.connections = 0
        self.is_quick = asyncio.Event()
        self.is_quick.set()
        self.was_asked = asyncio.Event()

    @property
    def address(self) -> TcpAddress:
        """Where it listens."""
        return TcpAddress(HOST, self.port)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve."""
        async with peer(self._talk) as self.port:
            yield

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while data := await reader.read(65536):
            self.got.append(data)
            self.was_asked.set()
            await self.is_quick.wait()
            if (answer := self.answer(data)) is not None:
                writer.write(answer)


def server(name: bytes) -> Peer:
    """A server that answers everything with its name."""
    return Peer(lambda _: b"+" + name + b"\r\n")


def sentinel(*named: Peer) -> Peer:
    """A Sentinel that names these servers in turn, the last for ever."""
    waiting = list(named)

    def answer(_: bytes) -> bytes:
        at = str((waiting.pop(0) if len(waiting) > 1 else waiting[0]).port).encode()
        return b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%s\r\n" % (len(at), at)

    return Peer(answer)


@contextlib.asynccontextmanager
async def primary(
    *peers: Peer,
    sentinels: Sequence[Peer],
    password: str | None = None,
    gone: int = 0,
    limit: float = FINDING_LIMIT,
) -> AsyncIterator[Primary]:
    """Run all peers, and what finds the primary by the Sentinels; `gone` is a port of one more."""
    async with contextlib.AsyncExitStack() as stack:
        for each in (*peers, *sentinels):
            await stack.enter_async_context(each.running())
        more = (TcpAddress(HOST, gone),) if gone else ()
        location = StoreLocation(
            engine=EngineName.REDIS,
            addresses=tuple(each.address for each in sentinels) + more,
            database="0",
            sentinel="fleet",
            shown="redis+sentinel://store/fleet",
        )
        made = Primary(location, Login(None, password, 0, None), limit)
        stack.push_async_callback(made.close)
        yield made


async def cut_off(found: Primary, hanging: Peer) -> None:
    """Make a call of this server, and cancel it when the server has it, as a time limit does."""
    call = asyncio.create_task(found.ask([("TIME",)]))
    await hanging.was_asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_the_named_server_is_asked() -> None:
    """The server that a Sentinel names gets the commands, and no Sentinel is asked again."""
    one = server(b"one")
    watcher = sentinel(one)
    async with primary(one, sentinels=[watcher]) as found:
        assert [await found.ask([("TIME",)]) for _ in range(3)] == [[b"one"]] * 3
        assert len(watcher.got) == 1
        assert found.shown == str(one.address)


async def test_a_sentinel_that_hangs_costs_nothing() -> None:
    """All Sentinels are asked at the same time, and the first that answers counts."""
    one = server(b"one")
    dead, watcher = Peer(lambda _: None), sentinel(one)
    async with primary(one, sentinels=[dead, dead, watcher]) as found, asyncio.timeout(3):
        assert await found.ask([("TIME",)]) == [b"one"]


@pytest.mark.parametrize("error", [b"-READONLY x\r\n", b"-MASTERDOWN x\r\n"])
async def test_a_server_that_became_a_replica(error: bytes) -> None:
    """After the answer of a replica the Sentinels are asked, and the new primary is used."""
    old, new = Peer(lambda _: error), server(b"new")
    async with primary(old, new, sentinels=[sentinel(old, new)]) as found:
        await found.ask([("SET", "a", "b")])
        assert await found.ask([("SET", "a", "b")]) == [b"new"]


async def test_a_primary_that_hangs() -> None:
    """After a call that was cancelled another server is used, if a Sentinel names one."""
    old, new = Peer(lambda _: None), server(b"new")
    async with primary(old, new, sentinels=[sentinel(old, new)]) as found:
        await cut_off(found, old)
        assert await found.ask([("TIME",)]) == [b"new"]


async def test_a_sentinel_that_has_not_heard_of_the_new_primary() -> None:
    """Of two that are named the one counts that has not just failed."""
    old, new = Peer(lambda _: b"-READONLY x\r\n"), server(b"new")
    late, watcher = sentinel(old), sentinel(old, new)
    async with primary(old, new, sentinels=[late, watcher]) as found:
        await found.ask([("SET", "a", "b")])
        if len(watcher.got) == 0:  # the late one was quicker
            watcher.answer = sentinel(new).answer
        assert await found.ask([("SET", "a", "b")]) == [b"new"]


async def test_the_failed_server_is_tried_again_if_no_other_is_named() -> None:
    """A primary that was slow once is still the primary."""
    one = Peer(lambda _: None)
    async with primary(one, sentinels=[sentinel(one), Peer(lambda _: None)]) as found:
        await cut_off(found, one)
        one.answer = lambda _: b"+well\r\n"
        assert await found.ask([("TIME",)]) == [b"well"]


async def test_a_sentinel_with_a_password() -> None:
    """A Sentinel gets the password only if it asks for one."""
    one = server(b"OK")
    watcher = sentinel(one)
    named = watcher.answer

    def answer(data: bytes) -> bytes | None:
        if b"AUTH" in data:
            return b"+OK\r\n"
        return named(data) if any(b"AUTH" in each for each in watcher.got) else b"-NOAUTH x\r\n"

    watcher.answer = answer
    async with primary(one, sentinels=[watcher], password="secret") as found:  # noqa: S106
        assert await found.ask([("TIME",)]) == [b"OK"]
    assert b"secret" not in watcher.got[0]
    assert sum(b"secret" in each for each in watcher.got) == 1


async def test_a_sentinel_that_wants_a_password_each_time() -> None:
    """What a Sentinel has asked for it gets at once when the primary is looked for again."""
    one = Peer(lambda _: b"-READONLY x\r\n")
    watcher = sentinel(one)
    named = watcher.answer

    def answer(data: bytes) -> bytes | None:
        if b"AUTH" in data:
            return b"+OK\r\n"
        return (
            named(data)
            if b"AUTH" in watcher.got[max(0, len(watcher.got) - 2)]
            else b"-NOAUTH x\r\n"
        )

    watcher.answer = answer
    async with primary(one, sentinels=[watcher], password="secret") as found:  # noqa: S106
        one.answer = lambda data: b"+OK\r\n" if b"AUTH" in data else b"-READONLY x\r\n"
        for _ in range(3):
            await found.ask([("SET", "a", "b")])
        assert watcher.connections == 1 + 3
        watcher.answer = lambda data: (
            b"-ERR AUTH called without any password configured\r\n"
            if b"AUTH" in data
            else named(data)
        )
        with pytest.raises(DeniedError, match="it has no password for this user"):
            await found.ask([("SET", "a", "b")])
        await found.ask([("SET", "a", "b")])


async def test_a_sentinel_that_takes_longer_than_a_call_has() -> None:
    """Calls whose time is over leave the question behind; the next call has the answer."""
    one = server(b"one")
    watcher = sentinel(one)
    watcher.is_quick.clear()
    async with primary(one, sentinels=[watcher]) as found:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await found.ask([("TIME",)])
        watcher.is_quick.set()
        assert await found.ask([("TIME",)]) == [b"one"]
    assert watcher.connections == 1


async def test_a_primary_to_which_a_connection_takes_longer_than_a_call_has() -> None:
    """The search ends with a connection, so that the next call needs neither."""
    one = server(b"OK")
    one.is_quick.clear()
    watcher = sentinel(one)
    async with primary(one, sentinels=[watcher], password="secret") as found:  # noqa: S106
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await found.ask([("TIME",)])
        one.is_quick.set()
        assert await found.ask([("TIME",)]) == [b"OK"]
    assert (watcher.connections, one.connections) == (1, 1)


async def test_sentinels_that_never_answer() -> None:
    """The search has a limit of its own, after which the next call begins another."""
    one = server(b"one")
    watcher = sentinel(one)
    watcher.is_quick.clear()
    async with primary(one, sentinels=[watcher], limit=0.2) as found:
        with pytest.raises(NotReachedError, match="no primary was found within"):
            await found.ask([("TIME",)])
        watcher.is_quick.set()
        assert await found.ask([("TIME",)]) == [b"one"]


async def test_closing_while_the_primary_is_looked_for() -> None:
    """Calls that wait for the search fail, and none begins another."""
    watcher = sentinel(server(b"one"))
    watcher.is_quick.clear()
    async with primary(sentinels=[watcher]) as found:
        call = asyncio.create_task(found.ask([("TIME",)]))
        while not watcher.got:  # noqa: ASYNC110 (what the peer has read)
            await asyncio.sleep(0)
        await found.close()
        for each in (call, found.ask([("TIME",)])):
            with pytest.raises(NotReachedError, match="closed"):
                await each


@pytest.mark.parametrize(
    "answer",
    [
        b"*2\r\n$5\r\na b c\r\n$4\r\n6379\r\n",
        b"*2\r\n$9\r\n127.0.0.1\r\n$6\r\n637900\r\n",
        b"*2\r\n$9\r\n127.0.0.1\r\n$2\r\n-1\r\n",
        b"*1\r\n$9\r\n127.0.0.1\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"*2\r\n$2\r\n\xff\xfe\r\n$4\r\n6379\r\n",
        b":1\r\n",
    ],
)
async def test_a_sentinel_that_names_no_address(answer: bytes) -> None:
    """What is no address of a server is not connected to."""
    async with primary(sentinels=[Peer(lambda _: answer)]) as found:
        with pytest.raises(CannotServeError, match="names a primary without an address"):
            await found.ask([("TIME",)])


async def test_what_a_sentinel_says_comes_before_one_that_is_gone() -> None:
    """If no Sentinel names a primary, the error is that of one that has answered."""
    ignorant = Peer(lambda _: b"*-1\r\n")
    async with primary(sentinels=[ignorant], gone=free_port()) as found:
        with pytest.raises(CannotServeError, match="knows no primary 'fleet'"):
            await found.ask([("TIME",)])


async def test_a_server_that_is_no_sentinel() -> None:
    """A URL that names servers as Sentinels has an error that says so."""
    server = Peer(lambda _: b"-ERR unknown command 'SENTINEL', with args beginning with: \r\n")
    async with primary(sentinels=[server]) as found:
        with pytest.raises(DeniedError, match="it is no Sentinel") as raised:
            await found.ask([("TIME",)])
        assert "redis://" in raised.value.mend


async def test_no_sentinel_listens() -> None:
    """If no Sentinel can be reached, the error names one of them."""
    gone = free_port()
    async with primary(sentinels=[], gone=gone) as found:
        with pytest.raises(NotReachedError, match=f"^{HOST}:{gone}: .*refused"):
            await found.ask([("TIME",)])


async def test_eight_connections() -> None:
    """No more than eight connections are open, however many calls there are."""
    one = server(b"one")
    async with primary(one, sentinels=[sentinel(one)]) as found:
        assert (
            await asyncio.gather(*(found.ask([("TIME",)]) for _ in range(100))) == [[b"one"]] * 100
        )
    assert 1 < one.connections <= CONNECTIONS[EngineName.REDIS]
