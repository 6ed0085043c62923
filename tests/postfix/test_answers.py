"""What is told about an answer is what a request gets at the same moment."""

import asyncio
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import (
    DnsSettings,
    ListenerSettings,
    MapSettings,
    Settings,
    TrialSettings,
)
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.decision import from_memory
from postfix_mta_sts.mtasts.errors import DnsFailureError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.mtasts.lifecycle import DAY, HOUR, MINUTE, restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.answers import (
    OTHER,
    Answering,
    AnswerRules,
    ServedMap,
    Told,
    reply_text,
    told,
    told_without_look_up,
)
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule, ReplyFormat
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.single_flight import LookupResult
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Source
from postfix_mta_sts.values import replace
from tests.support.exceptions import configured, exception
from tests.support.resolvers import make_resolver, settled, wait_for_all
from tests.support.surroundings import (
    GOOD,
    UNANSWERED,
    UNSIGNED,
    Surroundings,
    found,
    policy,
    signed,
)

TCP: Final = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 2))
TCP_TLSRPT: Final = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 3), tlsrpt=True)
LISTEN: Final = (ListenerSettings(socketmap=TcpAddress("127.0.0.1", 1)), TCP, TCP_TLSRPT)
MAPS: Final = {
    "postfix": MapSettings(),
    "strict": MapSettings(enforce_testing=True),
    "old": MapSettings(servername=False),
    "QUERYwithTLSRPT": MapSettings(tlsrpt=True),
}
KEYS: Final = (
    b"good.test", b"Good.TEST.", b"[good.test]", b"good.test:25", b"good.test:587",
    b"[good.test]:submission", b"[good.test]:smtp", b"ai", b"[127.0.0.1]", b".good.test", b"",
    b"good.test:", b"\xff.test", "b\u00fccher.test".encode(), "\u0378.test".encode(),
)  # fmt: skip
LONG: Final = parse_policy(policy().text.encode() + b"note: " + b"a" * 3_000 + b"\n")
OWN_MX: Final = DaneOutcome(MxState.SECURE, "MX", (Host(GOOD, HostState.USABLE, "TLSA"),), 600)
MIXED: Final = DaneOutcome(
    MxState.SECURE,
    "MX",
    (Host("mx1.good.test", HostState.USABLE, "1"), Host("mx2.good.test", HostState.ABSENT, "2")),
    600,
)
VERDICTS: Final = (
    UNSIGNED, UNANSWERED, signed(), signed(HostState.FAILED), signed(HostState.UNUSABLE),
    signed(HostState.ABSENT, 60), OWN_MX, MIXED,
)  # fmt: skip
POLICIES: Final = (
    policy(), policy("testing"), policy("none"), policy(max_age=3600), LONG, StatusError("404"),
    DnsFailureError("no answer"),
)  # fmt: skip
NO_TRIAL: Final = TrialSettings()
EXCEPTIONS: Final = (
    None,
    exception(use=Use.MAY),
    exception(use=Use.ENCRYPT, ignores_dane=True),
    exception("*.test", 101.0),
    exception(use=Use.ENFORCE),
    exception(use=Use.PIN, mx=("mx9.good.test",)),
)
RECORDS: Final = (found(), found("b", 60), NoRecordError("NXDOMAIN"), DnsFailureError("SERVFAIL"))


@dataclass(frozen=True)
class Moment:
    """What the network said before, how long ago that was, and by which settings is answered."""

    record: object
    policy: object
    verdict: DaneOutcome
    rule: DaneRule | None
    defers: bool
    is_known: bool
    """Whether the domain was looked up before."""
    is_restarted: bool
    """Whether memory was lost since."""
    seconds: float
    is_asked: bool
    """Whether another look-up has just been made, during which the network was half silent."""
    held: frozenset[str]
    """The gates of the network that were closed then."""
    more_seconds: float
    """How long ago that was; negative: the clock was set back since."""
    keys: tuple[bytes, ...]
    exception: PolicyException | None = None
    trial: TrialSettings = NO_TRIAL


GATES: Final = ("dns", "dane", "addresses", "https")
MOMENTS: Final = st.builds(
    Moment,
    record=st.sampled_from(RECORDS),
    policy=st.sampled_from(POLICIES),
    verdict=st.sampled_from(VERDICTS),
    rule=st.sampled_from([None, STRICT, DaneRule("dane", defer=False), DaneRule("yield")]),
    defers=st.booleans(),
    is_known=st.booleans(),
    is_restarted=st.booleans(),
    seconds=st.sampled_from(
        [0.0, 45.0, 100.0, 6 * MINUTE, 50 * MINUTE, 2 * HOUR, 5 * DAY, 8 * DAY, -DAY]
    ),
    is_asked=st.booleans(),
    held=st.frozensets(st.sampled_from(GATES)),
    more_seconds=st.sampled_from([0.0, 20.0, -20.0]),
    keys=st.lists(st.sampled_from(KEYS), min_size=1, max_size=4).map(tuple),
    exception=st.sampled_from(EXCEPTIONS),
    trial=st.builds(TrialSettings, enabled=st.booleans(), dane=st.booleans()),
)


NOTHING: Final = Moment(
    record=found(),
    policy=policy(),
    verdict=signed(),
    rule=None,
    defers=True,
    is_known=False,
    is_restarted=False,
    seconds=0.0,
    is_asked=False,
    held=frozenset(),
    more_seconds=0.0,
    keys=(),
)
"""A domain that was never looked up."""
FRESH_ABSENCE: Final = dataclasses.replace(
    NOTHING,
    record=NoRecordError("NXDOMAIN"),
    verdict=UNANSWERED,
    rule=STRICT,
    is_known=True,
    seconds=100.0,
    keys=(b"good.test:587", b"good.test"),
)
"""The verdict has expired, but DANE has no say at another port."""


UNANSWERED_AND_THE_CLOCK_SET_BACK: Final = dataclasses.replace(
    NOTHING,
    verdict=UNANSWERED,
    rule=STRICT,
    is_asked=True,
    more_seconds=-20.0,
    keys=(b"[good.test]",),
)
"""The next look-up asks for DANE again, as if nothing was known."""


class Daemon:
    """The parts that answer Postfix, in one moment."""

    def __init__(self, moment: Moment, around: Surroundings) -> None:
        self.around = around
        self.resolver = make_resolver(around)
        dns = DnsSettings(on_failure="defer" if moment.defers else "deliver")
        self.settings = Settings(listen=LISTEN, maps=MAPS, dns=dns, trial=moment.trial)
        self.maps = Maps(self.settings, self.resolver, lambda: around.now, Counters())
        self.maps.use_dane(moment.rule)
        if moment.exception:
            self.maps.use_exceptions(Exceptions(added=configured(moment.exception)))
        self.resolver.use_dane(around.look_up_dane if moment.rule else None)

    async def told(self, key: bytes) -> list[bytes | None]:
        """What is told of each map, as its protocol writes it; None: a look-up waits."""
        answering = self.maps.answering
        domain = told_without_look_up(key, answering)
        if not isinstance(domain, str):
            return _encoded(domain)
        row = await self.around.store.row(domain)
        result = self.resolver.preview(domain, row.state if row else None)
        return _encoded(told(key, domain, result, answering, self.around.now))

    async def given(self, key: bytes) -> list[bytes | None]:
        """What a request gets in each map without the network, which is held back."""
        named = [await self._ask(LISTEN[0], _framed(name, key)) for name in MAPS]
        line = b"get " + b"".join(b"%%%02x" % byte for byte in key) + b"\n"
        return named + [await self._ask(listener, line) for listener in (TCP, TCP_TLSRPT)]

    async def _ask(self, listener: ListenerSettings, request: bytes) -> bytes | None:
        cache = self.maps.replies(listener)
        reply = cache.cached(request) or cache.reply(request)
        if isinstance(reply, bytes):
            return reply
        await settled()
        return reply.reply(reply.result.result()) if reply.result.done() else None


def _encoded(replies: Sequence[Told]) -> list[bytes | None]:
    return [r.served.wire.encode_reply(r.reply) if r.reply else None for r in replies]


def _framed(name: str, key: bytes) -> bytes:
    request = name.encode() + b" " + key
    return b"%d:%b," % (len(request), request)


async def prepared(moment: Moment) -> Daemon:
    """A daemon that was asked before, if at all, and whose network is silent now."""
    around = Surroundings(verdicts={GOOD: moment.verdict})
    around.records[GOOD], around.policies[GOOD] = moment.record, moment.policy  # type: ignore[assignment]
    daemon = Daemon(moment, around)
    if moment.is_known:
        await daemon.resolver.find(GOOD)
        await wait_for_all(daemon.resolver)
    if moment.is_restarted:
        await daemon.resolver.close()
        daemon = Daemon(moment, around)
    around.now += moment.seconds
    if moment.is_asked:
        around.progress[GOOD] = signed(HostState.FAILED)
        for name in moment.held:
            getattr(around, name).hold()
        daemon.resolver.find(GOOD)
        await settled()
    around.now += moment.more_seconds
    around.progress.clear()  # or a look-up that starts now would hear of it from a silent network
    for name in GATES:
        getattr(around, name).hold()
    return daemon


@settings(max_examples=300)
@given(MOMENTS)
@example(FRESH_ABSENCE)
@example(UNANSWERED_AND_THE_CLOCK_SET_BACK)
def test_what_is_told_is_what_a_request_gets(moment: Moment) -> None:
    """In every map, for every key and state, without the network; and nothing is changed by it."""

    async def run() -> None:
        daemon = await prepared(moment)
        for key in moment.keys:
            first, used = await daemon.told(key), daemon.resolver.usage.get(GOOD)
            assert await daemon.told(key) == first
            assert daemon.resolver.usage.get(GOOD) is used
            assert await daemon.given(key) == first, key
        await daemon.resolver.close()

    asyncio.run(run())


async def test_the_time_of_an_attempt_is_up() -> None:
    """A look-up that comes after the timeout of an attempt gets what is known, at once."""
    daemon = await prepared(NOTHING)
    daemon.resolver.reconfigure(lookup_timeout=0, limits=Limits(10, 2**20))
    assert set(await daemon.told(b"good.test")) == {None}
    await daemon.resolver.find(GOOD)
    first, *_, last = replies = await daemon.told(b"good.test")
    assert replies == await daemon.given(b"good.test")
    assert None not in replies
    assert first == b"58:TEMP MTA-STS: DNS failure for good.test: no answer in time,"
    assert last == b"400 MTA-STS:%20DNS%20failure%20for%20good.test:%20no%20answer%20in%20time\n"
    await daemon.resolver.close()


def test_a_key_that_is_not_mapped_on_trial() -> None:
    """It is not found where policies are on trial: there is none to be enforced."""
    on_trial = ServedMap("tried", reply_format=ReplyFormat(trial=True))
    replies = told_without_look_up(
        "\u0378.test".encode(), Answering(maps=(ServedMap("a"), on_trial))
    )
    texts = [reply_text(each.reply) for each in replies if isinstance(each, Told) and each.reply]
    assert [text.partition(" ")[0] for text in texts] == ["TEMP", "NOTFOUND"]


def test_the_answer_without_trial_and_exceptions() -> None:
    """In every map, what a domain publishes decides alone; nothing else is changed."""
    ours = Exceptions(added=configured(exception()))
    rules = AnswerRules(STRICT, dns_defers=True, exceptions=ours, trial_dane=True)
    strict = ReplyFormat(servername=False, enforce_testing=True)
    maps = tuple(
        ServedMap(name, wire, replace(strict, trial=trial))
        for name, wire, trial in (("a", socketmap, True), ("b", tcp_table, False))
    )
    other = replace(OTHER, reply_format=replace(strict, trial=True))
    plain = Answering(
        AnswerRules(STRICT, dns_defers=True),
        tuple(replace(each, reply_format=strict) for each in maps),
        replace(OTHER, reply_format=strict),
    )
    answering = Answering(rules, maps, other)
    assert answering.as_published == plain
    assert answering.without_trial == replace(plain, rules=replace(plain.rules, exceptions=ours))


def test_maps_with_one_format_share_a_reply() -> None:
    """A reply is made once for all maps that differ only by name: there may be many."""
    state = restored(policy(), PolicyId("a"), 0.0, 0.0)
    result = LookupResult(from_memory(state), Source.MEMORY)
    maps = (ServedMap("a"), ServedMap("b"), ServedMap("c", reply_format=ReplyFormat(tlsrpt=True)))
    first, second, third = told(b"good.test", GOOD, result, Answering(maps=maps), 1.0)
    assert first.reply is second.reply
    assert first.reply is not None
    assert third.reply is not None
    assert reply_text(first.reply) == "OK secure match=mx1.good.test servername=hostname"
    assert "policy_type=sts" in reply_text(third.reply)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (b"ai", "NOTFOUND"),
        (b"[127.0.0.1]", "NOTFOUND"),
        (b".good.test", "NOTFOUND"),
        ("\u0378.test".encode(), "TEMP MTA-STS: "),
    ],
)
def test_keys_without_a_look_up(key: bytes, text: str) -> None:
    """A key that names no Policy Domain is answered at once, and so is one that is not mapped."""
    replies = told_without_look_up(key, Answering())
    assert not isinstance(replies, str)
    (only,) = replies
    assert only.reply is not None
    assert reply_text(only.reply).startswith(text)
    assert told_without_look_up(b"[Good.test]:25", Answering()) == GOOD
