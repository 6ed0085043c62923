"""Whether the daemon's configuration is valid, in force, and enforces policies. Pure."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor import config_line, service
from postfix_mta_sts.admin.doctor.own_tables import each_table, is_at, is_own, settings_of
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Snapshot
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import TableSeen

_ACCESS: Final = "listen"
"""The key of warnings that Postfix may not connect to a UNIX socket (`postfix.access`)."""
_IN_USE: Final = " is in use now"
_BY_SYSTEMD: Final = "(systemd)"
"""In what `daemon.preflight` says of an address: the daemon has it, or a socket unit for it."""
_DENIALS: Final = frozenset({"EACCES", "EPERM"})
_TRIAL_NAMES: Final = ("enabled", "trial", "dane")
"""The keys by which a line may turn a trial on; see `config.shorthands`."""
_UNKNOWN: Final = "unknown key"
_NEAR: Final = re.compile(r"unknown key, perhaps ([a-z_]+);")
_RIGHT: Final = re.compile(r"; write ([^\s\[{]\S*)$")


def map_on_trial(snapshot: Snapshot) -> Iterator[Finding]:
    """Postfix asks a map whose policies are on trial."""
    for instance in snapshot.instances:
        for table in instance.tables:
            if table.map_name is not None and _is_on_trial(snapshot, table.map_name):
                yield Finding(
                    "map-on-trial",
                    Effect.NONE,
                    f"policies are on trial in {_map_of(table)}, which Postfix asks",
                    'The daemon answers "not found" there, so that no policy is enforced',
                    _end_trial(snapshot, table.map_name),
                    instance.name,
                )


def config_invalid(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon cannot start with its configuration."""
    why = "The daemon does not start, and Postfix defers all mail to other domains"
    if not service.is_stopped(snapshot):
        why = "The daemon goes on with the settings that it has, and will not start again"
    for each in service.config_errors(snapshot):
        what = f"the configuration is not valid: {_described(each)}"
        yield Finding("config-invalid", Effect.HELD, what, why, _mend(snapshot, each))


def config_not_loaded(snapshot: Snapshot) -> Iterator[Finding]:
    """The file was changed after the daemon has read it; while it is invalid, that is the fault."""
    status = snapshot.daemon.status or {}
    configured_at, changed_at = status.get("configured_at"), snapshot.config_time
    is_same_file = status.get("config") in {None, snapshot.config_file}
    if configured_at is None or changed_at is None or _is_invalid(snapshot):
        return
    if is_same_file and changed_at > configured_at:
        yield Finding(
            "config-not-loaded",
            Effect.NONE,
            f"{snapshot.config_file} was changed, and the daemon has not read it since",
            "The daemon works with older settings until it is reloaded",
            service.apply(snapshot),
        )


def config_doubtful(snapshot: Snapshot) -> Iterator[Finding]:
    """What `check-config` warns of, unless another rule has it."""
    for each in service.config_problems(snapshot):
        if each.is_warning and not _is_found_elsewhere(snapshot, each):
            yield Finding(
                "config-doubtful",
                Effect.NONE,
                f"the configuration is doubtful: {_described(each)}",
                "The daemon starts, and does not do all that the configuration asks for",
                "",
            )


def _is_invalid(snapshot: Snapshot) -> bool:
    return bool(service.config_errors(snapshot) or service.ca_errors(snapshot))


def _is_on_trial(snapshot: Snapshot, map_name: str) -> bool:
    """Whether a map is on trial, as the daemon says; if it is not asked, by the settings."""
    status, settings = snapshot.daemon.status or {}, snapshot.settings
    if trial := status.get("trial"):
        return bool(trial["maps"].get(map_name, trial["other"]))
    if settings is None:
        return False
    own = settings.maps.get(map_name)
    return settings.is_on_trial(own) if own else settings.trial.enabled


def _map_of(table: TableSeen) -> str:
    return f"the map {table.map_name}" if table.map_name else table.name


def _end_trial(snapshot: Snapshot, map_name: str) -> str:
    """The command that ends the trial of a map, or of all without a setting of their own."""
    own = snapshot.settings.maps.get(map_name) if snapshot.settings else None
    key = f"maps.{map_name}.trial" if own and own.trial else "trial.enabled"
    place = snapshot.places.get(key)
    then = service.apply(snapshot)
    edits = (config_line.with_value(place, each, "false", then) for each in _TRIAL_NAMES)
    return next(filter(None, edits), "")


def _described(problem: ConfigProblem) -> str:
    place = f"{problem.file}:{problem.line}: " if problem.line else ""
    return f"{place}{problem.key}: {problem.reason}" if problem.key else f"{place}{problem.reason}"


def _mend(snapshot: Snapshot, problem: ConfigProblem) -> str:
    """The command that does what the reason proposes, or makes an unknown key a comment."""
    place = snapshot.places.get(problem.key)
    name, then = problem.key.rpartition(".")[2], service.apply(snapshot)
    if place is None or place.line != problem.line:
        return ""
    if near := _NEAR.match(problem.reason):
        return config_line.renamed(place, name, near[1], then)
    if problem.reason.startswith(_UNKNOWN):
        return config_line.commented_out(place, name, then)
    if right := _RIGHT.search(problem.reason):
        return config_line.with_value(place, name, right[1], then)
    return ""


def _is_found_elsewhere(snapshot: Snapshot, problem: ConfigProblem) -> bool:
    """Whether another rule is about the same: `daemon-ca`, `map-denied` or `map-foreign`.

    What Postfix may not do at a listener that it does not ask is no fault.
    """
    if _IN_USE in problem.reason:
        return not service.is_stopped(snapshot) or problem.reason.endswith(_BY_SYSTEMD)
    tables = (table for instance in snapshot.instances for table in instance.tables)
    is_denied = any(reach.error in _DENIALS for table in tables for reach in table.reaches)
    is_access = problem.key == _ACCESS and (is_denied or _is_unasked(snapshot, problem))
    return problem.key == service.CA_FILE or is_access


def _is_unasked(snapshot: Snapshot, problem: ConfigProblem) -> bool:
    """Whether Postfix asks the daemon, but not at the listener of which a warning is."""
    listeners = settings_of(snapshot).listen
    closed = [each for each in listeners if f" {printable(str(each.address))}:" in problem.reason]
    own = (each.server for _, each in each_table(snapshot) if is_own(each, snapshot))
    asked = [server for server in own if server]
    is_asked = any(is_at(server, each) for server in asked for each in closed)
    return bool(asked and closed) and not is_asked


RULES: Final = (map_on_trial, config_invalid, config_not_loaded, config_doubtful)
