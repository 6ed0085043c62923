"""Replies: look-ups whose policy could not be had are told, each once."""

import pytest

from postfix_mta_sts.mtasts.errors import CertificateError, ResultType, StatusError
from postfix_mta_sts.mtasts.session_failure import PolicyType, SessionFailure
from postfix_mta_sts.postfix.protocol.reply import ReplyFormat
from postfix_mta_sts.postfix.reply_cache import FailedReply, Form, MadeReply
from postfix_mta_sts.stats.labels import Answer
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask, make_reply_cache
from tests.support.surroundings import GOOD, Surroundings, found

FAILED = SessionFailure(PolicyType.STS, ResultType.FETCH_ERROR, "status 404")


class Told:
    """A reply cache, and what it has told."""

    def __init__(self, around: Surroundings, reply_format: ReplyFormat | None = None) -> None:
        self.failures: list[tuple[str, SessionFailure, int]] = []
        form = reply_format or ReplyFormat()
        self.cache = make_reply_cache(
            around,
            reply_format=lambda _: form,
            note_failure=lambda *told: self.failures.append(told),
        )

    async def total(self) -> int:
        """For how many look-ups, with those that were answered from the cache."""
        await self.cache.count()
        return sum(number for *_, number in self.failures)


@pytest.fixture
def around() -> Surroundings:
    """A domain whose Policy Host answers with status 404."""
    made = Surroundings()
    made.records[GOOD] = found()
    made.policies[GOOD] = StatusError("status 404")
    return made


async def test_each_look_up_counts(around: Surroundings) -> None:
    """The first one, and those that are answered by the remembered absence."""
    told = Told(around)
    assert [await ask(told.cache) for _ in range(5)] == [NOT_FOUND] * 5
    assert told.failures == [(GOOD, FAILED, 1)]
    assert await told.total() == 5
    assert await told.total() == 5
    await ask(told.cache)
    await ask(told.cache, b"19:postfix [good.test],")
    assert await told.total() == 7
    assert {(domain, failure) for domain, failure, _ in told.failures} == {(GOOD, FAILED)}


async def test_the_failure_is_that_of_the_state(around: Surroundings) -> None:
    """When it changes, so does what is told."""
    told = Told(around)
    await ask(told.cache)
    around.policies[GOOD] = CertificateError("it has expired")
    around.now += 86_400
    await ask(told.cache)
    assert [failure.result for _, failure, _ in told.failures] == [
        ResultType.FETCH_ERROR,
        ResultType.WEBPKI_INVALID,
    ]


async def test_nothing_to_tell(around: Surroundings) -> None:
    """A policy that is in force, and a domain without one."""
    around.publish()
    told = Told(around)
    assert await ask(told.cache) == SECURE
    assert await ask(told.cache, b"18:postfix other.test,") == NOT_FOUND
    await ask(told.cache)
    assert await told.total() == 0


async def test_on_trial(around: Surroundings) -> None:
    """No policy would be used, so none has failed."""
    told = Told(around, ReplyFormat(trial=True))
    assert await ask(told.cache, REQUEST) == NOT_FOUND
    assert await told.total() == 0


def test_memory() -> None:
    """A reply whose policy has failed takes more bytes than another, and says so."""
    made = (1.0, GOOD, Form(None), Answer.NOT_FOUND, NOT_FOUND, True)
    assert FailedReply(*made, failure=FAILED).size > MadeReply(*made).size
