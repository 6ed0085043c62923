"""The rule for the socket of TLS reports, of which Postfix says nothing if it is not there."""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import postconf_set
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Instance, Standpoint

_FIRST: Final = (3, 10)
"""The first Postfix with smtp_tlsrpt_enable."""
_WHY: Final = (
    "Postfix cannot give what reports are made of to the collector, and its log does not say so; "
    "start the collector, or turn this off"
)


def socket(snapshot: Snapshot) -> Iterator[Finding]:
    """`tlsrpt-socket`: reports are on, and cannot be given away."""
    for instance in snapshot.instances:
        problem = _problem(instance) if _is_on(instance) else ""
        if problem:
            mend = postconf_set(instance, "smtp_tlsrpt_enable", "no")
            yield Finding(
                "tlsrpt-socket",
                Effect.NONE,
                f"smtp_tlsrpt_enable is yes, and {problem}",
                _WHY,
                mend,
                instance.name,
            )


RULES: Final = (socket,)


def _is_on(instance: Instance) -> bool:
    is_known = not instance.version or instance.version >= _FIRST
    return is_known and instance.parameters.get("smtp_tlsrpt_enable", "").lower() == "yes"


def _problem(instance: Instance) -> str:
    """What keeps Postfix from its collector; empty: nothing, or it was not seen."""
    name, reach = instance.parameters.get("smtp_tlsrpt_socket_name", ""), instance.tlsrpt
    if not name:
        return "smtp_tlsrpt_socket_name is empty"
    if reach is None or not reach.error or reach.error == "late":
        return ""
    if reach.standpoint is Standpoint.SELF and reach.error in {"EACCES", "EPERM"}:
        return ""  # of this user, and not of Postfix
    return f"{name} cannot be reached: {reach.reason or reach.error}"
