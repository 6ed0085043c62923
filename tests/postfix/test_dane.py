"""Whether DANE is done: as a table, and as it changes while a daemon runs."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from postfix_mta_sts.config.field_types import TcpAddress
from postfix_mta_sts.config.settings import Dane, Dns, Settings
from postfix_mta_sts.mtasts.dane import MxState, Outcome
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.dane import AGAIN, EVERY, Finding, Judging, find
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from postfix_mta_sts.resolver.dane import Judge

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

ONE, TWO = TcpAddress("127.0.0.1", 53), TcpAddress("192.0.2.1", 53)
DOES, DOES_NOT, SAYS_NOTHING = Postfix("dnssec", "dane"), Postfix("enabled", "may"), Postfix("", "")
ON, OFF, AUTO = (Settings(dane=Dane(mode=mode)) for mode in ("on", "off", "auto"))
SILENCE = DnsFailureError("no answer within 5 s")
RULE = DaneRule("dane-only", defer=True)


@dataclass
class Seer:
    """Name servers, and what they are good for."""

    untrusted: Sequence[TcpAddress] = ()
    blinded: Sequence[TcpAddress] | Exception = ()
    asked: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))

    async def blind(self) -> Sequence[TcpAddress]:
        """Those of which a test said so."""
        self.asked.release()
        if isinstance(self.blinded, Exception):
            raise self.blinded
        return self.blinded

    async def judge(self, domain: Domain) -> Outcome:
        """Not asked here."""
        return Outcome(MxState.INSECURE, domain)


class Parts:
    """What DANE is turned on and off in."""

    def __init__(
        self,
        settings: Settings = ON,
        postfix: Postfix | None = None,
        *,
        tells: bool = True,
        every: float = EVERY,
        again: float = AGAIN,
    ) -> None:
        self.seer = Seer()
        self.postfix = postfix
        self.asked_postfix = 0
        self.judge: Judge | None = None
        self.rule: DaneRule | None = None
        self.judging = Judging(
            settings, self.seer, self._do_dane, self._ask, tells=tells, every=every, again=again
        )

    def _do_dane(self, judge: Judge | None, rule: DaneRule | None) -> None:
        self.judge, self.rule = judge, rule

    async def _ask(self) -> Postfix | None:
        self.asked_postfix += 1
        return self.postfix


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(
    ("settings", "postfix", "seer", "on", "reason"),
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
    settings: Settings, postfix: Postfix | None, seer: Seer, reason: str, *, on: bool
) -> None:
    """What is wanted first, then whose word counts, then who validates (T1)."""
    found = await find(settings, seer, postfix)
    assert (found.on, found.reason) == (on, reason)


@pytest.mark.parametrize(("settings", "postfix"), [(OFF, DOES), (AUTO, None), (AUTO, DOES_NOT)])
async def test_nobody_is_asked_in_vain(settings: Settings, postfix: Postfix | None) -> None:
    """Where DANE is not wanted no name server is asked, and no DNS library imported."""
    seer = Seer()
    await find(settings, seer, postfix)
    assert seer.asked.locked()


@pytest.mark.parametrize(
    ("settings", "seer", "advice"),
    [
        (AUTO, Seer(), "set dane.mode: on if your Postfix has smtp_dns_support_level = dnssec"),
        (ON, Seer([TWO]), "dns.trust_ad: true"),
        (ON, Seer([], [ONE]), "a resolver that validates on this machine, such as unbound"),
    ],
)
async def test_advice(settings: Settings, seer: Seer, advice: str) -> None:
    """Where DANE is off unasked, it is said what to set."""
    found = await find(settings, seer, None)
    assert advice in str(found.advice)


class TestSettle:
    """What comes of a finding."""

    async def test_on(self, caplog: pytest.LogCaptureFixture) -> None:
        """The resolver is told whom to ask, the desk how to answer, the log that it is so."""
        settings = Settings(dane=Dane(mode="on", answer="yield", on_failure="mta_sts"))
        parts = Parts(settings)
        await parts.judging.settle()
        assert (parts.judge, parts.rule) == (parts.seer.judge, DaneRule("yield", defer=False))
        assert parts.judging.finding.on
        assert caplog.messages == ['DANE is on reason="dane.mode is on"']

    async def test_off(self, caplog: pytest.LogCaptureFixture) -> None:
        """Neither is told anything, and what the administrator has chosen is no warning."""
        parts = Parts(OFF)
        await parts.judging.settle()
        assert (parts.judge, parts.rule) == (None, None)
        assert [r.levelname for r in caplog.records] == ["INFO"]

    async def test_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        """What is wanted and cannot be had is a warning: once, and again when it changes."""
        parts = Parts()
        parts.seer.blinded = [ONE]
        for _ in range(3):
            await parts.judging.settle()
        parts.seer.blinded = []
        await parts.judging.settle()
        said = [(r.levelname, r.getMessage().partition(" reason=")[0]) for r in caplog.records]
        assert said == [("WARNING", "DANE is off"), ("INFO", "DANE is on")]
        assert parts.rule == RULE

    async def test_quiet(self, caplog: pytest.LogCaptureFixture) -> None:
        """A process whose sibling tells it does not, and does the same."""
        parts = Parts(tells=False)
        await parts.judging.settle()
        assert (parts.rule, caplog.messages) == (RULE, [])

    async def test_postconf_is_asked_for_auto_only(self) -> None:
        """Who has said on or off, has said it."""
        numbers = []
        for settings in (ON, OFF, AUTO):
            parts = Parts(settings, DOES)
            await parts.judging.settle()
            numbers.append(parts.asked_postfix)
        assert numbers == [0, 0, 1]

    async def test_postconf_that_falls_silent(self) -> None:
        """A postconf that cannot be run for once has not said that Postfix does no DANE."""
        parts = Parts(AUTO, DOES)
        await parts.judging.settle()
        parts.postfix = None
        await parts.judging.settle()
        assert parts.rule == RULE
        parts.postfix = DOES_NOT
        await parts.judging.settle()
        assert parts.rule is None


class TestSilence:
    """Name servers that do not answer."""

    async def test_from_the_beginning(self, caplog: pytest.LogCaptureFixture) -> None:
        """DANE is on, with a warning that does not come again while it lasts."""
        parts = Parts()
        for reason in ("SERVFAIL from the name server", "no name server can be reached"):
            parts.seer.blinded = DnsFailureError(reason)
            await parts.judging.settle()
            assert (parts.rule, parts.judging.finding.is_final) == (RULE, False)
        parts.seer.blinded = []
        await parts.judging.settle()
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    @pytest.mark.parametrize("blind", [[], [ONE]])
    async def test_afterwards(
        self, caplog: pytest.LogCaptureFixture, blind: Sequence[TcpAddress]
    ) -> None:
        """What was known stays, be it on or off, and nothing is said."""
        parts = Parts()
        parts.seer.blinded = blind
        await parts.judging.settle()
        known = parts.judging.finding
        parts.seer.blinded = SILENCE
        await parts.judging.settle()
        assert (parts.judging.finding, len(caplog.records)) == (known, 1)
        assert (parts.rule is None) == bool(blind)

    async def test_after_a_change(self) -> None:
        """Of the name servers of new settings nothing is known from before."""
        parts = Parts()
        parts.seer.blinded = [ONE]
        await parts.judging.settle()
        parts.seer.blinded = SILENCE
        await parts.judging.change(Settings(dane=Dane(mode="on"), dns=Dns(timeout=1)))
        assert parts.judging.finding == Finding(
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
        await parts.judging.settle()
        task = asyncio.create_task(parts.judging.run())
        for blind, rule in (([ONE], None), ([], RULE)):
            parts.seer.blinded = blind
            await self._asked(parts, 2)
            assert parts.rule == rule
        task.cancel()

    async def test_sooner_in_silence(self) -> None:
        """Where none answered it is asked again after another time, and then as ever."""
        parts = Parts(again=0.0)
        parts.seer.blinded = SILENCE
        await parts.judging.settle()
        task = asyncio.create_task(parts.judging.run())
        await self._asked(parts, 3)
        parts.seer.blinded = []
        while not parts.judging.finding.is_final:
            await self._asked(parts, 1)
        assert parts.seer.asked.locked()
        task.cancel()

    async def test_after_a_change(self) -> None:
        """Settings that leave it open have it asked again soon, though an hour was begun."""
        parts = Parts(again=0.0)
        await parts.judging.settle()
        task = asyncio.create_task(parts.judging.run())
        await self._asked(parts, 1)
        parts.seer.blinded = SILENCE
        await parts.judging.change(ON)
        await self._asked(parts, 3)
        task.cancel()

    async def test_fault(self, caplog: pytest.LogCaptureFixture) -> None:
        """A fault of our own ends neither the task nor DANE."""
        parts = Parts(every=0.0)
        await parts.judging.settle()
        task = asyncio.create_task(parts.judging.run())
        parts.seer.blinded = ZeroDivisionError()
        await self._asked(parts, 4)
        parts.seer.blinded = []
        await self._asked(parts, 4)
        assert parts.rule == RULE
        assert "DANE not looked into" in {r.getMessage() for r in caplog.records}
        task.cancel()

    async def _asked(self, parts: Parts, times: int) -> None:
        """Wait until the name servers were asked so often; what comes of it does so at once."""
        for _ in range(times):
            await parts.seer.asked.acquire()
