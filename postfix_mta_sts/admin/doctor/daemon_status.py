"""The status of a daemon as far as it has the form that the rules expect. Pure.

A daemon of another version may say less, or something else; one that an attacker has taken over may
say anything, and root is to run commands that are made of it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlError
from postfix_mta_sts.values import Value, from_plain, to_json


class _Health(Value, frozen=True):
    """`answering` and `fleet`."""

    ok: bool
    reason: str | None = None


class _Trial(Value, frozen=True):
    """`trial`."""

    maps: dict[str, bool]
    other: bool


_SIZE_LIMIT: Final = 20_000
"""Bytes of a part as JSON: a report quotes some, and is for people."""
_LATEST: Final = 2.0**33
"""Epoch seconds: the year 2242."""
_FORMS: Final[Mapping[str, Any]] = {
    "answering": _Health,
    "config": str | None,
    "configured_at": float,
    "dane": dict[str, Any],
    "fleet": _Health | None,
    "listening": list[str],
    "not_working": list[str],
    "pid": int,
    "reasons": dict[str, str | None],
    "sandbox": dict[str, Any] | None,
    "started_at": float,
    "store_path": str,
    "trial": _Trial,
    "version": str,
}
"""What the rules look at, by the keys of `status --json`."""
_BOUNDS: Final[Mapping[str, Callable[[Any], bool]]] = {
    "configured_at": lambda at: 0 <= at < _LATEST,
    "pid": lambda pid: pid > 1,  # kill(2) takes others for all processes, or for a group
    "started_at": lambda at: 0 <= at < _LATEST,
    "store_path": str.isprintable,
}


def checked(status: object) -> Mapping[str, Any]:
    """Those parts of a status that have their form. Raises `ControlError` if it is no object."""
    if not isinstance(status, dict):
        raise ControlError("what answers at the control socket is not the daemon")
    return {key: status[key] for key in _FORMS if key in status and _fits(status[key], key)}


def _fits(value: object, key: str) -> bool:
    try:
        from_plain(value, _FORMS[key])
        is_short = len(to_json(value)) <= _SIZE_LIMIT
    except ValueError:
        return False
    return is_short and (key not in _BOUNDS or _BOUNDS[key](value))
