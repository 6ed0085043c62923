"""Calls of PostgreSQL that arrive together, as one statement.

A statement takes two round trips and is planned each time, because nothing is prepared in a
session; one for fifty rows takes hardly longer than one for a single row. While few calls arrive
each has a statement of its own; those that arrive while statements are under way form the next.

A statement ends with its connection when nothing waits for it any more. Rows are written in the
order of their keys, so that two relays that write the same ones wait for each other in one order.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeAlias, TypeVar

from postfix_mta_sts.batching import Batcher
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import LIMITS, Claimed, Kind, Name, Read, size_of
from postfix_mta_sts.store.fleet.errors import NotReachedError
from postfix_mta_sts.store.fleet.postgresql.statements import Statements
from postfix_mta_sts.values import Value

SIZE: Final = 50
"""Calls in one statement."""
AT_ONCE: Final = 2
"""Statements of one kind: one is under way while the next calls arrive."""
NOTED_AT_ONCE: Final = 1000
"""Domains whose uses one statement notes: rows that it locks at the same time."""
LARGE: Final = 32 * 1024
"""Bytes of a record that has a statement of its own."""

Q = TypeVar("Q")
A = TypeVar("A")
Rows: TypeAlias = Callable[..., Awaitable[Sequence[Any]]]
"""Executes a statement with its arguments."""


class _Put(Value, frozen=True):
    name: Name
    record: bytes
    expires_at: int


class _Lease(Value, frozen=True):
    domain: Domain
    token: str


class _Use(Value, frozen=True):
    domain: Domain
    asked: int | None
    due: int | None


class _Call(Generic[Q, A]):
    """A call that waits; see `batching.Waiter`. Two that ask for the same are two."""

    def __init__(self, question: Q) -> None:
        self.question = question
        self.result: asyncio.Future[A] = asyncio.get_running_loop().create_future()


class _Together(Generic[Q, A]):
    """Calls of one kind; `ask_all` answers questions in their order."""

    def __init__(self, ask_all: Callable[[Sequence[Q]], Awaitable[Sequence[A]]]) -> None:
        self._ask_all = ask_all
        self._batcher: Batcher[_Call[Q, A], A | None, _Call[Q, A]] = Batcher(
            self._answers, _answer, size=SIZE, concurrency=AT_ONCE, enough=1
        )

    async def ask(self, question: Q) -> A:
        """Ask, with others. Raises `FleetError`."""
        call: _Call[Q, A] = _Call(question)
        self._batcher.ask(call, call)
        return await call.result

    async def _answers(self, calls: Sequence[_Call[Q, A]]) -> Mapping[_Call[Q, A], A | None]:
        wanted = [call for call in calls if not call.result.done()]
        answers: dict[_Call[Q, A], A | None] = dict.fromkeys(calls)
        if wanted:
            found = await self._while_wanted(wanted)
            answers.update(zip(wanted, found, strict=True))
        return answers

    async def _while_wanted(self, calls: Sequence[_Call[Q, A]]) -> Sequence[A]:
        """Ask; give up when all calls were cancelled."""
        asking = asyncio.ensure_future(self._ask_all([call.question for call in calls]))

        def give_up(_: object) -> None:
            if not asking.done() and all(call.result.done() for call in calls):
                asking.cancel()

        for call in calls:
            call.result.add_done_callback(give_up)
        try:
            await asyncio.wait([asking])
        finally:
            asking.cancel()
        if asking.cancelled():
            raise NotReachedError("nothing waits for the answer")
        return asking.result()


class Batches:
    """The calls for one row each; each method raises `FleetError`."""

    def __init__(self, sql: Statements, rows: Rows) -> None:
        self._sql = sql
        self._rows = rows
        self._reads = _Together(self._read_all)
        self._puts = _Together(self._put_all)
        self._claims = _Together(self._claim_all)
        self._releases = _Together(self._release_all)
        self._uses = _Together(self._note_together)

    async def read(self, name: Name) -> Read:
        """See `Engine.read`."""
        return await self._reads.ask(name)

    async def put(self, name: Name, record: bytes, expires_at: int) -> bool:
        """See `Engine.put`."""
        put = _Put(name, record, expires_at)
        if len(record) > LARGE:
            return (await self._put_all([put]))[0]
        return await self._puts.ask(put)

    async def claim(self, domain: Domain, token: str) -> Claimed:
        """See `Engine.claim`."""
        return await self._claims.ask(_Lease(domain, token))

    async def release(self, domain: Domain, token: str) -> None:
        """See `Engine.release`."""
        await self._releases.ask(_Lease(domain, token))

    async def note_all(self, asked: Mapping[Domain, int], due: Mapping[Domain, int]) -> None:
        """See `Engine.note_uses`."""
        uses = [_Use(each, asked.get(each), due.get(each)) for each in sorted({*asked, *due})]
        if len(uses) == 1:
            await self._uses.ask(uses[0])
            return
        for start in range(0, len(uses), NOTED_AT_ONCE):
            await self._note(uses[start : start + NOTED_AT_ONCE])

    async def read_all(self, names: Sequence[Name], limit: int | None = None) -> Read:
        """Read any number of records with one statement; see `Engine.read`."""
        kinds, keys = [name.kind.value for name in names], [name.key for name in names]
        sizes = [str(size_of(name, limit)) for name in names]
        rows = await self._rows(self._sql.read, kinds, keys, sizes)
        found = {Name(Kind(kind), key): record for _, kind, key, record in rows if kind is not None}
        return Read(now=rows[0][0], records=found)

    async def _read_all(self, names: Sequence[Name]) -> Sequence[Read]:
        read = await self.read_all(list(dict.fromkeys(names)))
        return [_part(read, name) for name in names]

    async def _put_all(self, puts: Sequence[_Put]) -> Sequence[bool]:
        kept: dict[int, bool] = {}
        for some in _rounds([put.name for put in puts]):
            rows = await self._rows(
                self._sql.put,
                [puts[each].name.kind.value for each in some],
                [puts[each].name.key for each in some],
                [puts[each].record.hex() for each in some],
                [str(puts[each].expires_at) for each in some],
            )
            names = {Name(Kind(kind), key) for kind, key in rows}
            kept |= {each: puts[each].name in names for each in some}
        return [kept[each] for each in range(len(puts))]

    async def _claim_all(self, claims: Sequence[_Lease]) -> Sequence[Claimed]:
        claimed: dict[int, Claimed] = {}
        for some in _rounds([claim.domain for claim in claims]):
            found = await self._claim_each([claims[each] for each in some])
            claimed |= {each: found[claims[each].domain] for each in some}
        return [claimed[each] for each in range(len(claims))]

    async def _claim_each(self, claims: Sequence[_Lease]) -> Mapping[Domain, Claimed]:
        """Claim the leases of domains that differ."""
        size = LIMITS[Kind.POLICY] + 1
        domains, tokens = [claim.domain for claim in claims], [claim.token for claim in claims]
        rows = await self._rows(self._sql.claim, domains, tokens, size)
        found: dict[Domain, Claimed] = {}
        had_holder: list[Domain] = []
        for now, domain, is_held, policy, was_there in rows:
            found[domain] = Claimed(now, is_held, policy)
            if is_held and was_there:
                had_holder.append(domain)
        if had_holder:
            # The statement sees the policies as they were when it began. The former holder may have
            # put its own, and given the lease back, since then.
            names = [Name(Kind.POLICY, domain) for domain in had_holder]
            read = await self.read_all(names)
            for domain, name in zip(had_holder, names, strict=True):
                policy = read.records.get(name)
                found[domain] = Claimed(now=read.now, is_held=True, policy=policy)
        return found

    async def _release_all(self, leases: Sequence[_Lease]) -> Sequence[None]:
        domains, tokens = [each.domain for each in leases], [each.token for each in leases]
        await self._rows(self._sql.release, domains, tokens)
        return [None] * len(leases)

    async def _note_together(self, uses: Sequence[_Use]) -> Sequence[None]:
        for some in _rounds([use.domain for use in uses]):
            await self._note([uses[each] for each in some])
        return [None] * len(uses)

    async def _note(self, uses: Sequence[_Use]) -> None:
        """Note uses of domains that differ, in their order."""
        domains = [each.domain for each in uses]
        asked, due = [_text(each.asked) for each in uses], [_text(each.due) for each in uses]
        await self._rows(self._sql.note, domains, asked, due)


def _rounds(keys: Sequence[object]) -> Iterator[Sequence[int]]:
    """The places of keys, in parts that have each key once: what one statement may write."""
    left: Sequence[int] = range(len(keys))
    while left:
        first = {keys[each]: each for each in reversed(left)}
        yield sorted(first.values())
        left = [each for each in left if first[keys[each]] != each]


def _part(read: Read, name: Name) -> Read:
    there = name in read.records
    return Read(now=read.now, records={name: read.records[name]} if there else {})


def _text(time: int | None) -> str | None:
    return None if time is None else str(time)


def _answer(call: _Call[Any, Any], answer: object) -> None:
    call.result.set_result(answer)
