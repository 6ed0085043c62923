"""DANE: what Postfix and the daemon do must fit together."""

from dataclasses import replace
from typing import Literal, TypeAlias

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.dane import RULES
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, Place, Resolver, Snapshot
from postfix_mta_sts.config.settings import DaneSettings, Settings, TrialSettings
from postfix_mta_sts.postfix.dane import DaneStatus, status_by_mode
from postfix_mta_sts.postfix.postconf import Postfix
from tests.support.judged import found, only
from tests.support.snapshots import (
    CONFIG_FILE,
    VERSIONS,
    good,
    other_table,
    with_parameters,
    with_service,
    with_status,
    with_tables,
)

Mode: TypeAlias = Literal["auto", "on", "off"]
Answer: TypeAlias = Literal["dane-only", "dane", "yield"]

SET = "postconf -e 'smtp_dns_support_level = dnssec' && postfix reload"
RELOAD = "systemctl reload postfix-mta-sts"
DOES_DANE, NOT_SET = Postfix("dnssec", "dane"), Postfix("", "may")
ON = DaneStatus(on=True, reason="dane.mode is on")
UNTRUSTED = "192.0.2.1:53"


def daemon(
    snapshot: Snapshot, status: DaneStatus, mode: Mode = "auto", answer: Answer = "dane-only"
) -> Snapshot:
    """The snapshot with a daemon of this status, and this mode in its configuration."""
    settings = Settings(dane=DaneSettings(mode=mode, answer=answer))
    plain = {
        "on": status.on,
        "reason": status.reason,
        "advice": status.advice,
        "needs_attention": status.needs_attention,
    }
    return replace(with_status(snapshot, dane=plain), settings=settings)


def postfix_with_dane() -> Snapshot:
    """A Postfix that does DANE, and a daemon that has seen it."""
    seen = with_parameters(good(), smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")
    return daemon(seen, status_by_mode("auto", DOES_DANE))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_dane(version: str) -> None:
    """Neither does DANE."""
    assert not found(RULES, good(version))


def test_both() -> None:
    """Both do DANE."""
    assert not found(RULES, postfix_with_dane())


def test_without_dnssec() -> None:
    """Level dane without DNSSEC is level may, and the daemon is told of the change."""
    seen = with_parameters(good(), smtp_tls_security_level="dane", smtp_dns_support_level="enabled")
    finding = only(RULES, seen)
    assert (finding.id, finding.effect) == ("dane-without-dnssec", Effect.UNPROTECTED)
    assert finding.what == (
        "smtp_tls_security_level is dane, and smtp_dns_support_level is enabled in Postfix"
    )
    assert finding.mend == f"{SET} && {RELOAD}"


def test_dane_only_without_dnssec() -> None:
    """Level dane-only without DNSSEC holds all mail."""
    finding = only(RULES, with_parameters(good(), smtp_tls_security_level="dane-only"))
    assert (finding.id, finding.effect) == ("dane-without-dnssec", Effect.HELD)


def test_without_dnssec_and_daemon() -> None:
    """A daemon that is not there, or does not follow Postfix, is not reloaded."""
    seen = with_parameters(good(), smtp_tls_security_level="dane")
    stopped = replace(seen, daemon=Daemon(DaemonState.NOT_RUNNING))
    assert only(RULES, stopped).mend == SET
    assert only(RULES, replace(seen, settings=None)).mend == SET


def test_service_without_dnssec() -> None:
    """A service that turns DNSSEC off by an option of its own is named, and loses the option."""
    seen = with_service(postfix_with_dane(), "relay/unix", smtp_dns_support_level="")
    ids = {each.id: each for each in found(RULES, seen)}
    assert ids.keys() == {"dane-without-dnssec", "dane-daemon-only"}
    unset = "postconf -PX relay/unix/smtp_dns_support_level && postfix reload"
    assert ids["dane-daemon-only"].mend == unset
    assert ids["dane-without-dnssec"].mend == f"{unset} && {RELOAD}"
    assert {each.services for each in ids.values()} == {("relay/unix",)}


@pytest.mark.parametrize(
    ("answer", "effect"),
    [("dane-only", Effect.HELD), ("dane", Effect.UNPROTECTED), ("yield", Effect.UNPROTECTED)],
)
def test_only_in_daemon(answer: Answer, effect: Effect) -> None:
    """What the daemon leaves to DANE is held or unprotected by a Postfix that does none."""
    finding = only(RULES, daemon(good(), ON, "on", answer=answer))
    assert (finding.id, finding.effect, finding.mend) == ("dane-daemon-only", effect, SET)
    assert finding.what == (
        "the daemon does DANE (dane.mode is on), and smtp_dns_support_level is not set in Postfix"
    )


def test_only_in_daemon_by_settings() -> None:
    """A user who may not ask the daemon still sees what its configuration says."""
    seen = replace(daemon(good(), ON, "on"), daemon=Daemon(DaemonState.DENIED))
    assert only(RULES, seen).id == "dane-daemon-only"
    assert not found(RULES, replace(seen, settings=Settings()))
    assert not found(RULES, replace(seen, settings=None))


def test_daemon_has_not_looked_again() -> None:
    """A daemon that follows Postfix is reloaded if Postfix does DANE no more."""
    finding = only(RULES, daemon(good(), status_by_mode("auto", DOES_DANE)))
    assert (finding.id, finding.mend) == ("dane-daemon-only", RELOAD)
    assert "still does DANE" in finding.what


def test_daemon_has_not_read_its_settings() -> None:
    """The same for one whose configuration turns DANE off now."""
    finding = only(RULES, daemon(good(), ON, "off"))
    assert (finding.id, finding.mend) == ("dane-daemon-only", RELOAD)


def test_daemon_on_trial() -> None:
    """Verdicts on trial hold no mail."""
    settings = Settings(dane=DaneSettings(mode="on"), trial=TrialSettings(enabled=True, dane=True))
    assert not found(RULES, replace(daemon(good(), ON, "on"), settings=settings))


def test_daemon_that_is_not_asked() -> None:
    """A Postfix that does not ask the daemon does not follow its verdicts."""
    seen = with_tables(daemon(good(), ON, "on"), other_table("hash:/etc/postfix/tls_policy"))
    assert not found(RULES, seen)


def test_only_in_postfix() -> None:
    """A daemon with DANE turned off overrides DANE, and one line of its file ends that."""
    seen = daemon(postfix_with_dane(), status_by_mode("off", None), "off")
    seen = replace(seen, places={"dane.mode": Place(CONFIG_FILE, 7, "dane: {mode: off}")})
    finding = only(RULES, seen)
    assert (finding.id, finding.effect) == ("dane-postfix-only", Effect.UNPROTECTED)
    assert finding.what == "Postfix does DANE, and the daemon does not: dane.mode is off"
    assert finding.mend == f"sed -i '7s/mode: off/mode: auto/' {CONFIG_FILE} && {RELOAD}"


def test_only_in_postfix_by_a_variable() -> None:
    """Where no line of the file turns it off, there is no command."""
    assert not only(RULES, daemon(postfix_with_dane(), status_by_mode("off", None), "off")).mend


def test_postfix_has_changed() -> None:
    """A daemon that follows Postfix is reloaded if Postfix does DANE now."""
    finding = only(RULES, daemon(postfix_with_dane(), status_by_mode("auto", NOT_SET)))
    assert (finding.id, finding.mend) == ("dane-postfix-only", RELOAD)


def test_daemon_without_postconf() -> None:
    """A daemon that finds no postconf has an advice of its own, which no command replaces."""
    status = status_by_mode("auto", None)
    finding = only(RULES, daemon(postfix_with_dane(), status))
    assert finding.mend == ""
    assert status.advice
    assert status.advice in finding.why


def test_level_may_with_dnssec() -> None:
    """A Postfix that looks up nothing by itself has no DANE that a policy could override."""
    seen = with_parameters(postfix_with_dane(), smtp_tls_security_level="may")
    assert not found(RULES, daemon(seen, status_by_mode("off", None), "off"))


def untrusting() -> Snapshot:
    """A daemon that does no DANE, because of its name servers."""
    status = DaneStatus(
        on=False,
        reason=f"not on this machine: name server {UNTRUSTED}",
        advice="run a validating resolver",
        needs_attention=True,
    )
    bad = Resolver("", (UNTRUSTED,), are_local=False)
    return replace(daemon(postfix_with_dane(), status), daemon_resolver=bad)


def test_name_servers_of_the_daemon() -> None:
    """Name servers that only the daemon has are the daemon's fault; no command mends that."""
    finding = only(RULES, untrusting())
    assert (finding.id, finding.mend) == ("dane-postfix-only", "")
    assert finding.why.endswith("run a validating resolver")


def test_name_servers_have_changed() -> None:
    """If they are good now, a reload has the daemon see it."""
    seen = replace(untrusting(), daemon_resolver=good().daemon_resolver)
    assert only(RULES, seen).mend == RELOAD


@pytest.mark.parametrize("resolver", [None, Resolver("/f", (UNTRUSTED,), are_local=False)])
def test_name_servers_of_both(resolver: Resolver | None) -> None:
    """Name servers that Postfix has as well, or that nobody saw, are another finding's."""
    assert not found(RULES, replace(untrusting(), postfix_resolver=resolver))


@pytest.mark.parametrize("dane", [None, {}, {"on": "yes"}, []])
def test_odd_status(dane: object) -> None:
    """A status without a word on DANE, as of another version, is no status."""
    assert not found(RULES, with_status(postfix_with_dane(), dane=dane))
