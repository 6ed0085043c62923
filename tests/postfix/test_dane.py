"""Whether DANE is on: as a table, and as it changes while the daemon runs."""

import asyncio
import logging
from collections.abc import Sequence

import pytest

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.dane import (
    DaneStatus,
    check_status,
)
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.postfix.protocol.reply import DaneRule
from tests.support.dane_switch import ON, DaneSwitch, FakeDaneResolver

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

ONE, TWO = TcpAddress("127.0.0.1", 53), TcpAddress("192.0.2.1", 53)
DOES_DANE, DOES_NOT, NOT_SET = Postfix("dnssec", "dane"), Postfix("enabled", "may"), Postfix("", "")
OFF, AUTO = (Settings(dane=DaneSettings(mode=mode)) for mode in ("off", "auto"))
UNANSWERED = DnsFailureError("no answer within 5 s")
RULE = DaneRule("dane-only", defer=True)


@pytest.fixture(autouse=True)
def _levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize(
    ("settings", "postfix", "dane_resolver", "on", "reason"),
    [
        (ON, None, FakeDaneResolver(), True, "dane.mode is on"),
        (OFF, DOES_DANE, FakeDaneResolver(), False, "dane.mode is off"),
        (AUTO, DOES_DANE, FakeDaneResolver(), True, "smtp_dns_support_level is dnssec in Postfix"),
        (AUTO, DOES_NOT, FakeDaneResolver(), False, "smtp_dns_support_level is enabled in Postfix"),
        (AUTO, NOT_SET, FakeDaneResolver(), False, "smtp_dns_support_level is not set in Postfix"),
        (AUTO, None, FakeDaneResolver(), False, "postconf was not found"),
        (ON, None, FakeDaneResolver([TWO]), False, "not on this machine: name server 192.0.2.1:53"),
        (
            AUTO,
            DOES_DANE,
            FakeDaneResolver([TWO]),
            False,
            "not on this machine: name server 192.0.2.1:53",
        ),
        (
            ON,
            None,
            FakeDaneResolver([TWO], UNANSWERED),
            False,
            "not on this machine: name server 192.0.2.1:53",
        ),
        (
            ON,
            None,
            FakeDaneResolver([], [ONE]),
            False,
            "does not validate: name server 127.0.0.1:53",
        ),
        (
            ON,
            None,
            FakeDaneResolver([], [ONE, TWO]),
            False,
            "does not validate: name server 127.0.0.1:53, 192.0.2.1:53",
        ),
        (
            AUTO,
            DOES_DANE,
            FakeDaneResolver([], UNANSWERED),
            True,
            "not known whether the name servers validate: no answer within 5 s",
        ),
    ],
)
async def test_status(
    settings: Settings,
    postfix: Postfix | None,
    dane_resolver: FakeDaneResolver,
    reason: str,
    *,
    on: bool,
) -> None:
    """Settings and Postfix come first, then trust in the name servers, then validation (T1)."""
    status = await check_status(settings, dane_resolver, postfix)
    assert (status.on, status.reason) == (on, reason)


@pytest.mark.parametrize(
    ("settings", "postfix"), [(OFF, DOES_DANE), (AUTO, None), (AUTO, DOES_NOT)]
)
async def test_no_query_if_dane_is_not_wanted(settings: Settings, postfix: Postfix | None) -> None:
    """The name servers are not queried, so no DNS library is imported."""
    dane_resolver = FakeDaneResolver()
    await check_status(settings, dane_resolver, postfix)
    assert dane_resolver.checks.total == 0


@pytest.mark.parametrize(
    ("settings", "dane_resolver", "advice"),
    [
        (
            AUTO,
            FakeDaneResolver(),
            "set dane.mode: on if your Postfix has smtp_dns_support_level = dnssec",
        ),
        (ON, FakeDaneResolver([TWO]), "dns.trust_ad: true"),
        (ON, FakeDaneResolver([], [ONE]), "run a validating resolver such as unbound"),
    ],
)
async def test_advice(settings: Settings, dane_resolver: FakeDaneResolver, advice: str) -> None:
    """If DANE is off and the administrator did not ask for that, the status says what to set."""
    status = await check_status(settings, dane_resolver, None)
    assert advice in str(status.advice)


class TestUpdate:
    """A check, and what it turns on and off."""

    async def test_on(self, caplog: pytest.LogCaptureFixture) -> None:
        """The look-up and the rule are passed on, and the log says that DANE is on."""
        settings = Settings(dane=DaneSettings(mode="on", answer="yield", on_failure="mta_sts"))
        switch = DaneSwitch(settings)
        await switch.dane_support.update()
        assert (switch.dane_lookup, switch.rule) == (
            switch.dane_resolver.look_up_dane,
            DaneRule("yield", defer=False),
        )
        assert switch.dane_support.status.on
        assert caplog.messages == ['DANE is on reason="dane.mode is on"']

    async def test_off(self, caplog: pytest.LogCaptureFixture) -> None:
        """No look-up and no rule are passed on; a choice of the administrator is no warning."""
        switch = DaneSwitch(OFF)
        await switch.dane_support.update()
        assert (switch.dane_lookup, switch.rule) == (None, None)
        assert [r.levelname for r in caplog.records] == ["INFO"]

    async def test_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        """DANE that is wanted and does not work is a warning, once; a change is logged again."""
        switch = DaneSwitch()
        switch.dane_resolver.result = [ONE]
        for _ in range(3):
            await switch.dane_support.update()
        switch.dane_resolver.result = []
        await switch.dane_support.update()
        events = [(r.levelname, r.getMessage().partition(" reason=")[0]) for r in caplog.records]
        assert events == [("WARNING", "DANE is off"), ("INFO", "DANE is on")]
        assert switch.rule == RULE

    async def test_postconf_is_called_for_auto_only(self) -> None:
        """With `dane.mode: on` or `off` Postfix makes no difference."""
        numbers = []
        for settings in (ON, OFF, AUTO):
            switch = DaneSwitch(settings, DOES_DANE)
            await switch.dane_support.update()
            numbers.append(switch.asked_postfix)
        assert numbers == [0, 0, 1]

    async def test_postconf_without_an_answer(self) -> None:
        """The last answer stays: it does not mean that Postfix does no DANE."""
        switch = DaneSwitch(AUTO, DOES_DANE)
        await switch.dane_support.update()
        switch.postfix = None
        await switch.dane_support.update()
        assert switch.rule == RULE
        switch.postfix = DOES_NOT
        await switch.dane_support.update()
        assert switch.rule is None


class TestUnanswered:
    """Name servers that do not answer."""

    async def test_at_the_start(self, caplog: pytest.LogCaptureFixture) -> None:
        """DANE is on, with one warning until a name server answers."""
        switch = DaneSwitch()
        for reason in ("SERVFAIL from the name server", "no name server can be reached"):
            switch.dane_resolver.result = DnsFailureError(reason)
            await switch.dane_support.update()
            assert (switch.rule, switch.dane_support.status.is_final) == (RULE, False)
        switch.dane_resolver.result = []
        await switch.dane_support.update()
        assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]

    @pytest.mark.parametrize("not_validating", [[], [ONE]])
    async def test_afterwards(
        self, caplog: pytest.LogCaptureFixture, not_validating: Sequence[TcpAddress]
    ) -> None:
        """DANE stays as it was, on or off, and nothing is logged."""
        switch = DaneSwitch()
        switch.dane_resolver.result = not_validating
        await switch.dane_support.update()
        before = switch.dane_support.status
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.update()
        assert (switch.dane_support.status, len(caplog.records)) == (before, 1)
        assert (switch.rule is None) == bool(not_validating)

    async def test_after_a_change(self) -> None:
        """With new settings, earlier answers of name servers no longer count."""
        switch = DaneSwitch()
        switch.dane_resolver.result = [ONE]
        await switch.dane_support.update()
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.reconfigure(
            Settings(dane=DaneSettings(mode="on"), dns=DnsSettings(timeout=1))
        )
        assert switch.dane_support.status == DaneStatus(
            on=True,
            reason="not known whether the name servers validate: no answer within 5 s",
            needs_attention=True,
            is_final=False,
        )

    async def test_at_the_start_nobody_waits_long(self) -> None:
        """Postfix cannot connect before the first check: name servers that are silent get a second.

        Then DANE is on, and the check is repeated soon.
        """
        switch = DaneSwitch()
        switch.dane_resolver.result = None
        await switch.dane_support.update(0.01)
        status = switch.dane_support.status
        assert (status.on, status.is_final) == (True, False)
        assert status.reason.endswith("no answer within 0.01 s")

    async def test_after_a_reload_that_changes_nothing(self) -> None:
        """Earlier answers of the name servers count: the status stays, on or off (A4)."""
        switch = DaneSwitch()
        switch.dane_resolver.result = [ONE]
        await switch.dane_support.update()
        before = switch.dane_support.status
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.reconfigure(ON)
        assert switch.dane_support.status == before


class TestRun:
    """Checks at intervals."""

    async def test_changes_are_noticed(self) -> None:
        """A name server that stops validating turns DANE off; one that validates again, on."""
        switch = DaneSwitch(check_interval=0.0)
        await switch.dane_support.update()
        task = asyncio.create_task(switch.dane_support.run())
        for not_validating, rule in (([ONE], None), ([], RULE)):
            switch.dane_resolver.result = not_validating
            await self._next_checks(switch)
            assert switch.rule == rule
        task.cancel()

    async def test_retry_interval(self) -> None:
        """It applies until a name server answers; after that `check_interval` does."""
        switch = DaneSwitch(retry_interval=0.0)
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.update()
        task = asyncio.create_task(switch.dane_support.run())
        await self._next_checks(switch, 3)
        switch.dane_resolver.result = []
        while not switch.dane_support.status.is_final:  # noqa: ASYNC110 (no event to wait for)
            await asyncio.sleep(0)
        checks = switch.dane_resolver.checks.total
        for _ in range(20):
            await asyncio.sleep(0)
        assert switch.dane_resolver.checks.total == checks
        task.cancel()

    async def test_after_a_change(self) -> None:
        """If no name server answers then, the retry interval holds at once, not after an hour."""
        switch = DaneSwitch(retry_interval=0.0)
        await switch.dane_support.update()
        task = asyncio.create_task(switch.dane_support.run())
        await asyncio.sleep(0)  # the task waits for the check interval now
        switch.dane_resolver.result = UNANSWERED
        await switch.dane_support.reconfigure(
            Settings(dane=DaneSettings(mode="on"), dns=DnsSettings(timeout=1))
        )
        await self._next_checks(switch, 3)
        task.cancel()

    async def test_an_internal_error(self, caplog: pytest.LogCaptureFixture) -> None:
        """It ends neither the task nor DANE."""
        switch = DaneSwitch(check_interval=0.0)
        await switch.dane_support.update()
        task = asyncio.create_task(switch.dane_support.run())
        switch.dane_resolver.result = ZeroDivisionError()
        await self._next_checks(switch)
        switch.dane_resolver.result = []
        await self._next_checks(switch)
        assert switch.rule == RULE
        assert "DANE check failed" in {r.getMessage() for r in caplog.records}
        task.cancel()

    async def _next_checks(self, switch: DaneSwitch, number: int = 2) -> None:
        """Return when this many more checks have started; all but the last are applied."""
        checks = switch.dane_resolver.checks
        await checks.total_reached(checks.total + number)
