"""The estimate of the memory that the caches take, against what Python's allocator counts."""

import gc
import tracemalloc
from collections.abc import Callable, Iterable, Mapping, Sequence

import pytest

from postfix_mta_sts.mtasts.backoff import Backoff
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Failure, State, restored
from postfix_mta_sts.mtasts.policy import parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.verdict import after_verdict
from postfix_mta_sts.resolver.cache import Limits, StateCache
from postfix_mta_sts.store.memory import MemoryStore
from postfix_mta_sts.values import replace
from tests.support.clients import request
from tests.support.replies import make_reply_cache
from tests.support.resolvers import make_resolver
from tests.support.surroundings import START, Surroundings

pytestmark = pytest.mark.usefixtures("uncovered")


class DecodingStore(MemoryStore):
    """A store that decodes a new state on every read, as the SQLite store does.

    Every domain was checked just now; domains that start with "absent" have no row.
    """

    async def load_all(self, domains: Sequence[Domain]) -> Mapping[Domain, State]:
        """See `Store`."""
        return {domain: _decode(domain) for domain in domains if not domain.startswith("absent")}


def _decode(domain: Domain) -> State:
    text = f"version: STSv1\r\nmode: enforce\r\nmx: mx1.{domain}\r\nmx: mx2.{domain}\r\n"
    policy = parse_stored_policy(f"{text}max_age: 604800\r\n".encode())
    state = restored(policy, PolicyId("20260101"), START - 1.0, START + 80_000.0)
    return replace(state, recheck_at=START + 300)


async def bytes_per_key(around: Surroundings, keys: Iterable[str]) -> tuple[float, float]:
    """Bytes of memory for each key that was looked up once, counted and estimated."""
    requests = [request(key) for key in keys]
    resolver = make_resolver(around, timeout=5, entries=10_000)
    cache = make_reply_cache(around, resolver=resolver, entries=10_000)
    gc.collect()
    tracemalloc.start()
    try:
        for each in requests:
            reply = cache.reply(bytes(bytearray(each)))  # a new object, as read from a socket
            if not isinstance(reply, bytes):
                reply.reply(await reply.result)
        await resolver.close()
        gc.collect()
        assert cache.entries == len(requests)
        counted = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    estimated = resolver._cache.used + cache._requests.used
    return counted / len(requests), estimated / len(requests)


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [("d{}.bench.test", 700, 1_200), ("absent{}.bench.test", 300, 660)],
)
async def test_states_and_replies(key: str, least: int, most: int) -> None:
    """A policy and its reply take 1 KiB, an absence half of that; the estimate is close."""
    around = Surroundings(store=DecodingStore())
    counted, estimated = await bytes_per_key(around, (key.format(n) for n in range(10**5, 102_000)))
    assert least < counted < most
    assert counted / 1.5 < estimated < counted * 1.5


async def test_many_keys_of_one_domain() -> None:
    """They share the reply: a key takes some 200 bytes, however large the policy."""
    around = Surroundings(store=DecodingStore())
    counted, estimated = await bytes_per_key(
        around, (f"d{number}.bench.test:{port}" for number in range(50) for port in range(1, 33))
    )
    assert counted < 300
    assert counted / 1.5 < estimated < counted * 1.5


def usual(number: int) -> State:
    """A policy of usual size."""
    return _decode(Domain(f"d{number}.bench.test"))


def large(number: int) -> State:
    """A policy of 64 KiB with 200 patterns."""
    patterns = "".join(f"mx: mx{n}.d{number}.bench.test\n" for n in range(200))
    return with_text(patterns + f"x: {'y' * 58_000}\n", number)


def many_patterns(number: int) -> State:
    """A stored policy with thousands of patterns."""
    return with_text("".join(f"mx: {n}.{number}\n" for n in range(5_000)), number)


def emoji(number: int) -> State:
    """A policy that Python keeps in four bytes for each character."""
    return with_text(f"mx: a.b\nx: \U0001f600{'y' * 60_000}\n", number)


def with_text(lines: str, number: int) -> State:
    """A policy with these lines."""
    text = f"version: STSv1\nmode: enforce\n{lines}max_age: 604800\n"
    return replace(usual(number), policy=parse_stored_policy(text.encode()))


def failing(number: int) -> State:
    """A policy whose renewal fails, with all back-offs."""
    reason = f"the Policy Host does not answer, number {number}"
    failure = Failure("timeout", "sts-policy-fetch-error", reason, 1_000 + number, START + number)
    backoffs = tuple(Backoff(PolicyId(f"id{number}-{n}"), 1, START + n / 7) for n in range(4))
    return replace(usual(number), failure=failure, backoffs=backoffs)


def with_verdict(number: int) -> State:
    """A policy with a verdict on five hosts."""
    hosts = tuple(
        Host(f"mx{n}.d{number}.bench.test", HostState.USABLE, f"TLSA: {n} of {number}, signed")
        for n in range(5)
    )
    outcome = DaneOutcome(MxState.SECURE, f"MX: {number} found, signed", hosts, 3600)
    return replace(usual(number), dane=after_verdict(None, outcome, START + number / 7))


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (usual, 1_000),
        (large, 30),
        (many_patterns, 10),
        (emoji, 10),
        (failing, 1_000),
        (with_verdict, 1_000),
    ],
)
def test_states(make: Callable[[int], State], number: int) -> None:
    """The estimate is within a factor of 1.5 for states of all kinds."""
    cache = StateCache(Limits(10_000, 2**40), lambda _: None)
    gc.collect()
    tracemalloc.start()
    try:
        for n in range(number):
            cache.put(Domain(f"d{n}.bench.test"), make(n), START)
        gc.collect()
        counted = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert counted / 1.5 < cache.used < counted * 1.5
