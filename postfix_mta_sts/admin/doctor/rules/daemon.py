"""Whether Postfix and the daemon run, and start again with the machine. Pure."""

import re
import shlex
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor import service
from postfix_mta_sts.admin.doctor.commands import RESTART, then_run
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import DaemonState, Snapshot
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.stats.labels import Part

_WORKERS: Final = re.compile(r"(?:^|\s)--workers[\s=]")
_SERVICE: Final = "postfix-mta-sts.service"


def postfix_stopped(snapshot: Snapshot) -> Iterator[Finding]:
    """Postfix does not run."""
    for each in snapshot.instances:
        if each.is_running is False and not _is_switched_off(each):
            yield Finding(
                "postfix-stopped",
                Effect.HELD,
                "Postfix does not run",
                "It neither takes nor delivers mail until it is started",
                _start_postfix(each),
                each.name,
            )


def daemon_stopped(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon does not run, and no look-up starts it.

    If its configuration is to blame, `config-invalid` says so.
    """
    is_left_to_others = service.is_started_on_demand(snapshot) or service.config_errors(snapshot)
    if service.is_stopped(snapshot) and not is_left_to_others:
        yield Finding(
            "daemon-stopped",
            Effect.HELD,
            "the daemon does not run",
            "Postfix defers all mail to other domains as long as its policy map does not answer",
            service.start(snapshot),
        )


def daemon_hangs(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon runs, and does not answer commands or look-ups."""
    answering = (snapshot.daemon.status or {}).get("answering", {"ok": True})
    is_hung = snapshot.daemon.state is DaemonState.HANGS
    if is_hung or not answering.get("ok", True):
        reason = snapshot.daemon.reason if is_hung else str(answering.get("reason") or "")
        yield Finding(
            "daemon-hangs",
            Effect.HELD,
            f"the daemon runs and does not answer{_because(reason)}",
            "Postfix waits for each answer, and then defers the mail",
            service.restart(snapshot),
        )


def unit_disabled(snapshot: Snapshot) -> Iterator[Finding]:
    """Systemd does not start the daemon with the machine.

    The socket unit stays as it is: it listens on an address that the configuration need not have.
    """
    unit = snapshot.unit
    if unit and service.is_service(snapshot) and not unit.is_enabled:
        yield Finding(
            "unit-disabled",
            Effect.NONE,
            f"the unit {_SERVICE} is not enabled",
            "After the next start of this machine the daemon does not run, and Postfix defers mail",
            f"systemctl enable {_SERVICE}",
        )


def daemon_version(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon that runs is of another version than the program on disk."""
    running = (snapshot.daemon.status or {}).get("version", snapshot.version)
    if running != snapshot.version:
        yield Finding(
            "daemon-version",
            Effect.NONE,
            f"the daemon that runs has version {running}, and version {snapshot.version} is "
            "installed",
            "What the installed version corrects is not in force before the daemon is restarted",
            service.restart(snapshot),
        )


def workers(snapshot: Snapshot) -> Iterator[Finding]:
    """The option `--workers` is in the unit, or in the command line of the daemon."""
    in_unit = bool(snapshot.unit and _WORKERS.search(snapshot.unit.command_line))
    if in_unit or _WORKERS.search(" ".join((*snapshot.daemon.command_line, ""))):
        place = "unit" if in_unit else "command line"
        yield Finding(
            "workers",
            Effect.NONE,
            f"the option --workers is in the {place} of the daemon",
            "It is ignored, since one process serves, and the next release refuses to start with "
            "it",
            _without_workers(snapshot, in_unit=in_unit),
        )


def control_missing(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon answers Postfix, and has no control socket."""
    if snapshot.daemon.state is DaemonState.NO_CONTROL:
        yield Finding(
            "control-missing",
            Effect.NONE,
            f"the daemon has no control socket{_because(snapshot.daemon.reason)}",
            "Commands such as status and exception cannot reach it; the log says why",
            service.restart(snapshot),
        )


def network_process(snapshot: Snapshot) -> Iterator[Finding]:
    """The process that asks DNS and HTTPS does not work."""
    if reason := service.trouble(snapshot, Part.NETWORK_PROCESS):
        yield Finding(
            "network-process",
            Effect.UNPROTECTED,
            f"the daemon's network process does not work{_because(reason)}",
            "No policy is found for domains that the daemon does not know yet, and none is renewed",
            service.restart(snapshot),
        )


def _is_switched_off(instance: Instance) -> bool:
    """Whether it is meant not to run (`postmulti -e disable`); not said of the default instance."""
    return instance.name != "-" and instance.parameters.get("multi_instance_enable") == "no"


def _start_postfix(instance: Instance) -> str:
    """The command that starts an instance.

    Debian 12 has a unit postfix.service that stays active when Postfix is stopped, so that only
    `restart` starts it.
    """
    if instance.name == "-":
        return "systemctl restart postfix"
    return shlex.join(("postmulti", "-i", instance.name, "-p", "start"))


def _without_workers(snapshot: Snapshot, *, in_unit: bool) -> str:
    unit = snapshot.unit
    if unit is None or not in_unit:
        return service.restart(snapshot)
    edit = r"s/[[:space:]]--workers[= ][0-9]+//"
    change = shlex.join(("sed", "-i", "--follow-symlinks", "-E", edit, *unit.files))
    return then_run(change, "systemctl daemon-reload", RESTART)


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


RULES: Final = (
    postfix_stopped,
    daemon_stopped,
    daemon_hangs,
    unit_disabled,
    daemon_version,
    workers,
    control_missing,
    network_process,
)
