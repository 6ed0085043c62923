"""The checks of other relays, page by page."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.admin.fleet.checks import SharedChecks
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Checks,
    Done,
    ReadChecks,
    Unavailable,
)


def check(domain: str) -> Check:
    """A check of a domain."""
    return Check(Domain(domain), CheckResult.HELD, "Mail is held", "tls", "theirs", "a", 1.0, 1.0)


class Pages:
    """A store that answers with these pages, one after the other, then that it fails."""

    def __init__(self, *pages: AnyAnswer) -> None:
        self.pages = list(pages)
        self.after: list[str] = []

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """See `AskFleet`."""
        assert isinstance(request, ReadChecks)
        self.after.append(request.after)
        return self.pages.pop(0) if self.pages else Unavailable("gone")

    def shared(self) -> SharedChecks:
        """The checks."""
        return SharedChecks(Fleet(self.ask, "mx1", "valkey://h"))


def page(*domains: str, last: str = "") -> Checks:
    """A page; without `last`, the last one."""
    return Checks(tuple(map(check, domains)), last)


async def names(shared: SharedChecks, before: str | None = None) -> Sequence[str]:
    """The domains before one."""
    return [each.domain async for each in shared.before(before)]


async def test_no_fleet() -> None:
    """A relay that shares nothing finds none, and misses none."""
    shared = SharedChecks(None)
    assert (await names(shared), await shared.of("a.test"), shared.problem) == ([], None, "")


async def test_pages() -> None:
    """All pages are read; a page may be empty, since refused records are left out."""
    pages = Pages(page("a.test", last="b"), page(last="c"), page("d.test"))
    shared = pages.shared()
    assert await names(shared, "b.test") == ["a.test"]
    found = await shared.of("d.test")
    assert found
    assert found.domain == "d.test"
    assert (await names(shared), shared.problem) == ([], "")
    assert pages.after == ["", "b", "c"]


async def test_no_page_is_read_before_it_is_needed() -> None:
    """A domain before those of a page needs no other page."""
    pages = Pages(page("b.test", last="b.test"))
    shared = pages.shared()
    assert await shared.of("a.test") is None
    assert await names(shared, "b.test") == []
    assert len(pages.after) == 1


async def test_fails() -> None:
    """If the store fails, what was read counts, and the problem is known; it is not asked again."""
    pages = Pages(page("a.test", last="a.test"))
    shared = pages.shared()
    assert await names(shared) == ["a.test"]
    assert shared.problem == "the shared store: gone"
    assert await shared.of("z.test") is None
    assert len(pages.after) == 2


async def test_other_answer() -> None:
    """An answer of another kind is a failure."""
    shared = Pages(Done()).shared()
    assert await names(shared) == []
    assert "something else" in shared.problem


async def test_a_store_that_repeats_itself() -> None:
    """A store that names the same last key again and again is read once."""
    pages = Pages(*[page("a.test", last="a.test")] * 9)
    assert await names(pages.shared()) == ["a.test"]
    assert len(pages.after) == 2


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=5), max_size=5))
async def test_order(pages: list[list[str]]) -> None:
    """Whatever a store returns, each domain comes once, in order."""
    answers = [page(*each, last="abcde"[number]) for number, each in enumerate(pages)]
    found = await names(Pages(*answers, page()).shared())
    assert sorted(set(found)) == found
