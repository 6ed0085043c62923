"""The shared store on Valkey or Redis: which keys there are, and which commands work on them.

    PREFIX:KIND:{KEY}     a record, a string; it expires with the record
    PREFIX:lease:{DOMAIN} the token of the holder; in the same slot as the domain's policy
    PREFIX:index:{KIND}   the keys of the checks, and of the relays; a sorted set without scores
    PREFIX:asked:{uses}   when domains were last asked for; a sorted set, scores in microseconds
    PREFIX:due:{uses}     when domains are due; the same

The braces choose the slot in a Redis Cluster. `scripts` has what must be one step,
`primary` the connections, `check` what `fleet check` says.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import (
    FUTURE,
    LEASE,
    LIMITS,
    Claimed,
    Finding,
    Kind,
    Name,
    Read,
    size_of,
)
from postfix_mta_sts.store.fleet.redis import scripts
from postfix_mta_sts.store.fleet.redis.check import checkup
from postfix_mta_sts.store.fleet.redis.primary import Primary
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.replies import (
    ascii_texts,
    integer,
    microseconds,
    octets,
    sequence,
)
from postfix_mta_sts.store.fleet.redis.scripts import Script
from postfix_mta_sts.store.fleet.redis.wire import Command, Login, Reply
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from postfix_mta_sts.store.fleet.tls import client_context
from postfix_mta_sts.values import Value

DAY: Final = 86_400_000
KEPT_WITHOUT_USE: Final = 400 * DAY
"""Milliseconds after which indexes and uses end that no relay has written to: a year, the longest
life of a policy (RFC 8461 §3.2), and some more."""
MOST: Final = 2_000_000
"""Members of each sorted set."""
AT_ONCE: Final = 1000
"""Members that one script reads or removes: about a millisecond, in which the server does nothing
else. Lua's `unpack` allows 8,000."""
NOTED_AT_ONCE: Final = 250
"""Domains that one script notes: each is written to two sets, which takes longer."""
MOST_ROUNDS: Final = 1000
"""Parts of an index that are read for one page, or of what is due: most of it may be dropped."""


class _Call(Value, frozen=True):
    """A script to run."""

    script: Script
    keys: Sequence[str]
    arguments: Sequence[bytes | str | int]

    def command(self, *, whole: bool) -> Command:
        """Return the command that runs it by its name, or by its text."""
        script = self.script.text if whole else self.script.digest
        verb = "EVAL" if whole else "EVALSHA"
        return (verb, script, len(self.keys), *self.keys, *self.arguments)


class RedisEngine:
    """The shared store on Valkey or Redis, see `engine.Engine`. `prefix` begins all keys."""

    def __init__(self, primary: Primary, location: StoreLocation, prefix: str) -> None:
        self._primary = primary
        self._location = location
        self._prefix = prefix
        self._uses = (self._key("asked", "uses"), self._key("due", "uses"))

    async def read(self, names: Sequence[Name], limit: int | None = None) -> Read:
        """See `Engine.read`. What is under a key and is no string is an `UNREADABLE` record."""
        commands = [self._get(each, limit) for each in names]
        time, *replies = await self._primary.ask([("TIME",), *commands])
        now = microseconds(self._well(time))
        found = {name: self._record(reply) for name, reply in zip(names, replies, strict=True)}
        return Read(now, {name: record for name, record in found.items() if record})

    async def put(self, name: Name, record: bytes, order: int, expires_at: int) -> bool:
        """See `Engine.put`."""
        future = FUTURE if name.kind is Kind.POLICY else -1
        arguments = (record, order, expires_at // 1000, future)
        calls = [_Call(scripts.PUT, (self._record_key(name),), arguments)]
        if index := self._index_of(name.kind):
            calls.append(self._added(index, [name.key]))
        is_kept, *_ = await self._run(calls)
        return bool(integer(is_kept))

    async def remove(self, names: Sequence[Name]) -> int:
        """See `Engine.remove`."""
        listed = [(self._index_of(each.kind), each.key) for each in names]
        commands: list[Command] = [("UNLINK", self._record_key(each)) for each in names]
        commands += [("ZREM", index, key) for index, key in listed if index]
        replies = [self._well(each) for each in await self._primary.ask(commands)]
        return sum(integer(each) for each in replies[: len(names)])

    async def discard(self, name: Name, record: bytes) -> None:
        """See `Engine.discard`. The key stays in its index, as `page` takes it out."""
        arguments = (record, size_of(name) - 1)
        await self._run([_Call(scripts.DISCARD, (self._record_key(name),), arguments)])

    async def page(self, kind: Kind, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """See `Engine.page`."""
        index = self._key("index", kind)
        found: list[tuple[str, bytes]] = []
        for _ in range(MOST_ROUNDS):
            start = f"({after}" if after else "-"
            call = _Call(scripts.PAGE, (index,), (start, limit - len(found)))
            (reply,) = await self._run([call])
            count, keys = sequence(reply, 2)
            if not integer(count):
                break
            names = [Name(kind, key) for key in ascii_texts(keys)]
            records = (await self.read(names)).records if names else {}
            await self._leave_index(index, [each for each in names if each not in records])
            found += [(each.key, records[each]) for each in names if each in records]
            if len(found) == limit:
                break
            after = names[-1].key if names else after  # the others have left the index
        return found

    async def claim(self, domain: Domain, token: str) -> Claimed:
        """See `Engine.claim`."""
        keys = (self._lease(domain), self._record_key(Name(Kind.POLICY, domain)))
        arguments = (token, LEASE // 1000, LIMITS[Kind.POLICY], scripts.UNREADABLE)
        (reply,) = await self._run([_Call(scripts.CLAIM, keys, arguments)])
        time, is_held, policy = sequence(reply, 3)
        return Claimed(microseconds(time), bool(integer(is_held)), octets(policy) or None)

    async def renew(self, domain: Domain, token: str) -> bool:
        """See `Engine.renew`."""
        arguments = (token, LEASE // 1000)
        (reply,) = await self._run([_Call(scripts.RENEW, (self._lease(domain),), arguments)])
        return bool(integer(reply))

    async def release(self, domain: Domain, token: str) -> None:
        """See `Engine.release`."""
        await self._run([_Call(scripts.RELEASE, (self._lease(domain),), (token,))])

    async def note_uses(self, asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> None:
        """See `Engine.note_uses`. Of more than `MOST` domains the longest unused are forgotten."""
        for some, others in _parts(asked, due):
            pairs = [each for domain, time in (*some, *others) for each in (time, domain)]
            arguments = (KEPT_WITHOUT_USE, MOST, len(some), *pairs)
            await self._run([_Call(scripts.NOTE, self._uses, arguments)])

    async def due(self, asked_since: int, limit: int) -> Sequence[Domain]:
        """See `Engine.due`."""
        found: list[str] = []
        for _ in range(MOST_ROUNDS):
            arguments = (asked_since, limit - len(found), AT_ONCE, len(found))
            (reply,) = await self._run([_Call(scripts.DUE, self._uses, arguments)])
            count, more = sequence(reply, 2)
            found += ascii_texts(more)
            if len(found) >= limit or integer(count) < AT_ONCE:
                break
        return [Domain(each) for each in found]

    async def check(self) -> Sequence[Finding]:
        """See `Engine.check`."""
        return await checkup(self._primary.ask, self._location, self._prefix)

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._primary.close()

    def _key(self, kind: str, key: str) -> str:
        return f"{self._prefix}:{kind}:{{{key}}}"

    def _record_key(self, name: Name) -> str:
        return self._key(name.kind, name.key)

    def _lease(self, domain: Domain) -> str:
        return self._key("lease", domain)

    def _index_of(self, kind: Kind) -> str | None:
        return self._key("index", kind) if kind in (Kind.CHECK, Kind.RELAY) else None

    def _get(self, name: Name, limit: int | None) -> Command:
        """The command that reads a record, or its first bytes."""
        return ("GETRANGE", self._record_key(name), 0, size_of(name, limit) - 1)

    def _record(self, reply: Reply) -> bytes:
        if isinstance(reply, Refusal) and reply.code == "WRONGTYPE":
            return scripts.UNREADABLE
        return octets(self._well(reply))

    def _added(self, index: str, keys: Sequence[str]) -> _Call:
        return _Call(scripts.INDEX, (index,), (KEPT_WITHOUT_USE, MOST, *keys))

    async def _leave_index(self, index: str, names: Sequence[Name]) -> None:
        """Take keys without a record from an index; those written meanwhile return to it."""
        if not names:
            return
        (reply,) = await self._primary.ask([("ZREM", index, *(each.key for each in names))])
        self._well(reply)
        if back := (await self.read(names)).records:
            await self._run([self._added(index, [each.key for each in back])])

    async def _run(self, calls: Sequence[_Call]) -> list[Reply]:
        """Run scripts in one go. A server that does not know them, as it was restarted, gets them.

        Raises `FleetError`.
        """
        replies = await self._primary.ask([each.command(whole=False) for each in calls])
        unknown = [number for number, reply in enumerate(replies) if _is_unknown(reply)]
        if unknown:
            again = await self._primary.ask([calls[each].command(whole=True) for each in unknown])
            for number, reply in zip(unknown, again, strict=True):
                replies[number] = reply
        return [self._well(each) for each in replies]

    def _well(self, reply: Reply) -> Reply:
        if isinstance(reply, Refusal):
            raise reply.meaning(self._primary.shown)
        return reply


def open_redis(settings: SharedStoreSettings) -> RedisEngine:
    """Make the engine of a location; it connects when it is used."""
    location = settings.location
    context = client_context(settings.authorities) if location.tls else None
    database = int(location.database or 0)
    how = Login(location.user, location.password, database, context)
    return RedisEngine(Primary(location, how), location, settings.prefix)


def _is_unknown(reply: Reply) -> bool:
    return isinstance(reply, Refusal) and reply.code == "NOSCRIPT"


_Uses = list[tuple[Domain, int]]


def _parts(asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> Iterable[tuple[_Uses, _Uses]]:
    """Split both into parts of `NOTED_AT_ONCE`."""
    some, others = iter(asked.items()), iter(due.items())
    while True:
        part = (list(islice(some, NOTED_AT_ONCE)), list(islice(others, NOTED_AT_ONCE)))
        if not any(part):
            return
        yield part
