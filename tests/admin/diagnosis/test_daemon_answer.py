"""What the running daemon says, and what is said of one that does not answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.client import (
    ControlClient,
    ControlDeniedError,
    ControlError,
    NotRunningError,
)
from postfix_mta_sts.admin.diagnosis.daemon_answer import ask
from postfix_mta_sts.admin.diagnosis.values import DaemonState
from postfix_mta_sts.admin.exceptions.views import exception_to_json
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import Use
from postfix_mta_sts.postfix.answers import OTHER
from tests.support.exceptions import exception
from tests.support.policy_host import policy_text
from tests.support.surroundings import START

GOOD = Domain("good.test")


class Client(ControlClient):
    """A client whose daemon says this of good.test."""

    def __init__(self, known: Mapping[str, Any] | ControlError) -> None:
        super().__init__(Path("/nowhere"))
        self._known = known

    def ask(self, method: str, *parts: str, **query: str) -> Any:  # noqa: ANN401 (JSON)
        """Answer, or fail."""
        if isinstance(self._known, ControlError):
            raise self._known
        assert method == "GET"
        if parts == ("answers",):
            assert query == {"key": "good.test"}
            return {"replies": [{"map": "postfix", "reply": "NOTFOUND "}], "other": "NOTFOUND "}
        assert parts == ("policies", GOOD)
        return self._known


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (NotRunningError("no socket"), DaemonState.NOT_RUNNING),
        (ControlDeniedError("not allowed"), DaemonState.DENIED),
        (ControlError("no answer"), DaemonState.FAILED),
    ],
)
def test_no_answer(error: ControlError, state: DaemonState) -> None:
    """Why the daemon could not be asked is a state, with its reason."""
    said = ask(Client(error), "good.test", GOOD)
    assert (said.answer.state, said.answer.reason) == (state, str(error))
    assert not said.replies


def known(text: str, *, in_force: bool = True) -> dict[str, Any]:
    """What the daemon knows of a domain with this policy."""
    policy = {"text": text, "id": "id1"}
    return {"in_force": in_force, "policy": policy, "fetched_at": 1, "expires_at": 2}


def test_an_older_daemon() -> None:
    """A daemon that does not know what it would answer still has its policy."""

    class Older(Client):
        def ask(self, method: str, *parts: str, **query: str) -> Any:  # noqa: ANN401 (JSON)
            if parts == ("answers",):
                raise ControlError("of another version")
            return super().ask(method, *parts, **query)

    said = ask(Older(known(policy_text().decode())), "good.test", GOOD)
    assert (said.answer.state, said.answer.in_force) == (DaemonState.FAILED, True)
    assert said.policy
    assert not said.replies


@pytest.mark.parametrize(
    ("text", "in_force", "expected"),
    [
        (policy_text().decode(), True, True),
        (policy_text().decode(), False, False),
        ("version: STSv2\nmode: later\n", True, False),
    ],
    ids=["cached", "expired", "of a newer version"],
)
def test_policies(text: str, *, in_force: bool, expected: bool) -> None:
    """Only a policy that is in force, and that this version can read, counts."""
    said = ask(Client(known(text, in_force=in_force)), "good.test", GOOD)
    assert said.answer.in_force is expected
    assert (said.answer.expires_at == 2) is (said.policy is not None) is expected


def test_what_else_is_known() -> None:
    """The last failure, the DANE verdict and the requests of Postfix."""
    more = {
        "failure": {"reason": "HTTP 404"},
        "dane": {"kind": "some"},
        "asked_at": 7,
        "asked_count": 3,
    }
    said = ask(Client(more), "good.test", GOOD)
    answer = said.answer
    assert (answer.failure, answer.dane, answer.asked_at, answer.asked_count) == (
        "HTTP 404",
        "some",
        7,
        3,
    )
    assert said.replies == {"postfix": "NOTFOUND ", OTHER.name: "NOTFOUND "}


def test_exception() -> None:
    """The exception in force is part of the answer; one of a kind to come is left out."""
    made = exception(use=Use.MAY, ignores_dane=True)
    fields = exception_to_json(made, START)
    assert ask(Client({"exception": fields}), "good.test", GOOD).answer.exception == made
    for unknown in ({**fields, "use": "later"}, {"scope": "good.test"}, None):
        assert ask(Client({"exception": unknown}), "good.test", GOOD).answer.exception is None
