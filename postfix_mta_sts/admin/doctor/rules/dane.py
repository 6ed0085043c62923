"""Rules for DANE (RFC 7672): Postfix and the daemon must agree about it."""

from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.admin.doctor import config_line, service
from postfix_mta_sts.admin.doctor.commands import then_run
from postfix_mta_sts.admin.doctor.dane_here import (
    DANE_LEVELS,
    by_resolver,
    expected,
    mode_of,
    of_daemon,
    of_service,
)
from postfix_mta_sts.admin.doctor.for_services import (
    asks_the_daemon,
    concerned,
    set_for,
    smtp_services,
)
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import DaemonState, Snapshot
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.dane import DaneStatus, status_by_mode
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.smtp_client.values import Level

_DNS_SUPPORT: Final = "smtp_dns_support_level"
_WITHOUT_DNSSEC: Final = {
    Level.DANE: (Effect.UNPROTECTED, "smtp(8) looks up no TLSA records, and takes dane as may"),
    Level.DANE_ONLY: (Effect.HELD, "smtp(8) looks up no TLSA records, and defers all mail"),
}
_ONLY_IN_DAEMON: Final = {
    "dane-only": (Effect.HELD, "answers dane-only, and Postfix defers mail to them"),
    "dane": (Effect.UNPROTECTED, "answers dane, which Postfix takes as may, policy or not"),
    "yield": (Effect.UNPROTECTED, "leaves them to Postfix, which does not look these up"),
}
"""By `dane.answer`."""
_NOT_FOUND: Final = status_by_mode("auto", None).reason
_OVERRIDDEN: Final = "Policies override DANE for domains that have both, which RFC 8461 §2 forbids"


def without_dnssec(snapshot: Snapshot) -> Iterator[Finding]:
    """`dane-without-dnssec`: the level says DANE, and there can be none."""
    for instance in snapshot.instances:
        for level in DANE_LEVELS:
            services = [each for each in _without_dnssec(instance) if _level(each) == level]
            if services:
                effect, why = _WITHOUT_DNSSEC[level]
                yield Finding(
                    "dane-without-dnssec",
                    effect,
                    f"smtp_tls_security_level is {level}, and {_dnssec_of(services[0])}",
                    why,
                    then_run(_set_dnssec(instance, services), _ask_again(snapshot)),
                    instance.name,
                    concerned(instance, services),
                )


def only_in_daemon(snapshot: Snapshot) -> Iterator[Finding]:
    """`dane-daemon-only`: the daemon leaves protection to DANE, which Postfix does not do."""
    status = of_daemon(snapshot)
    if status is None or not status.on or _is_on_trial(snapshot):
        return
    effect, answer = _ONLY_IN_DAEMON[_answer(snapshot)]
    for instance in filter(asks_the_daemon, snapshot.instances):
        services = tuple(_without_dnssec(instance))
        if services:
            yield Finding(
                "dane-daemon-only",
                effect,
                _is_on(snapshot, status, services[0]),
                f"For domains with TLSA records the daemon {answer}",
                service.apply(snapshot)
                if _is_outdated(snapshot, status)
                else _set_dnssec(instance, services),
                instance.name,
                concerned(instance, services),
            )


def only_in_postfix(snapshot: Snapshot) -> Iterator[Finding]:
    """`dane-postfix-only`: the daemon answers by policies alone, though Postfix does DANE."""
    status = of_daemon(snapshot)
    if status is None or status.on or _is_said_by_resolver(snapshot, status):
        return
    mend = _mend(snapshot, status)
    why = _OVERRIDDEN if mend or not status.advice else f"{_OVERRIDDEN}; {status.advice}"
    for instance in filter(asks_the_daemon, snapshot.instances):
        services = [each for each in smtp_services(instance) if _does_dane(each)]
        if services:
            yield Finding(
                "dane-postfix-only",
                Effect.UNPROTECTED,
                f"Postfix does DANE, and the daemon does not: {status.reason}",
                why,
                mend,
                instance.name,
                concerned(instance, services),
            )


RULES: Final = (without_dnssec, only_in_daemon, only_in_postfix)


def _without_dnssec(instance: Instance) -> Iterator[Service]:
    services = (each for each in smtp_services(instance) if _DNS_SUPPORT not in each.unknown)
    return (each for each in services if not of_service(each).does_dane)


def _level(service: Service) -> str:
    return service.main_cf.smtp_tls_security_level


def _does_dane(service: Service) -> bool:
    return of_service(service).does_dane and _level(service) in DANE_LEVELS


def _dnssec_of(service: Service) -> str:
    """Such as `smtp_dns_support_level is not set in Postfix`."""
    return status_by_mode("auto", of_service(service)).reason


def _set_dnssec(instance: Instance, services: Sequence[Service]) -> str:
    return set_for(instance, services, _DNS_SUPPORT, "dnssec")


def _is_on(snapshot: Snapshot, status: DaneStatus, service: Service) -> str:
    daemon = "still does DANE" if _is_outdated(snapshot, status) else f"does DANE ({status.reason})"
    return f"the daemon {daemon}, and {_dnssec_of(service)}"


def _is_said_by_resolver(snapshot: Snapshot, status: DaneStatus) -> bool:
    """Whether name servers are the reason, and Postfix's are no better: `resolver` says it."""
    resolver = snapshot.postfix_resolver
    is_better = resolver is not None and by_resolver(snapshot, resolver).on
    return status.needs_attention and not is_better


def _mend(snapshot: Snapshot, status: DaneStatus) -> str:
    """A command that makes the daemon do DANE; empty: it takes more than one."""
    if _is_outdated(snapshot, status):
        return service.apply(snapshot)
    place = snapshot.places.get("dane.mode") if mode_of(snapshot) == "off" else None
    return config_line.with_value(place, "mode", "auto", service.apply(snapshot))


def _is_outdated(snapshot: Snapshot, status: DaneStatus) -> bool:
    """Whether the daemon would decide otherwise now: it looks once an hour, and at a reload."""
    wanted = expected(snapshot)
    if wanted is None or status.reason == _NOT_FOUND:
        return False
    if status.on or not status.needs_attention:
        return wanted.on != status.on
    resolver = snapshot.daemon_resolver
    return wanted.on and resolver is not None and by_resolver(snapshot, resolver).on


def _ask_again(snapshot: Snapshot) -> str:
    """Have a daemon that follows Postfix see what has changed; empty: there is none here."""
    follows = snapshot.daemon.state is DaemonState.ANSWERS and mode_of(snapshot) == "auto"
    return service.apply(snapshot) if follows else ""


def _answer(snapshot: Snapshot) -> str:
    return (snapshot.settings or Settings()).dane.answer


def _is_on_trial(snapshot: Snapshot) -> bool:
    return snapshot.settings is not None and snapshot.settings.trial.dane
