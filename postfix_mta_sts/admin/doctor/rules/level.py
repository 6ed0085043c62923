"""Rules for the TLS level of mail to domains without a policy (postconf(5)).

Only for main.cf: a service with a level of its own (`-o smtp_tls_security_level=encrypt`) has it on
purpose, and `services` has the rule for one that turns TLS off.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import postconf_set
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.smtp_client.values import Level

_LEVEL: Final = "smtp_tls_security_level"
_SOURCES: Final = frozenset({_LEVEL, "smtp_use_tls", "smtp_enforce_tls"})
"""The parameters that it depends on."""
_PLAIN: Final = frozenset({"", Level.NONE})
_SOFT: Final = frozenset({Level.MAY, Level.DANE})


def none(snapshot: Snapshot) -> Iterator[Finding]:
    """`level-none`: the default of Postfix, and of Debian 13."""
    for instance, level in _levels(snapshot):
        if level in _PLAIN:
            yield _finding(
                instance,
                "level-none",
                f"{_LEVEL} is {level or 'empty'}",
                "Mail to domains without a policy is sent in plain text, even if their servers "
                "offer TLS",
            )


def strict(snapshot: Snapshot) -> Iterator[Finding]:
    """`level-strict`: each domain must do what most cannot."""
    for instance, level in _levels(snapshot):
        if level not in _PLAIN | _SOFT:
            yield _finding(
                instance,
                "level-strict",
                f"{_LEVEL} is {level}",
                "Mail to domains whose servers do not offer this waits, whether they have a policy "
                "or not",
            )


RULES: Final = (none, strict)


def _levels(snapshot: Snapshot) -> Iterator[tuple[Instance, str]]:
    """The level in main.cf of each instance, if it is known, and a service has it from there."""
    for instance in snapshot.instances:
        for each in smtp_services(instance):
            if _LEVEL not in each.overrides and not _SOURCES & each.unknown:
                yield instance, each.main_cf.smtp_tls_security_level
                break


def _finding(instance: Instance, id_: str, what: str, why: str) -> Finding:
    mend = postconf_set(instance, _LEVEL, Level.MAY)
    return Finding(id_, Effect.NONE, what, why, mend, instance.name)
