"""The list of `seed`: its syntax, the rate, the parallel look-ups, and the results."""

import asyncio
from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.cli.seed import CONCURRENCY, Rate, describe, look_up_all, parse_list
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    InvalidDomainError,
    MtaStsError,
    NoRecordError,
)
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import parse_policy
from tests.support.states import a_failed_state, a_state


def failed(error: MtaStsError) -> State:
    """Return the state of an unknown domain after an error."""
    return a_failed_state(error)


def in_mode(mode: str) -> State:
    """Return a state with a policy in this mode."""
    text = f"version: STSv1\nmode: {mode}\nmx: mx.good.test\nmax_age: 86400\n"
    return a_state(policy=parse_policy(text.encode()))


class TestParseList:
    """`parse_list`."""

    def test_domains(self) -> None:
        """One domain per line, in any spelling; the order is kept, duplicates are dropped."""
        text = "b.test\n  A.test.  # ours\r\n\n#c.test\nBücher.test\na.TEST\nd.test"
        found = parse_list(text.encode())
        assert found.domains == ("b.test", "a.test", "xn--bcher-kva.test", "d.test")
        assert found.bad == ()

    def test_bad_lines(self) -> None:
        """A line without a valid domain is returned with its number; the other lines count."""
        found = parse_list(b"a.test\n\xff\nx y\n\nb.test\n[192.0.2.1]\n")
        assert found.domains == ("a.test", "b.test")
        assert [number for number, _ in found.bad] == [2, 3, 6]
        assert found.bad[0][1] == "not UTF-8"

    def test_byte_order_mark(self) -> None:
        """A byte order mark before the first line is ignored."""
        assert parse_list(b"\xef\xbb\xbfa.test\n").domains == ("a.test",)

    @given(st.binary())
    def test_any_bytes(self, data: bytes) -> None:
        """In any file each line is at most one domain, and the reasons are printable."""
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
    """The result of a domain is one of a fixed set of words."""
    assert describe(state) == word


class TestRate:
    """`Rate`."""

    async def test_even(self) -> None:
        """Starts are evenly spaced; a longer pause is not made up for."""
        now, starts = 0.0, []

        async def sleep(seconds: float) -> None:
            nonlocal now
            now += seconds

        rate = Rate(10, monotonic=lambda: now, sleep=sleep)
        for pause in (0.0, 0.0, 0.05, 1.0, 0.0):
            now += pause
            await rate.wait()
            starts.append(round(now, 3))
        assert starts == [0.0, 0.1, 0.2, 1.2, 1.3]


class TestLookUpAll:
    """`look_up_all`."""

    FAST = 1_000_000.0

    async def run(
        self, known: Mapping[str, State], answers: Mapping[str, State | None]
    ) -> Counter[str]:
        """Look up all domains of both; return the counted results."""
        counted: Counter[str] = Counter()

        async def load(domain: Domain) -> State | None:
            return known.get(domain)

        async def look_up(domain: Domain) -> State | None:
            return answers[domain]

        domains = [Domain(name) for name in {**known, **answers}]
        await look_up_all(
            domains, load, look_up, Rate(self.FAST), lambda word: counted.update([word])
        )
        return counted

    async def test_counted(self) -> None:
        """Known domains are not looked up, and each domain is counted once."""
        counted = await self.run(
            {"a.test": in_mode("enforce")}, {"b.test": in_mode("testing"), "c.test": None}
        )
        assert counted == {"enforce": 1, "testing": 1, "failed: cancelled": 1}

    async def test_bounded(self) -> None:
        """At most `CONCURRENCY` look-ups run at the same time; the next one waits for an end."""
        started: list[asyncio.Future[State | None]] = []
        counted: list[str] = []
        full = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def load_nothing(_: Domain) -> None:
            return None

        async def hang(_: Domain) -> State | None:
            started.append(loop.create_future())
            if len(started) >= CONCURRENCY:
                full.set()
            return await started[-1]

        domains = [Domain(f"d{n}.test") for n in range(CONCURRENCY + 5)]
        task = asyncio.create_task(
            look_up_all(domains, load_nothing, hang, Rate(self.FAST), counted.append)
        )
        await full.wait()
        full.clear()
        assert len(started) == CONCURRENCY
        started[0].set_result(None)
        await full.wait()
        assert len(started) == CONCURRENCY + 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert counted == ["failed: cancelled"]


def test_codes_do_not_contain_input() -> None:
    """The code of an error does not contain text from the list or the network."""
    assert describe(failed(InvalidDomainError("\x1b[2J"))) == "failed: invalid-domain"
