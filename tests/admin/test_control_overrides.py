"""What the control socket says is answered, and why, under exceptions and on trial."""

from collections.abc import Sequence

import pytest

from postfix_mta_sts.admin.serialize import PolicyFilter
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.postfix.answers import Answering, AnswerRules, ServedMap
from postfix_mta_sts.postfix.protocol.reply import STRICT, ReplyFormat
from postfix_mta_sts.values import replace
from tests.support.control import ControlledDaemon
from tests.support.exceptions import configured, exception
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings, signed

PIN = ("mx9.good.test",)
SECURE = "OK secure match=mx1.good.test servername=hostname"
PINNED = "OK secure match=mx9.good.test servername=hostname"
TLS = "OK encrypt"
CASES = [
    ("enforce", (), False, ("secure", "enforce"), SECURE),
    ("enforce", (), True, ("not-found", "trial"), "NOTFOUND"),
    ("testing", (), True, ("not-found", "testing"), "NOTFOUND"),
    ("enforce", [exception()], False, ("not-found", "exception"), "NOTFOUND"),
    ("enforce", [exception()], True, ("not-found", "exception"), "NOTFOUND"),
    ("testing", [exception()], False, ("not-found", "testing"), "NOTFOUND"),
    ("none", [exception(use=Use.MAY)], False, ("may", "exception"), "OK may"),
    ("enforce", [exception("*.test", use=Use.ENCRYPT)], True, ("encrypt", "exception"), TLS),
    ("testing", [exception(use=Use.ENFORCE)], False, ("secure", "exception"), SECURE),
    ("enforce", [exception(use=Use.ENFORCE)], False, ("secure", "enforce"), SECURE),
    ("none", [exception(use=Use.PIN, mx=PIN)], False, ("secure", "exception"), PINNED),
    ("none", [exception(use=Use.PIN, mx=PIN)], True, ("not-found", "trial"), "NOTFOUND"),
    ("enforce", [exception(lasts=0)], False, ("secure", "enforce"), SECURE),
]  # fmt: skip


def answering(exceptions: Sequence[PolicyException], *, trial: bool) -> Answering:
    """Settings with these exceptions; all maps are on trial, or none is."""
    rules = AnswerRules(exceptions=Exceptions(added=configured(*exceptions)))
    form = ReplyFormat(trial=trial)
    maps = (ServedMap("postfix", reply_format=form),)
    return Answering(rules, maps, ServedMap("", reply_format=form))


@pytest.mark.parametrize(("mode", "exceptions", "trial", "expected", "reply"), CASES)
async def test_answer_and_reason(
    mode: str,
    exceptions: Sequence[PolicyException],
    expected: tuple[str, str],
    reply: str,
    *,
    trial: bool,
) -> None:
    """`show`, the list and `answers` agree; the reason is what would have to go for another one."""
    around = Surroundings()
    around.publish(mode=mode)
    daemon = ControlledDaemon(around)
    await find_state(daemon.resolver, GOOD)
    daemon.answering = answering(exceptions, trial=trial)
    shown = await daemon.control.show(GOOD)
    (listed,) = [each async for each in daemon.control.policies(PolicyFilter())]
    told = await daemon.control.answers("good.test:25")
    assert (shown["answer"], shown["why"]) == expected
    assert (listed["answer"], listed["why"]) == expected
    assert [each["reply"] for each in told["replies"]] == [reply]
    assert told["other"] == reply
    assert shown["replies"] == told["replies"]


async def test_before_anything_is_known() -> None:
    """What needs no look-up is told; what waits for a verdict is not."""
    daemon = ControlledDaemon(Surroundings())
    daemon.answering = answering([exception(use=Use.MAY)], trial=False)
    told = await daemon.control.answers("good.test")
    assert (told["replies"][0]["reply"], told["other"]) == ("OK may", "OK may")
    daemon.resolver.use_dane(daemon.around.look_up_dane)
    rules = replace(daemon.answering.rules, dane=STRICT)
    daemon.answering = replace(daemon.answering, rules=rules)
    assert (await daemon.control.answers("good.test"))["replies"][0]["reply"] is None
    assert (await daemon.control.answers("good.test:587"))["replies"][0]["reply"] == "OK may"


async def test_dane_on_trial() -> None:
    """The reason for an answer without DANE is the trial, if that is its reason."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    daemon = ControlledDaemon(around)
    daemon.resolver.use_dane(around.look_up_dane)
    await find_state(daemon.resolver, GOOD)
    for trial_dane, expected in ((False, ("dane-only", "dane")), (True, ("not-found", "trial"))):
        made = answering((), trial=True)
        daemon.answering = replace(made, rules=AnswerRules(STRICT, trial_dane=trial_dane))
        shown = await daemon.control.show(GOOD)
        assert (shown["answer"], shown["why"]) == expected
