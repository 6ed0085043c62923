"""The answer equals that of a simple model: any exceptions, any time, any policy and any verdict.

The model is written apart from the code, from the words of docs/answers.md. Real maps answer, by
both protocols, from their caches too, while time passes and the settings change.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias
from urllib.parse import unquote

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
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import (
    DiscoveryError,
    DnsFailureError,
    FetchError,
    NoRecordError,
    StatusError,
)
from postfix_mta_sts.mtasts.exceptions import Exceptions, PolicyException, Use
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from postfix_mta_sts.stats import Counters
from tests.support.exceptions import configured, exception
from tests.support.replies import ask
from tests.support.resolvers import make_resolver, settled, wait_for_all
from tests.support.surroundings import GOOD, START, UNANSWERED, UNSIGNED, Surroundings, policy

SOCKETMAP: Final = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 1))
TCP: Final = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 2))
TCP_TLSRPT: Final = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 3), tlsrpt=True)
LISTEN: Final = (SOCKETMAP, TCP, TCP_TLSRPT)

DOMAINS: Final = (GOOD, parse_domain("b.a.good.test"))
SCOPES: Final = (*DOMAINS, "*.good.test", "*.a.good.test", "*.test")
PIN: Final = ("pinned.test", "*.pinned.test")
KEYS: Final = {
    "%s": True, "%s.": True, "%s:25": True, "%s:smtp": True, "[%s]": False, "[%s]:25": False,
    "%s:587": False, "[%s]:submission": False,
}  # fmt: skip
"""Keys for a domain, and whether the MX hosts get the mail at port 25, so that DANE applies."""


def _hosts(*states: HostState) -> DaneOutcome:
    hosts = tuple(Host(f"mx{n}.mail.test", state, "TLSA") for n, state in enumerate(states))
    return DaneOutcome(MxState.SECURE, "MX", hosts, 3600)


VERDICTS: Final = {
    "nothing": (UNSIGNED, UNANSWERED, _hosts(HostState.ABSENT)),
    "all": (_hosts(HostState.USABLE),),
    "some": (
        _hosts(HostState.USABLE, HostState.ABSENT),
        _hosts(HostState.USABLE, HostState.FAILED),
    ),
    "some failed": (_hosts(HostState.ABSENT, HostState.FAILED),),
    "unusable": (_hosts(HostState.UNUSABLE),),
    "all failed": (_hosts(HostState.FAILED),),
}
"""What DANE says of a domain, by the row of docs/answers.md."""
POLICIES: Final[Mapping[str, Policy | FetchError | DiscoveryError]] = {
    "enforce": policy(mx="*.mail.test"),
    "testing": policy("testing", mx="*.mail.test"),
    "none": policy("none"),
    "fetch failed": StatusError("404"),
    "no record": NoRecordError("NXDOMAIN"),
    "not known": DnsFailureError("SERVFAIL"),
}


@dataclass(frozen=True)
class Published:
    """What a domain publishes."""

    policy: str
    """A key of POLICIES."""
    row: str
    """A key of VERDICTS."""
    verdict: DaneOutcome


@dataclass(frozen=True)
class Configuration:
    """What the administrator has decided, apart from exceptions."""

    rule: DaneRule | None
    dns_defers: bool
    trial: bool
    trial_dane: bool
    own_trial: bool | None
    """`trial` of the map `postfix`."""
    enforce_testing: bool
    """Of the map `postfix`."""

    @property
    def settings(self) -> Settings:
        """As a file has it."""
        return Settings(
            listen=LISTEN,
            dns=DnsSettings(on_failure="defer" if self.dns_defers else "deliver"),
            maps={
                "postfix": MapSettings(enforce_testing=self.enforce_testing, trial=self.own_trial),
                "reports": MapSettings(tlsrpt=True),
            },
            trial=TrialSettings(enabled=self.trial, dane=self.trial_dane),
        )


Asked: TypeAlias = tuple[str, Domain, str]
"""A map (a map name, or the number of a listener), a domain and a form of KEYS."""
Step: TypeAlias = float | Configuration | Sequence[PolicyException] | Asked
"""Seconds that pass; new settings; another table of exceptions; a look-up."""


class Model:
    """What is answered, in words: `enforced`, `pinned`, a level, `not found` or `try again`."""

    def __init__(self, published: Mapping[Domain, Published], first: Configuration) -> None:
        self.published = published
        self.set = first
        self.exceptions: Sequence[PolicyException] = ()
        self.now = START

    def answer(self, asked: Asked) -> str:
        """The answer to a look-up."""
        map_name, domain, form = asked
        own = map_name == "postfix"
        is_trial = self.set.own_trial if own and self.set.own_trial is not None else self.set.trial
        found = self._exception(domain)
        use = found.use if found else None
        testing = (own and self.set.enforce_testing) or use is Use.ENFORCE
        by_policy = self._by_policy(domain, use, is_trial=is_trial, testing=testing)
        dane = self.set.rule if KEYS[form] else None
        is_ignored = (found is not None and found.ignores_dane) or (
            is_trial and self.set.trial_dane
        )
        if dane is None or is_ignored:
            return by_policy
        return _with_dane(self.published[domain].row, by_policy, dane)

    def _exception(self, domain: Domain) -> PolicyException | None:
        """The first that is in force: of the domain itself, then the longest, the file first."""
        for scope in (domain, *sorted({e.scope for e in self.exceptions}, key=len, reverse=True)):
            if scope == domain or (scope[0] == "*" and domain.endswith(scope[1:])):
                same = [e for e in self.exceptions if e.scope == scope]
                for each in sorted(same, key=lambda e: e.added_at is not None):
                    if each.until is None or each.until > self.now:
                        return each
        return None

    def _by_policy(self, domain: Domain, use: Use | None, *, is_trial: bool, testing: bool) -> str:
        if use in {Use.MAY, Use.ENCRYPT}:
            return str(use)
        if is_trial or use is Use.IGNORE:
            return "not found"
        if use is Use.PIN:
            return "pinned"
        mode = self.published[domain].policy
        if mode == "enforce" or (mode == "testing" and testing):
            return "enforced"
        return "try again" if mode == "not known" and self.set.dns_defers else "not found"


def _with_dane(row: str, by_policy: str, dane: DaneRule) -> str:
    """The answer by the rows of docs/answers.md, of what it would be without DANE."""
    strictest = "not found" if dane.answer == "yield" else dane.answer
    usual = "not found" if dane.answer == "yield" else "dane"
    is_enforced = by_policy in {"enforced", "pinned"}
    held = "try again" if dane.defer else by_policy
    not_enforced = by_policy if by_policy == "try again" else usual
    by_row = {
        "all": strictest,
        "some": strictest if is_enforced else usual,
        "some failed": held if is_enforced else not_enforced,
        "unusable": by_policy if is_enforced else usual,
        "all failed": held,
    }
    return by_row.get(row, by_policy)


class Daemon:
    """Real maps on fake sources."""

    def __init__(self, published: Mapping[Domain, Published], first: Configuration) -> None:
        self.around = Surroundings()
        for domain, each in published.items():
            found = POLICIES[each.policy]
            if isinstance(found, DiscoveryError):
                self.around.records[domain] = found
            else:
                self.around.publish(domain)
                self.around.policies[domain] = found
            self.around.verdicts[domain] = each.verdict
        self.resolver = make_resolver(self.around)
        self.maps = Maps(Settings(), self.resolver, lambda: self.around.now, Counters())
        self.use(first)

    def use(self, configuration: Configuration) -> None:
        """Apply new settings, as a reload does."""
        self.maps.reconfigure(configuration.settings)
        self.maps.use_dane(configuration.rule)
        self.resolver.use_dane(self.around.look_up_dane if configuration.rule else None)

    def use_exceptions(self, exceptions: Sequence[PolicyException]) -> None:
        """Have another table of exceptions."""
        ours = [each for each in exceptions if each.added_at is None]
        theirs = [each for each in exceptions if each.added_at is not None]
        self.maps.use_exceptions(Exceptions(configured(*ours), configured(*theirs)))

    async def settle(self) -> None:
        """Let the look-ups behind replies end."""
        await settled()
        await wait_for_all(self.resolver)

    async def answer(self, asked: Asked) -> str:
        """The answer to a look-up, in the words of the model, and the same again from memory."""
        map_name, domain, form = asked
        listener = LISTEN[int(map_name)] if map_name.isdigit() else SOCKETMAP
        key = form % domain
        cache = self.maps.replies(listener)
        request = f"get {key}\n".encode()
        if not map_name.isdigit():
            text = f"{map_name} {key}"
            request = f"{len(text)}:{text},".encode()
        reply = await ask(cache, request)
        assert cache.cached(request) in {None, reply}
        has_tlsrpt = map_name in {"reports", "2"}
        return _word(unquote(reply.decode()), domain, has_tlsrpt=has_tlsrpt)


def _word(reply: str, domain: Domain, *, has_tlsrpt: bool) -> str:
    """What a reply says; fails if it is none of the replies that there are."""
    text = re.sub(r"^(\d+:OK |200 )|[,\n]$", "", reply)
    if text == "secure match=pinned.test:.pinned.test servername=hostname":
        return "pinned"
    if text.startswith("secure match=.mail.test servername=hostname"):
        assert (f"policy_type=sts policy_domain={domain}" in text) == has_tlsrpt
        return "enforced"
    if re.match(r"\d+:NOTFOUND|500 ", reply):
        return "not found"
    if re.match(r"\d+:TEMP |400 ", reply):
        return "try again"
    assert text in {"dane-only", "dane", "encrypt", "may"}
    return text


CONFIGURATIONS: Final = st.builds(
    Configuration,
    rule=st.none()
    | st.builds(DaneRule, st.sampled_from(["dane-only", "dane", "yield"]), st.booleans()),
    dns_defers=st.booleans(),
    trial=st.booleans(),
    trial_dane=st.booleans(),
    own_trial=st.sampled_from([None, True, False]),
    enforce_testing=st.booleans(),
)
PUBLISHED: Final = st.builds(
    lambda policy, verdict: Published(policy, *verdict),
    st.sampled_from([*POLICIES, "enforce"]),
    st.sampled_from([(row, each) for row, found in VERDICTS.items() for each in found]),
)


@st.composite
def exceptions(draw: st.DrawFn) -> PolicyException:
    """Exceptions that end within a day, have ended, or never end."""
    use = draw(st.sampled_from(Use))
    return exception(
        draw(st.sampled_from(SCOPES)),
        draw(st.sampled_from([None, -1.0, 0.0, 60.0, 3_600.0, 86_400.0])),
        use,
        added_at=draw(st.sampled_from([None, START])),
        mx=PIN if use is Use.PIN else (),
        ignores_dane=use in {Use.MAY, Use.ENCRYPT} and draw(st.booleans()),
    )


def _once_each(found: Sequence[PolicyException]) -> Sequence[PolicyException]:
    """One for each scope and source, as a file and a store have them."""
    return list({(each.scope, each.added_at is None): each for each in found}.values())


ASKED: Final = st.tuples(
    st.sampled_from(["postfix", "reports", "other", "1", "2"]),
    st.sampled_from(DOMAINS),
    st.sampled_from(sorted(KEYS)),
)
TABLES: Final = st.lists(exceptions(), max_size=6).map(_once_each)
SECONDS: Final = st.sampled_from([0.5, 30.0, 60.0, 3_540.0, 3_600.0, 86_400.0])
STEPS: Final = st.lists(ASKED | SECONDS | TABLES | CONFIGURATIONS, min_size=4, max_size=20)
PLAIN: Final = Configuration(
    rule=None,
    dns_defers=False,
    trial=False,
    trial_dane=False,
    own_trial=None,
    enforce_testing=False,
)
ENFORCED: Final = dict.fromkeys(DOMAINS, Published("enforce", "nothing", UNSIGNED))
ASK: Final = ("postfix", GOOD, "%s")


TRIED: Final = replace(PLAIN, rule=STRICT, trial=True)
TESTED: Final = dict.fromkeys(DOMAINS, Published("testing", "nothing", UNSIGNED))
UNUSABLE: Final = dict.fromkeys(DOMAINS, Published("none", "unusable", VERDICTS["unusable"][0]))
PINNED: Final = exception(use=Use.PIN, mx=PIN)
HAS_DANE: Final = dict.fromkeys(DOMAINS, Published("enforce", "all", VERDICTS["all"][0]))


@settings(max_examples=120)
@given(st.fixed_dictionaries(dict.fromkeys(DOMAINS, PUBLISHED)), CONFIGURATIONS, TABLES, STEPS)
@example(ENFORCED, PLAIN, [exception(lasts=60)], [ASK, 30.0, 30.0])
@example(ENFORCED, PLAIN, [], [ASK, replace(PLAIN, trial=True), replace(PLAIN, own_trial=True)])
@example(ENFORCED, TRIED, [], [ASK, replace(TRIED, own_trial=False)])
@example(TESTED, PLAIN, [exception(use=Use.ENFORCE)], [ASK])
@example(UNUSABLE, replace(PLAIN, rule=STRICT), [PINNED], [ASK])
@example(HAS_DANE, TRIED, [], [ASK, replace(TRIED, trial_dane=True)])
def test_the_answer_is_that_of_the_model(
    published: Mapping[Domain, Published],
    first: Configuration,
    table: Sequence[PolicyException],
    steps: Sequence[Step],
) -> None:
    """In every map, whatever was asked and changed before; all that was asked is asked again."""

    async def run() -> None:
        model, daemon = Model(published, first), Daemon(published, first)
        asked: list[Asked] = []
        for step in (table, *steps):
            match step:
                case float():
                    model.now += step
                    daemon.around.now += step
                case Configuration():
                    model.set = step
                    daemon.use(step)
                case tuple():
                    asked.append(step)
                case _:
                    model.exceptions = step
                    daemon.use_exceptions(step)
            for each in asked:
                assert await daemon.answer(each) == model.answer(each), each
            await daemon.settle()
        await daemon.resolver.close()

    asyncio.run(run())
