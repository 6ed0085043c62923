"""DANE: how long a verdict is valid."""

import pytest

from postfix_mta_sts.mtasts.dane import DaneKind, DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.verdict import (
    FAILURE_RETRY,
    MAX_LIFE,
    MIN_LIFE,
    RECHECK_SHARE,
    after_verdict,
    is_due,
    is_live,
    latest,
)
from postfix_mta_sts.values import replace
from tests.support.dane_outcomes import (
    ABSENT,
    FAILED,
    HOUR,
    UNANSWERED,
    UNSIGNED,
    UNUSABLE,
    USABLE,
    signed,
)

T = 1_790_000_000.0
"""Time of the first look-up."""


class TestFailures:
    """What a verdict says if the DNS did not answer."""

    def test_unanswered(self) -> None:
        """If the DNS does not answer, the kind is a failure, not insecure."""
        verdict = after_verdict(None, UNANSWERED, T)
        assert (verdict.kind, verdict.mx_is_secure) == (DaneKind.FAILURE, False)
        assert verdict.reason == "MX: no answer within 5 s"

    def test_signed_and_then_unanswered(self) -> None:
        """If only a step after the MX query failed, the MX RRset is known to be signed."""
        verdict = after_verdict(None, signed(FAILED), T)
        assert (verdict.kind, verdict.mx_is_secure) == (DaneKind.FAILURE, True)


class TestLife:
    """How long a verdict is valid."""

    @pytest.mark.parametrize(
        ("ttl", "life"),
        [(0, MIN_LIFE), (59, 60), (60, 60), (HOUR, HOUR), (86400, 86400), (10**9, MAX_LIFE)],
    )
    def test_the_smallest_ttl_within_limits(self, ttl: int, life: float) -> None:
        """It is valid for the TTL, but at least a minute and at most a day (T6)."""
        verdict = after_verdict(None, signed(USABLE, ttl=ttl), T)
        assert (verdict.found_at, verdict.until) == (T, T + life)
        assert verdict.recheck_at == T + RECHECK_SHARE * life

    def test_fresh_then_due_then_forgotten(self) -> None:
        """A verdict is live, then due as well, then expired."""
        verdict = after_verdict(None, signed(USABLE, ttl=100), T)
        seen = [(is_live(verdict, T + s), is_due(verdict, T + s)) for s in (0, 74, 75, 99, 100)]
        assert seen == [(True, False), (True, False), (True, True), (True, True), (False, True)]

    def test_none(self) -> None:
        """Without a verdict a look-up is due."""
        assert (is_live(None, T), is_due(None, T)) == (False, True)

    def test_a_failure_is_retried_soon(self) -> None:
        """After a failure the DNS is asked again after half a minute."""
        verdict = after_verdict(None, UNANSWERED, T)
        assert is_live(verdict, T + FAILURE_RETRY - 1)
        assert not is_live(verdict, T + FAILURE_RETRY)

    @pytest.mark.parametrize("states", [[USABLE], [USABLE, ABSENT], [UNUSABLE], [ABSENT]])
    @pytest.mark.parametrize("failure", [UNANSWERED, signed(FAILED, FAILED)])
    def test_a_verdict_outlives_failures(
        self, states: list[HostState], failure: DaneOutcome
    ) -> None:
        """A verdict stays through failures until it expires, and no longer (T6)."""
        before = after_verdict(None, signed(*states), T)
        if failure.hosts:
            failure = replace(failure, hosts=failure.hosts[: len(states)])
        late = before.until - 10
        kept = after_verdict(before, failure, T + 1)
        assert kept == replace(before, recheck_at=T + 1 + FAILURE_RETRY, failure=failure.reason)
        still = after_verdict(kept, failure, late)
        assert (still.outcome, still.recheck_at, still.until) == (
            before.outcome,
            before.until,
            before.until,
        )
        assert after_verdict(still, failure, before.until).kind is DaneKind.FAILURE

    @pytest.mark.parametrize(
        ("before", "now", "after"),
        [
            ([USABLE, USABLE], [USABLE, FAILED], [USABLE, USABLE]),
            ([USABLE, ABSENT], [FAILED, ABSENT], [USABLE, ABSENT]),
            ([ABSENT, USABLE], [ABSENT, FAILED], [ABSENT, USABLE]),
            ([USABLE, USABLE], [ABSENT, FAILED], [ABSENT, USABLE]),
            ([USABLE], [FAILED, ABSENT], [USABLE, ABSENT]),
            ([USABLE, USABLE], [FAILED], [USABLE]),
        ],
    )
    def test_a_failing_host_keeps_what_is_known_of_it(
        self, before: list[HostState], now: list[HostState], after: list[HostState]
    ) -> None:
        """The other hosts are as the DNS says now; all stays until the older part expires."""
        old = after_verdict(None, signed(*before), T)
        new = after_verdict(old, signed(*now), T + 60)
        assert [host.state for host in new.outcome.hosts] == after
        assert (new.until, new.recheck_at) == (old.until, T + 60 + FAILURE_RETRY)
        assert new.failure
        assert FAILED in [
            h.state for h in after_verdict(new, signed(*now), old.until).outcome.hosts
        ]

    def test_the_order_of_reading_does_not_matter(self) -> None:
        """A verdict that is read after a failure was found counts as if it was read before."""
        old, failed = (
            after_verdict(None, each, T + n) for n, each in enumerate((signed(USABLE), UNANSWERED))
        )
        for one, other in ((old, failed), (failed, old)):
            assert latest(one, other, T + 2) == after_verdict(old, UNANSWERED, T + 2)
            assert latest(one, other, old.until) == replace(failed, was_protected=True)
        newer = after_verdict(None, signed(ABSENT), T + 5)
        assert latest(newer, old, T + 6) == latest(old, newer, T + 6) == newer
        assert latest(None, old, T) == latest(old, None, T) == old
        assert latest(None, None, T) is None

    def test_new_hosts_that_all_fail_leave_the_verdict(self) -> None:
        """Nothing is known of them, so the verdict on the hosts before stays until it expires."""
        old = after_verdict(None, signed(USABLE), T)
        others = DaneOutcome(MxState.SECURE, "MX", (Host("other", FAILED, "TLSA of other"),), 9)
        new = after_verdict(old, others, T + 60)
        assert (new.kind, new.failure) == (DaneKind.ALL, "TLSA of other")
        assert after_verdict(new, others, old.until).kind is DaneKind.FAILURE

    def test_an_insecure_verdict_outlives_failures(self) -> None:
        """The verdict of a domain that is not signed stays through failures, too."""
        before = after_verdict(None, UNSIGNED, T)
        assert after_verdict(before, UNANSWERED, T + 1).kind is DaneKind.INSECURE

    def test_an_answer_ends_a_failure(self) -> None:
        """The next answer replaces the verdict and clears the failure."""
        before = after_verdict(None, signed(USABLE), T)
        failed = after_verdict(before, UNANSWERED, T + 1)
        again = after_verdict(failed, signed(ABSENT), T + 40)
        assert again == after_verdict(None, signed(ABSENT), T + 40)

    def test_a_failure_follows_a_failure(self) -> None:
        """The later failure counts: it may know more of the MX RRset, or less."""
        before = after_verdict(None, UNANSWERED, T)
        assert after_verdict(before, signed(FAILED), T + 1).mx_is_secure

    def test_an_incomplete_answer_is_valid_for_a_minute(self) -> None:
        """If the look-up of one host failed, the domain is looked up again after a minute."""
        verdict = after_verdict(None, signed(USABLE, FAILED), T)
        assert (verdict.kind, verdict.until) == (DaneKind.SOME, T + MIN_LIFE)

    def test_the_clock_was_set_back(self) -> None:
        """A verdict from the future is live and due, and is kept for at most a day."""
        verdict = after_verdict(None, signed(USABLE, ttl=86400), T)
        then = T - 1_000_000
        assert (is_live(verdict, then), is_due(verdict, then)) == (True, True)
        assert after_verdict(verdict, UNANSWERED, then).until == then + MAX_LIFE

    def test_a_failure_from_the_future(self) -> None:
        """A failure from the future is not live."""
        assert not is_live(after_verdict(None, UNANSWERED, T), T - 1000)
