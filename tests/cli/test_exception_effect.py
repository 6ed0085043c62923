"""What `exception add` says of its effect, for all that a daemon may answer."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.cli.exception_effect import lines, lines_after_removal
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use
from tests.support.exceptions import exception
from tests.support.postfix_programs import PostfixPrograms
from tests.support.scripts import script

TRY_NOW: Final = ("", "postqueue -f tries all mail that waits now, postqueue -i ID one message")


class Client(ControlClient):
    """A client of a daemon that says this of each domain."""

    def __init__(self, answer: str | None, why: str | None) -> None:
        super().__init__(Path("/nowhere"))
        self._known = {"answer": answer, "why": why}

    def ask(self, method: str, *parts: str, **_: str) -> Mapping[str, Any]:
        """Answer."""
        assert (method, parts[0]) == ("GET", "policies")
        return self._known


@pytest.fixture(autouse=True)
def postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PostfixPrograms:
    """A Postfix whose queue is empty, and which verifies by itself."""
    made = PostfixPrograms(tmp_path / "bin", smtp_tls_security_level="secure")
    made.use(monkeypatch)
    return made


@pytest.mark.parametrize(
    ("made", "answer", "why", "said"),
    [
        (exception(), None, None, ["the next look-up asks the network first"]),
        (exception(), "dane-only", "dane", ["dane-only", "DANE decides"]),
        (
            exception(use=Use.MAY),
            "try-again",
            "dane-unknown",
            ["try-again", "DANE decides; --dane ignore would stand in its place"],
        ),
        (
            exception(use=Use.PIN, mx=("a.test",)),
            "not-found",
            "trial",
            [
                "not found: the trial is on, so that nothing is enforced",
                "it is the trial that decides, with the exception and without it",
            ],
        ),
        (
            exception(),
            "not-found",
            "no-policy",
            [
                "not found: no policy is in force",
                "for now the same as without the exception",
            ],
        ),
        (exception(use=Use.ENFORCE), "secure", "exception", ["secure: an exception of this"]),
    ],
)
def test_answers(
    made: PolicyException, answer: str | None, why: str | None, said: list[str]
) -> None:
    """What Postfix is told now, and why that need not be what was added."""
    found = [text for label, text in lines(Client(answer, why), made, None) if label != "reason"]
    assert [text[: len(line)] for text, line in zip(found, said, strict=False)] == said


def test_level_that_verifies() -> None:
    """After `ignore`, a level of main.cf that verifies certificates may hold the mail as well."""
    found = dict(lines(Client("not-found", "exception"), exception(), None))
    assert found["main.cf"] == (
        "smtp_tls_security_level = secure: certificates are still verified; --use encrypt or may "
        "would not"
    )
    assert found["waiting"] == "no messages"
    assert "" not in found  # nothing waits, so that nothing need be tried


def test_level_before_the_first_look_up() -> None:
    """Nothing is known of the domain yet: `ignore` leaves it to main.cf, unless DANE decides."""
    labels = [label for label, _ in lines(Client(None, None), exception(), None)]
    assert labels == ["reason", "answer", "main.cf", "waiting"]
    other = [label for label, _ in lines(Client(None, None), exception(use=Use.MAY), None)]
    assert "main.cf" not in other


def test_names_below() -> None:
    """An exception for names below a domain has no one answer, and no one queue."""
    made = exception("*.good.test")
    _, answer, level, waiting = lines(Client(None, None), made, None)
    assert answer[1].startswith("for names below good.test, not for good.test")
    assert level[0] == "main.cf"
    assert waiting == ("waiting", TRY_NOW[1])
    labels = [
        label for label, _ in lines(Client(None, None), exception("*.a.test", use=Use.MAY), None)
    ]
    assert labels == ["reason", "answer", "waiting"]


def test_programs_that_fail(postfix: PostfixPrograms) -> None:
    """If Postfix does not say it, the rest is said all the same."""
    script(postfix.folder / "postconf", "echo 'postconf: fatal: main.cf: no' >&2; exit 1")
    script(postfix.folder / "postqueue", "echo '{' ; exit 0")
    found = dict(lines(Client("not-found", "exception"), exception(), None))
    assert found["main.cf"].startswith("its level is in force, and not known here: postconf failed")
    assert found["waiting"].startswith("not known here: 1 lines of postqueue")


def test_more_may_wait(postfix: PostfixPrograms) -> None:
    """A queue that could be read in part only has that many messages, or more."""
    message = '{"arrival_time": 1, "recipients": [{"address": "a@good.test"}]}'
    script(postfix.folder / "postqueue", f"echo '{message}'; echo '{{'")
    found = list(lines(Client("not-found", "exception"), exception(), None))
    assert found[-2][1].startswith("1 message or more: 1 lines of postqueue")
    assert found[-1] == TRY_NOW


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (None, [("fleet", "on all relays within 5 seconds")]),
        (
            "no answer",
            [
                ("fleet", "only on this relay, mx1, for now: no answer"),
                ("", "the others follow when the shared store is back"),
            ],
        ),
    ],
)
def test_fleet(problem: str | None, said: list[tuple[str, str]]) -> None:
    """The last lines say which relays of a fleet do the same, after an addition and a removal."""
    client, fleet = Client("secure", "enforce"), {"relay": "mx1", "problem": problem}
    found = list(lines(client, exception(), None, fleet))
    assert found[-len(said) :] == said
    removal = {"in_force": None, "fleet": fleet}
    assert list(lines_after_removal(client, Scope("good.test"), removal))[-len(said) :] == said
    assert dict(lines(client, exception(), None)).keys() == {"reason", "answer", "", "waiting"}
