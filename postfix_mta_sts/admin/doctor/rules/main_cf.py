"""Rules for main.cf itself: whether it can be read, and parameters that concern no table.

Pure. `maps` and `tables` have the rules for smtp_tls_policy_maps.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from postfix_mta_sts.admin.doctor.commands import (
    also_reload,
    delete_entry,
    postconf_set,
    postconf_unset,
    then_run,
)
from postfix_mta_sts.admin.doctor.map_names import written
from postfix_mta_sts.admin.doctor.misspelt import is_the_map, meant, unused_of
from postfix_mta_sts.admin.doctor.own_tables import PARAMETER, asks_nothing_here
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Instance

_CACHE: Final = "smtp_tls_session_cache_database"
_CACHE_TIMEOUT: Final = "smtp_tls_session_cache_timeout"
_LOG_LEVEL: Final = "smtp_tls_loglevel"
_DAY: Final = 86_400
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": _DAY, "w": 7 * _DAY}
_UNUSED_LIMIT: Final = 20
"""Unknown parameters of one main.cf that are named."""
_REPLACED: Final = "?"
"""What `postconf` writes for a character of an unknown parameter that is not printable."""
_TIME: Final = re.compile(r"(\d{1,9})([smhdw]?)", re.ASCII)
_PLACE: Final = re.compile(r"(?:^|\s)(/\S*/main\.cf), line (\d{1,7}):", re.ASCII)
"""Where `postconf` finds an error; one in several lines has `lines 3-5`."""


def broken(snapshot: Snapshot) -> Iterator[Finding]:
    """`main-cf-broken`: Postfix reads main.cf at each start of one of its programs."""
    for instance in snapshot.instances:
        if instance.problem:
            yield Finding(
                "main-cf-broken",
                Effect.HELD,
                f"main.cf of Postfix cannot be read: {instance.problem}",
                "No program of Postfix starts with it",
                _without_line(instance),
                instance.name,
            )


def unused(snapshot: Snapshot) -> Iterator[Finding]:
    """`parameter-unused`: Postfix ignores a name that it does not know."""
    for instance in snapshot.instances:
        is_asked = not asks_nothing_here(instance, snapshot)
        first, more = _sorted(instance)
        for name, value in first:
            is_missed = is_the_map(instance, name, value) and not is_asked
            nothing = "; Postfix does not ask the daemon, and no policy is enforced"
            yield Finding(
                "parameter-unused",
                Effect.UNPROTECTED if is_missed else Effect.NONE,
                f"main.cf has {name}, which Postfix {_postfix(instance)}does not know"
                f"{_perhaps(instance, name)}",
                f"It has no effect{nothing if is_missed else ''}",
                _renamed(instance, name, value, is_asked=is_asked),
                instance.name,
            )
        if more:
            yield Finding(
                "parameter-unused",
                Effect.NONE,
                f"main.cf has {more} more parameters that Postfix {_postfix(instance)}does not "
                "know",
                "They have no effect",
                "",
                instance.name,
            )


def session_cache_long(snapshot: Snapshot) -> Iterator[Finding]:
    """`session-cache-long`: smtp(8) does not verify a certificate again in a resumed session."""
    for instance in snapshot.instances:
        timeout = instance.parameters.get(_CACHE_TIMEOUT, "")
        if _has_cache(instance) and _seconds(timeout) > _DAY:
            yield Finding(
                "session-cache-long",
                Effect.NONE,
                f"{_CACHE_TIMEOUT} is {timeout}, more than a day",
                "A TLS session that is resumed keeps its old verdict so long, although the policy "
                "or the certificate has changed",
                also_reload(instance, postconf_unset(instance, _CACHE_TIMEOUT)),
                instance.name,
            )


def session_cache_type(snapshot: Snapshot) -> Iterator[Finding]:
    """`session-cache-type`: Debian has moved from btree to lmdb."""
    for instance in snapshot.instances:
        name = instance.parameters.get(_CACHE, "")
        kind = name.partition(":")[0]
        if name and instance.table_types and kind not in instance.table_types:
            yield Finding(
                "session-cache-type",
                Effect.NONE,
                f"{_CACHE} is {name}, and this Postfix has no tables of type {kind}",
                "Postfix cannot keep TLS sessions there",
                postconf_set(instance, _CACHE, ""),
                instance.name,
            )


def log_level(snapshot: Snapshot) -> Iterator[Finding]:
    """`loglevel-0`: the default of Postfix."""
    for instance in snapshot.instances:
        if instance.parameters.get(_LOG_LEVEL) == "0":
            yield Finding(
                "loglevel-0",
                Effect.NONE,
                f"{_LOG_LEVEL} is 0",
                "The mail log does not say whether a TLS connection was verified",
                postconf_set(instance, _LOG_LEVEL, "1"),
                instance.name,
            )


RULES: Final = (broken, unused, session_cache_long, session_cache_type, log_level)


def _without_line(instance: Instance) -> str:
    """The command that removes the line with the error; empty: it is in another file."""
    place = _PLACE.search(instance.problem)
    if place is None or place[1] != f"{instance.config_directory}/main.cf":
        return ""
    return delete_entry(place[1], int(place[2]), also_reload(instance, ""))


def _sorted(instance: Instance) -> tuple[Sequence[tuple[str, str]], int]:
    """The unknown parameters that are named, and how many more there are.

    Those that were to be the map come first.
    """
    every = sorted(unused_of(instance), key=lambda pair: not is_the_map(instance, *pair))
    return every[:_UNUSED_LIMIT], len(every[_UNUSED_LIMIT:])


def _perhaps(instance: Instance, name: str) -> str:
    right = meant(name, instance.parameters)
    return f"; perhaps {right} is meant" if right else ""


def _renamed(instance: Instance, name: str, value: str, *, is_asked: bool) -> str:
    """The command that gives the value to the parameter that was meant, if one was.

    A map that already asks the daemon stays as it is. Empty: the name or the value is not known.
    """
    right, removed = meant(name, instance.parameters), postconf_unset(instance, name)
    if _REPLACED in name or (right and _REPLACED in value):
        return ""
    if not right or (right == PARAMETER and is_asked):
        return also_reload(instance, removed)
    return then_run(removed, postconf_set(instance, right, value))


def _has_cache(instance: Instance) -> bool:
    """Whether there is a session cache; a value that is not known is empty only by its start."""
    value = instance.parameters.get(_CACHE, "")
    return bool(value) and not (_CACHE in instance.unknown and value.startswith("$"))


def _postfix(instance: Instance) -> str:
    return f"{written(instance.version)} " if instance.version else ""


def _seconds(text: str) -> int:
    """A time of main.cf, such as 3600s or 1d; 0 for what is none."""
    match = _TIME.fullmatch(text.strip())
    return int(match[1]) * _UNITS[match[2]] if match else 0
