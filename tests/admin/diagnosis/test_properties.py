"""The verdict and the texts, for any evidence and any diagnosis whatever."""

import io
import json
import re
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from postfix_mta_sts.admin.diagnosis import text
from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence, PolicyFindings
from postfix_mta_sts.admin.diagnosis.letter import letter
from postfix_mta_sts.admin.diagnosis.values import (
    DaemonAnswer,
    DaneNow,
    Diagnosis,
    Fault,
    Flow,
    PostfixHere,
    Record,
    Source,
    TlsReports,
    Verdict,
)
from postfix_mta_sts.cli import terminal
from postfix_mta_sts.mtasts import errors
from postfix_mta_sts.mtasts.dane import DaneOutcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, MtaStsError
from postfix_mta_sts.mtasts.mistakes import Mistake
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.network.mail_hosts_values import MailHosts
from postfix_mta_sts.network.smtp.values import ProbeResult
from postfix_mta_sts.network.trace import Certificate, FetchTrace
from postfix_mta_sts.postfix.queue import Waiting
from postfix_mta_sts.postfix.smtp_client.delivery import predict, targets
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    MainCf,
    NextHop,
    TlsPolicy,
)
from postfix_mta_sts.values import replace, to_json, to_plain
from tests.support.any_value import TEXTS, values

ASCII: Final = re.compile(r"[ -~]+")
LETTER_WIDTH: Final = 72
NEXT_HOPS: Final = st.sampled_from(
    [
        NextHop("x.test", "x.test"),
        NextHop("[mx.x.test]:587", "mx.x.test", 587, has_mx=False),
        NextHop("B\u00fccher.test", "xn--bcher-kva.test"),
        NextHop("[127.0.0.1]", "127.0.0.1", has_mx=False),
    ]
)


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Sometimes None."""
    return st.none() | strategy


_KINDS: Final = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, MtaStsError) and hasattr(kind, "code")
]
_ERRORS: Final = st.builds(
    lambda kind, why: kind(why),
    st.sampled_from([kind for kind in _KINDS if kind is not InvalidPolicyError]),
    TEXTS,
) | st.builds(InvalidPolicyError, st.integers(0, 99), TEXTS)
_TRACES: Final = st.builds(
    FetchTrace,
    *(maybe(TEXTS) for _ in range(3)),
    maybe(st.builds(Certificate, st.lists(TEXTS, max_size=2).map(tuple), TEXTS, TEXTS)),
    maybe(st.integers(100, 999)),
    *(maybe(TEXTS) for _ in range(2)),
    maybe(st.integers(0, 65_536)),
)
_FINDINGS: Final = st.builds(
    PolicyFindings,
    record=maybe(values(Record)),
    policy_id=maybe(TEXTS.map(PolicyId)),
    trace=maybe(_TRACES),
    body=maybe(st.binary(max_size=200)),
    policy=maybe(values(Policy)),
    error=maybe(_ERRORS),
)


@st.composite
def findings(draw: st.DrawFn) -> Evidence:
    """Evidence of anything, whose parts need not fit together; half of it with a prediction."""
    next_hop = draw(NEXT_HOPS)
    found = Evidence.of(next_hop, draw(st.floats(0, 2e9)))
    found.postfix = draw(maybe(values(PostfixHere)))
    found.main_cf = MainCf(version=(3, 10, 13), smtp_tls_security_level=draw(TEXTS))
    found.daemon = draw(maybe(values(DaemonAnswer)))
    found.network = draw(_FINDINGS)
    found.cached = draw(maybe(values(Policy)))
    found.outcome = draw(maybe(values(DaneOutcome)))
    found.dane = draw(values(DaneNow))
    found.mail_hosts = draw(maybe(values(MailHosts)))
    found.source = draw(st.sampled_from(Source))
    found.reply = draw(maybe(TEXTS | TEXTS.map("TEMP {}".format)))
    found.tls_policy = draw(maybe(values(TlsPolicy)) | values(InvalidTlsPolicy))
    found.waiting = draw(maybe(values(Waiting)))
    found.tlsrpt = draw(maybe(values(TlsReports)))
    found.mistakes = draw(st.lists(values(Mistake), max_size=2).map(tuple))
    found.is_interrupted = draw(st.booleans())
    if found.mail_hosts and draw(st.booleans()):
        _predict(draw, found, found.mail_hosts)
    return found


def _predict(draw: st.DrawFn, found: Evidence, hosts: MailHosts) -> None:
    """Probe the hosts, and predict what Postfix does."""
    wanted = targets(found.next_hop, hosts, found.tls_policy, found.main_cf)
    results = [replace(draw(values(ProbeResult)), target=target) for target in wanted]
    found.probes = tuple(results[: draw(st.integers(0, len(results)))])
    found.delivery = predict(
        found.next_hop, hosts, found.tls_policy, found.probes, found.main_cf, found.in_force
    )


@settings(max_examples=100)
@given(findings())
def test_a_verdict_for_any_evidence(found: Evidence) -> None:
    """There is a verdict, of one printable line, and its exit code follows what happens to mail."""
    verdict = conclude(found)
    assert ASCII.fullmatch(verdict.sentence)
    assert all(ASCII.fullmatch(each) for each in verdict.advice)
    assert re.fullmatch(r"[a-z0-9-]+", verdict.cause)
    check_exit_code(verdict)


def check_exit_code(verdict: Verdict) -> None:
    """What the exit code says is what the flow says."""
    allowed = {
        Flow.POLICY: {0},
        Flow.DANE: {0},
        Flow.TESTING: {0},
        Flow.UNPROTECTED: {1, 2},  # 2: there is a policy, and it cannot be had
        Flow.HELD: {2},
        Flow.BOUNCED: {2},
        Flow.UNKNOWN: {3},
    }
    assert verdict.exit_code in allowed[verdict.flow]
    if verdict.flow is Flow.UNPROTECTED and verdict.exit_code == 2:
        assert verdict.fault is Fault.THEIRS


@settings(max_examples=100)
@given(findings())
def test_a_diagnosis_of_any_evidence(found: Evidence) -> None:
    """It is shown and encoded, also while look-ups run; names are compared as the policy says."""
    made = build(found)
    assert json.loads(to_json(made)) == json.loads(json.dumps(to_plain(made)))
    check_text(made)
    check_letter(letter(made), made)


@settings(max_examples=100)
@given(values(Diagnosis))
def test_the_texts_of_any_diagnosis(made: Diagnosis) -> None:
    """Whatever the values are, there is a text and a letter."""
    made = replace(made, domain=Domain("x.test"), key="x.test")
    check_text(made)
    check_letter(letter(made), made)


def check_text(made: Diagnosis) -> None:
    """The text is printable ASCII, and fits the terminal unless a word does not."""
    console = Console(width=80, force_terminal=True, no_color=True, file=io.StringIO())
    for lines in (text.summary(made), text.details(made)):
        shown = terminal.labelled(list(lines), console)
        for line in shown.split("\n"):
            assert not line or ASCII.fullmatch(line)
            assert len(line) <= 80


def check_letter(written: str, made: Diagnosis) -> None:
    """The letter is printable ASCII; its lines are short but for long words and what is quoted."""
    head, _, body = written.partition("\n\n")
    assert [line.partition(":")[0] for line in head.split("\n")] == ["To", "Subject"]
    assert written.endswith("\n")
    quoted = {line.strip() for each in made.mistakes for line in each.write.split(" / ")}
    for line in body.rstrip("\n").split("\n"):
        assert not line or ASCII.fullmatch(line)
        fits = len(line) <= LETTER_WIDTH or line.strip() in quoted
        assert fits or len(line.split()) <= 2 or " - " in line[:5]
