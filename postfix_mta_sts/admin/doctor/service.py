"""What the rules about the daemon share: how it is started, and which of its parts work. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor.commands import RELOAD, RESTART, START
from postfix_mta_sts.admin.doctor.own_tables import each_table, is_own
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, DaemonState, Snapshot
from postfix_mta_sts.postfix.installed.sleeping import REASON
from postfix_mta_sts.stats.labels import Part

CA_FILE: Final = "https.ca_file"
_OF_USER: Final = re.compile(r"\buser [0-9]+\b|Permission denied")
_PROGRAM: Final = re.compile(r"postfix[-_]mta[-_]sts")
_UNKNOWN: Final = "the daemon does not say why"
_REASONS: Final = {Part.DNS.value: "no name server answers"}
"""Of parts that do not say why."""


def is_stopped(snapshot: Snapshot) -> bool:
    """Whether the daemon is known not to run."""
    return snapshot.daemon.state is DaemonState.NOT_RUNNING


def is_started_on_demand(snapshot: Snapshot) -> bool:
    """Whether systemd starts a daemon that does not run with the next look-up of Postfix.

    It does for its sockets, if the tables of Postfix that ask the daemon lead to these.
    """
    own = [each for _, each in each_table(snapshot) if is_own(each, snapshot)]
    has_sockets = snapshot.unit is not None and bool(snapshot.unit.sockets)
    return has_sockets and all(REASON in each.unasked for each in own)


def is_service(snapshot: Snapshot) -> bool:
    """Whether systemd runs the daemon, or would if it ran."""
    return snapshot.unit is not None and (snapshot.unit.is_active or is_stopped(snapshot))


def restart(snapshot: Snapshot) -> str:
    """Return the command that starts the daemon again; empty: systemd does not run it."""
    return RESTART if is_service(snapshot) else ""


def start(snapshot: Snapshot) -> str:
    """Return the command that starts the daemon; empty: systemd does not run it."""
    return START if is_service(snapshot) else ""


def apply(snapshot: Snapshot) -> str:
    """Return the command that puts a changed configuration in force; empty: it is not known."""
    if is_stopped(snapshot):
        return start(snapshot)
    if is_service(snapshot):
        return RELOAD
    pid = (snapshot.daemon.status or {}).get("pid")
    return f"kill -HUP {pid}" if pid and _is_here(snapshot) else ""


def _is_here(snapshot: Snapshot) -> bool:
    """Whether the process that the daemon names is one of its own.

    In a container it has another number than on the machine, where that is another process.
    """
    return any(_PROGRAM.search(word) for word in snapshot.daemon.command_line)


def trouble(snapshot: Snapshot, part: Part) -> str:
    """Return why a part does not work, as the daemon says; empty: it works, or is not seen."""
    status, name = snapshot.daemon.status or {}, part.value
    if name not in status.get("not_working", ()):
        return ""
    return str(status.get("reasons", {}).get(name) or _REASONS.get(name, _UNKNOWN))


def config_problems(snapshot: Snapshot) -> Iterator[ConfigProblem]:
    """Yield what is wrong with the configuration, unless it is `is_of_user`."""
    for each in snapshot.config_problems:
        if not is_of_user(snapshot, each.reason):
            yield each


def is_of_user(snapshot: Snapshot, reason: str) -> bool:
    """Whether a reason concerns this user alone, which may do less than the daemon.

    `daemon.preflight` says what its own user may do, such as write to a folder. What root may do is
    close enough.
    """
    return not snapshot.is_root and bool(_OF_USER.search(reason))


def config_errors(snapshot: Snapshot) -> tuple[ConfigProblem, ...]:
    """Return the problems with which the daemon does not start, but those of `ca_errors`."""
    return tuple(each for each in _errors(snapshot) if each.key != CA_FILE)


def ca_errors(snapshot: Snapshot) -> tuple[ConfigProblem, ...]:
    """Return what is wrong with the file of CA certificates."""
    return tuple(each for each in _errors(snapshot) if each.key == CA_FILE)


def _errors(snapshot: Snapshot) -> Iterator[ConfigProblem]:
    return (each for each in config_problems(snapshot) if not each.is_warning)
