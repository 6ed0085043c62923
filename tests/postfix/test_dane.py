"""Whether DANE is done: as a table, and as it changes while a daemon runs."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.mtasts.dane import DaneOutcome, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.dane import AGAIN, EVERY, DaneStatus, DaneSupport, find
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.resolver.dane import DaneLookup

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

ONE, TWO = TcpAddress("127.0.0.1", 53), TcpAddress("192.0.2.1", 53)
DOES, DOES_NOT, SAYS_NOTHING = Postfix("dnssec", "dane"), Postfix("enabled", "may"), Postfix("", "")
ON, OFF, AUTO = (Settings(dane=DaneSettings(mode=mode)) for mode in ("on", "off", "auto"))
SILENCE = DnsFailureError("no answer within 5 s")
RULE = DaneRule("dane-only", defer=True)


@dataclass
class Seer:
    """Name servers, and what they are good for."""

    untrusted: Sequence[TcpAddress] = ()
    blinded: Sequence[TcpAddress] | Exception = ()
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def not_validating(self) -> Sequence[TcpAddress]:
        """Those of which a test said so."""
        self.asked.release()
        if isinstance(self.blinded, Exception):
            raise self.blinded
        return self.blinded

    async def look_up_dane(self, domain: Domain) -> DaneOutcome:
        """Not asked here."""
        return DaneOutcome(MxState.INSECURE, domain)


class Parts:
    """What DANE is turned on and off in."""

    def __init__(
        self,
        settings: Settings = ON,
        postfix: Postfix | None = None,
        *,
        every: float = EVERY,
        again: float = AGAIN,
    ) -> None:
        self.dane_resolver = Seer()
        self.postfix = postfix
        self.asked_postfix = 0
        self.dane_lookup: DaneLookup | None = None
        self.rule: DaneRule | None = None
        self.dane_support = DaneSupport(
            settings,
            self.dane_resolver,
            self._do_dane,
            self._ask,
            every=every,
            again=again,
        )

    def _do_dane(self, dane_lookup: DaneLookup | None, rule: DaneRule | None) -> None:
        self.dane_lookup, self.rule = dane_lookup, rule

    async def _ask(self) -> Postfix | None:
        self.asked_postfix += 1
        return self.postfix


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(
    ("settings", "postfix", "dane_resolver", "on", "reason"),
    [
        (ON, None, Seer(), True, "dane.mode is on"),
        (OFF, DOES, Seer(), False, "dane.mode is off"),
        (AUTO, DOES, Seer(), True, "smtp_dns_support_level is dnssec in Postfix"),
        (AUTO, DOES_NOT, Seer(), False, "smtp_dns_support_level is enabled in Postfix"),
        (AUTO, SAYS_NOTHING, Seer(), False, "smtp_dns_support_level is not set in Postfix"),
        (AUTO, None, Seer(), False, "there is no postconf to ask"),
        (ON, None, Seer([TWO]), False, "not on this machine: name server 192.0.2.1:53"),
        (AUTO, DOES, Seer([TWO]), False, "not on this machine: name server 192.0.2.1:53"),
        (ON, None, Seer([TWO], SILENCE), False, "not on this machine: name server 192.0.2.1:53"),
        (ON, None, Seer([], [ONE]), False, "does not validate: name server 127.0.0.1:53"),
        (
            ON,
            None,
            Seer([], [ONE, TWO]),
            False,
            "does not validate: name server 127.0.0.1:53, 192.0.2.1:53",
        ),
        (
            AUTO,
            DOES,
            Seer([], SILENCE),
            True,
            "not known whether the name servers validate: no answer within 5 s",
        ),
    ],
)
async def test_finding(
    settings: Settings, postfix: Postfix | None, dane_resolver: Seer, reason: str, *, on: bool
) -> None:
    """What is wanted first, then whose word counts, then who validates (T1)."""
    found = await find(settings, dane_resolver, postfix)
    assert (found.on, found.reason) == (on, reason)


@pytest.mark.parametrize(("settings", "postfix"), [(OFF, DOES), (AUTO, None), (AUTO, DOES_NOT)])
async def test_nobody_is_asked_in_vain(settings: Settings, postfix: Postfix | None) -> None:
    """Where DANE is not wanted no name server is asked, and no DNS library imported."""
    dane_resolver = Seer()
    await find(settings, dane_resolver, postfix)
    assert dane_resolver.asked.locked()


@pytest.mark.parametrize(
    ("settings", "dane_resolver", "advice"),
    [
        (AUTO, Seer(), "set dane.mode: on if your Postfix has smtp_dns_support_level = dnssec"),
        (ON, Seer([TWO]), "dns.trust_ad: true"),
        (ON, Seer([], [ONE]), "a resolver that validates on this machine, such as unbound"),
    ],
)
async def test_advice(settings: Settings, dane_resolver: Seer, advice: str) -> None:
    """Where DANE is off unasked, it is said what to set."""
    found = await find(settings, dane_resolver, None)
    assert advice in str(found.advice)


class TestSettle:
    """What comes of a finding."""

    async def test_on(self, caplog: pytest.LogCaptureFixture) -> None:
        """The resolver is told whom to ask, the desk how to answer, the log that it is so."""
        settings = Settings(dane=DaneSettings(mode="on", answer="yield", on_failure="mta_sts"))
        parts = Parts(settings)
        await parts.dane_support.settle()
        assert (parts.dane_lookup, parts.rule) == (
            parts.dane_resolver.look_up_dane,
            DaneRule("yield", defer=False),
        )
        assert parts.dane_support.dane_status.on
        assert caplog.messages == ['DANE is on reason="dane.mode is on"']

    async def test_off(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither is told anything, and what the administrator has chosen is no warning."""
        parts = Parts(OFF)
        await parts.dane_support.settle()
        assert (parts.dane_lookup, parts.rule) == (None, None)
        assert [r.levelname for r in caplog.records] == ["INFO"]

    async def test_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is wanted and cannot be had is a warning: once, and again when it changes."""
        parts = Parts()
        parts.dane_resolver.blinded = [ONE]
        for _ in range(3):
            await parts.dane_support.settle()
        parts.dane_resolver.blinded = []
        await parts.dane_support.settle()
        said = [(r.levelname, r.getMessage().partition(" reason=")[0]) for r in caplog.records]
        assert said == [("WARNING", "DANE is off"), ("INFO", "DANE is on")]
        assert parts.rule == RULE

    async def test_postconf_is_asked_for_auto_only(self) -> None:
        """Who has said on or off, has said it."""
        numbers = []
        for settings in (ON, OFF, AUTO):
            parts = Parts(settings, DOES)
            await parts.dane_support.settle()
            numbers.append(parts.asked_postfix)
        assert numbers == [0, 0, 1]

    async def test_postconf_that_falls_silent(self) -> None:
        """A postconf that cannot be run for once has not said that Postfix does no DANE."""
        parts = Parts(AUTO, DOES)
        await parts.dane_support.settle()
        parts.postfix = None
        await parts.dane_support.settle()
        assert parts.rule == RULE
        parts.postfix = DOES_NOT
        await parts.dane_support.settle()
        assert parts.rule is None


class TestSilence:
    """Name servers that do not answer."""

    async def test_from_the_beginning(self, caplog: pytest.LogCaptureFixture) -> None:
        """DANE is on, with a warning that does not come again while it lasts."""
        parts = Parts()
        for reason in ("SERVFAIL from the name server", "no name server can be reached"):
            parts.dane_resolver.blinded = DnsFailureError(reason)
            await parts.dane_support.settle()
            assert (parts.rule, parts.dane_support.dane_status.is_final) == (RULE, False)
        parts.dane_resolver.blinded = []
        await parts.dane_support.settle()
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    @pytest.mark.parametrize("not_validating", [[], [ONE]])
    async def test_afterwards(
        self, caplog: pytest.LogCaptureFixture, not_validating: Sequence[TcpAddress]
    ) -> None:
        """What was known stays, be it on or off, and nothing is said."""
        parts = Parts()
        parts.dane_resolver.blinded = not_validating
        await parts.dane_support.settle()
        known = parts.dane_support.dane_status
        parts.dane_resolver.blinded = SILENCE
        await parts.dane_support.settle()
        assert (parts.dane_support.dane_status, len(caplog.records)) == (known, 1)
        assert (parts.rule is None) == bool(not_validating)

    async def test_after_a_change(self) -> None:
        """Of the name servers of new settings nothing is known from before."""
        parts = Parts()
        parts.dane_resolver.blinded = [ONE]
        await parts.dane_support.settle()
        parts.dane_resolver.blinded = SILENCE
        await parts.dane_support.reconfigure(
            Settings(dane=DaneSettings(mode="on"), dns=DnsSettings(timeout=1))
        )
        assert parts.dane_support.dane_status == DaneStatus(
            on=True,
            reason="not known whether the name servers validate: no answer within 5 s",
            is_trouble=True,
            is_final=False,
        )


class TestRun:
    """As time goes by."""

    async def test_again_and_again(self) -> None:
        """A name server that validates no more is noticed, and one that does again."""
        parts = Parts(every=0.0)
        await parts.dane_support.settle()
        task = asyncio.create_task(parts.dane_support.run())
        for not_validating, rule in (([ONE], None), ([], RULE)):
            parts.dane_resolver.blinded = not_validating
            await self._asked(parts, 2)
            assert parts.rule == rule
        task.cancel()

    async def test_sooner_in_silence(self) -> None:
        """Where none answered it is asked again after another time, and then as ever."""
        parts = Parts(again=0.0)
        parts.dane_resolver.blinded = SILENCE
        await parts.dane_support.settle()
        task = asyncio.create_task(parts.dane_support.run())
        await self._asked(parts, 3)
        parts.dane_resolver.blinded = []
        while not parts.dane_support.dane_status.is_final:
            await self._asked(parts, 1)
        assert parts.dane_resolver.asked.locked()
        task.cancel()

    async def test_after_a_change(self) -> None:
        """Settings that leave it open have it asked again soon, though an hour was begun."""
        parts = Parts(again=0.0)
        await parts.dane_support.settle()
        task = asyncio.create_task(parts.dane_support.run())
        await self._asked(parts, 1)
        parts.dane_resolver.blinded = SILENCE
        await parts.dane_support.reconfigure(ON)
        await self._asked(parts, 3)
        task.cancel()

    async def test_fault(self, caplog: pytest.LogCaptureFixture) -> None:
        """A fault of our own ends neither the task nor DANE."""
        parts = Parts(every=0.0)
        await parts.dane_support.settle()
        task = asyncio.create_task(parts.dane_support.run())
        parts.dane_resolver.blinded = ZeroDivisionError()
        await self._asked(parts, 4)
        parts.dane_resolver.blinded = []
        await self._asked(parts, 4)
        assert parts.rule == RULE
        assert "DANE not looked into" in {r.getMessage() for r in caplog.records}
        task.cancel()

    async def _asked(self, parts: Parts, times: int) -> None:
        """Wait until the name servers were asked so often; what comes of it does so at once."""
        for _ in range(times):
            await parts.dane_resolver.asked.acquire()
