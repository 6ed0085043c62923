"""Rules for what answers at the address that smtp_tls_policy_maps names, as smtp(8) sees it.

Pure. Each table has one finding at most: the first cause of its failure that is recognized.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.doctor import service
from postfix_mta_sts.admin.doctor.commands import (
    ADMIT_POSTFIX,
    leave_chroot,
    open_folder,
)
from postfix_mta_sts.admin.doctor.config_line import with_value
from postfix_mta_sts.admin.doctor.failed_table import FailedTable, failed_tables
from postfix_mta_sts.admin.doctor.for_services import smtp_services
from postfix_mta_sts.admin.doctor.own_tables import DENIALS
from postfix_mta_sts.admin.doctor.report import Finding
from postfix_mta_sts.admin.doctor.right_table import has_other_way
from postfix_mta_sts.admin.doctor.snapshot import DaemonState, Snapshot
from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import Standpoint

_SPEAKS: Final = "this listener speaks"
"""The refusal of the daemon (`postfix.connection`)."""
_ANSWERED_BADLY: Final = frozenset({"malformed", "late", "try-again", "ECONNRESET", "EPIPE"})
_NOT_THERE: Final = frozenset({"ECONNREFUSED", "ENOENT"})


def unanswered(snapshot: Snapshot) -> Iterator[Finding]:
    """All findings about servers; the daemon's own rules explain why it does not answer at all."""
    for failed in failed_tables(snapshot):
        if not _is_the_daemons_fault(failed):
            yield next(found for cause in _CAUSES if (found := cause(failed)))


RULES: Final = (unanswered,)


def _is_the_daemons_fault(failed: FailedTable) -> bool:
    daemon, error = failed.snapshot.daemon, failed.reach.error
    if not failed.is_own:
        return False
    if daemon.state is DaemonState.NOT_RUNNING:
        return error in _NOT_THERE
    answers = (daemon.status or {}).get("answering", {"ok": True})["ok"]
    return error == "late" and (daemon.state is DaemonState.HANGS or not answers)


def _wrong_protocol(failed: FailedTable) -> Finding | None:
    """`map-wrong-protocol`."""
    if failed.reach.error not in _ANSWERED_BADLY or failed.is_own:
        return None
    wire = failed.server.wire
    spoken = "" if failed.number is None else failed.listeners[failed.number].wire
    if spoken in {"", wire} and _SPEAKS not in failed.reason:
        return None
    other = spoken if spoken != wire else ""
    what = f"the listener at {failed.where} speaks {other or 'another protocol'}, not {wire}"
    return failed.finding("map-wrong-protocol", what, failed.mend())


def _denied(failed: FailedTable) -> Finding | None:
    """`map-denied`: root may do what Postfix may not."""
    if failed.reach.error not in DENIALS:
        return None
    obstacle = failed.reach.obstacle
    because = f", because of the permissions of {printable(obstacle)}" if obstacle else ""
    what = f"Postfix may not connect to {failed.where}{because}"
    return failed.finding("map-denied", what, _admit(failed))


def _unresolvable(failed: FailedTable) -> Finding | None:
    """`map-host-unresolvable`: a chroot may have no etc/hosts, and another resolv.conf."""
    if failed.reach.error != "unresolvable":
        return None
    inside = " in its chroot" if failed.is_in_chroot else ""
    what = f"smtp(8) finds no address of this host{inside}: {failed.reason}"
    return failed.finding("map-host-unresolvable", what, failed.mend())


def _chroot_path(failed: FailedTable) -> Finding | None:
    """`map-chroot-path`: an absolute path begins at the chroot."""
    is_absent = failed.is_in_chroot and failed.reach.error == "ENOENT"
    if not (is_absent and failed.path.startswith("/") and _is_outside(failed)):
        return None
    what = f"in the chroot of smtp(8) this is {failed.where}, where no socket is"
    has_way = has_other_way(failed.instance, failed.snapshot)
    mend = failed.mend() if has_way else _without_chroot(failed)
    return failed.finding("map-chroot-path", what, mend)


def _foreign(failed: FailedTable) -> Finding | None:
    """`map-foreign`: something else has taken the connection."""
    if failed.reach.error not in _ANSWERED_BADLY:
        return None
    stuck = service.restart(failed.snapshot) if failed.is_own else ""
    what = f"what listens at {failed.where} does not answer as the daemon does: {failed.reason}"
    return failed.finding("map-foreign", what, failed.mend() or stuck)


def _wrong_address(failed: FailedTable) -> Finding:
    """`map-wrong-address`: whatever else keeps smtp(8) from connecting.

    Nothing listens at an address that the settings have, but the running daemon does not.
    """
    newer = service.apply(failed.snapshot) if failed.is_own else ""
    what = f"{failed.where} cannot be reached ({failed.reason}); the daemon listens on "
    return failed.finding("map-wrong-address", what + failed.listening, failed.mend() or newer)


_CAUSES: Final[tuple[Callable[[FailedTable], Finding | None], ...]] = (
    _wrong_protocol,
    _denied,
    _unresolvable,
    _chroot_path,
    _foreign,
    _wrong_address,
)


def _is_outside(failed: FailedTable) -> bool:
    """Whether the socket is at this path outside of the chroot."""
    reaches = failed.table.reaches
    works = (each.standpoint is Standpoint.POSTFIX and not each.error for each in reaches)
    here = UnixAddress(Path(failed.path))
    return any(works) or any(each.address == here for each in failed.listeners)


def _without_chroot(failed: FailedTable) -> str:
    chrooted = (each.name for each in smtp_services(failed.instance) if each.is_chrooted)
    return leave_chroot(failed.instance, *chrooted)


def _admit(failed: FailedTable) -> str:
    """The command that lets Postfix connect to a listener, or to another one."""
    obstacle, address = failed.reach.obstacle, failed.server.address
    if obstacle and isinstance(address, UnixAddress) and Path(obstacle) != address.path:
        return open_folder(obstacle)
    if has_other_way(failed.instance, failed.snapshot):
        return failed.mend()
    return _open_socket(failed)


def _open_socket(failed: FailedTable) -> str:
    """The command that gives a socket permissions that admit Postfix; empty: it is not known."""
    if failed.number is None:
        return ""
    listener = failed.listeners[failed.number]
    if listener.mode is None and listener.owner is None and listener.group is None:
        return ADMIT_POSTFIX
    place = failed.snapshot.places.get(f"listen[{failed.number}].mode")
    return with_value(place, "mode", '"0666"', service.restart(failed.snapshot))
