"""A shared store for administrators' questions: answers as literals, no database."""

from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store.fleet.requests import (
    AnyAnswer,
    AnyRequest,
    Relay,
    RelayReport,
    Request,
    Unavailable,
)
from tests.support.surroundings import policy


class FakeFleet:
    """Answers by the class of a request; what it does not know, it has no answer to."""

    def __init__(self, **answers: AnyAnswer) -> None:
        self.answers = answers
        self.asked: list[Request] = []

    async def ask(self, request: AnyRequest) -> AnyAnswer:
        """See `AskFleet`."""
        self.asked.append(request)
        return self.answers.get(type(request).__name__, Unavailable("connection refused"))

    @property
    def fleet(self) -> Fleet:
        """The fleet, as the daemon `mx1` sees it."""
        return Fleet(self.ask, "mx1", "valkey://192.0.2.1:6379/0")


def relay(name: str, seen_ago: float = 4.0, **fields: int) -> Relay:
    """What a relay says of itself."""
    report = {"policies": 100, "waiting": 0, "exceptions_version": 3, **fields}
    return Relay(name, RelayReport(version="1.2.3", **report), seen_ago)


def shared(name: str = "a", mode: str = "enforce", age: float = 60.0) -> SharedPolicy:
    """A policy that the relay mx2 has fetched."""
    return SharedPolicy(policy(mode), PolicyId(name), age, "mx2", 1)
