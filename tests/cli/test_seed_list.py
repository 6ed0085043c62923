"""A list of domains: what it says, how fast it is gone through, and what each came to."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.cli.seed import CONCURRENCY, Rate, describe, look_up_all, parse_list
from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    InvalidDomainError,
    MtaStsError,
    NoRecordError,
)
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import parse_policy
from tests.support.states import a_state


def failed(error: MtaStsError) -> State:
    """The state of a domain of which nothing was known, and then came this."""
    return lifecycle.after_fault(None, error, 1000.0)


def in_mode(mode: str) -> State:
    """A state with a policy in this mode."""
    text = f"version: STSv1\nmode: {mode}\nmx: mx.good.test\nmax_age: 86400\n"
    return a_state(policy=parse_policy(text.encode()))


class TestParseList:
    """`parse_list`."""

    def test_domains(self) -> None:
        """One a line, in order and once each, as people write them."""
        text = "b.test\n  A.test.  # ours\r\n\n#c.test\nBücher.test\na.TEST\nd.test"
        found = parse_list(text.encode())
        assert found.domains == ("b.test", "a.test", "xn--bcher-kva.test", "d.test")
        assert found.bad == ()

    def test_bad_lines(self) -> None:
        """What names no domain is told with its line's number, and the others are taken."""
        found = parse_list(b"a.test\n\xff\nx y\n\nb.test\n[192.0.2.1]\n")
        assert found.domains == ("a.test", "b.test")
        assert [number for number, _ in found.bad] == [2, 3, 6]
        assert found.bad[0][1] == "not UTF-8"

    def test_byte_order_mark(self) -> None:
        """What some editors put before the first line is no part of it."""
        assert parse_list(b"\xef\xbb\xbfa.test\n").domains == ("a.test",)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever a file holds, each line is one domain at most, and reasons are printable."""
        found = parse_list(data)
        assert len(found.domains) + len(found.bad) <= data.count(b"\n") + 1
        assert all(reason.isascii() and reason.isprintable() for _, reason in found.bad)


@pytest.mark.parametrize(
    ("state", "word"),
    [
        (in_mode("enforce"), "enforce"),
        (in_mode("testing"), "testing"),
        (in_mode("none"), "none"),
        (failed(NoRecordError("NXDOMAIN")), "no policy"),
        (failed(CertificateError("expired")), "failed: certificate"),
        (None, "failed: cancelled"),
    ],
)
def test_describe(state: State | None, word: str) -> None:
    """What a domain came to is a word of a fixed set."""
    assert describe(state) == word


class TestRate:
    """`Rate`."""

    async def test_even(self) -> None:
        """They begin evenly; a pause that was longer is not made up for."""
        now, begun = 0.0, []

        async def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds

        rate = Rate(10, monotonic=lambda: now, sleep=sleep)
        for pause in (0.0, 0.0, 0.05, 1.0, 0.0):
            now += pause
            await rate.wait()
            begun.append(round(now, 3))
        assert begun == [0.0, 0.1, 0.2, 1.2, 1.3]


class TestLookUpAll:
    """`look_up_all`."""

    FAST = 1_000_000.0

    async def run(
        self, known: Mapping[str, State], answers: Mapping[str, State | None]
    ) -> Counter[str]:
        """Seed all of both, and what was told."""
        told: Counter[str] = Counter()

        async def look(domain: Domain) -> State | None:
            return known.get(domain)

        async def ask(domain: Domain) -> State | None:
            return answers[domain]

        domains = [Domain(name) for name in {**known, **answers}]
        await look_up_all(domains, look, ask, Rate(self.FAST), lambda word: told.update([word]))
        return told

    async def test_told(self) -> None:
        """What is known is not asked for, and each domain is told once."""
        told = await self.run(
            {"a.test": in_mode("enforce")}, {"b.test": in_mode("testing"), "c.test": None}
        )
        assert told == {"enforce": 1, "testing": 1, "failed: cancelled": 1}

    async def test_bounded(self) -> None:
        """However many hang, no more than so many are asked for; the end of one lets another in."""
        begun: list[asyncio.Future[State | None]] = []
        told: list[str] = []
        full = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def nothing(_: Domain) -> None:
            return None

        async def hang(_: Domain) -> State | None:
            begun.append(loop.create_future())
            if len(begun) >= CONCURRENCY:
                full.set()
            return await begun[-1]

        domains = [Domain(f"d{n}.test") for n in range(CONCURRENCY + 5)]
        task = asyncio.create_task(
            look_up_all(domains, nothing, hang, Rate(self.FAST), told.append)
        )
        await full.wait()
        full.clear()
        assert len(begun) == CONCURRENCY
        begun[0].set_result(None)
        await full.wait()
        assert len(begun) == CONCURRENCY + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ["failed: cancelled"]


def test_invalid_domain_has_a_code() -> None:
    """Codes never hold what a list or the network said."""
    assert describe(failed(InvalidDomainError("\x1b[2J"))) == "failed: invalid-domain"
