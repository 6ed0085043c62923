"""The libraries that talk to a shared store: each is an extra of this package."""

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from postfix_mta_sts.config.store_location import EngineName


class _Extra(NamedTuple):
    """A library, the extra that installs it, and its oldest version."""

    library: str
    name: str
    oldest: tuple[int, int]


_EXTRAS: Final[Mapping[EngineName, _Extra]] = {
    EngineName.REDIS: _Extra("redis", "valkey", (8, 0)),
    EngineName.POSTGRESQL: _Extra("asyncpg", "postgresql", (0, 30)),
}


def missing_extra(engine: EngineName, version: Callable[[str], str] | None = None) -> str:
    """Say what to install before this engine can be used; empty: nothing.

    `version` returns the version of a library; it is replaced in tests.
    """
    from importlib import metadata  # noqa: PLC0415 (20 ms, which a start without a fleet saves)

    library, name, oldest = _EXTRAS[engine]
    advice = f"install it: pip install 'postfix-mta-sts[{name}]'"
    try:
        found = (version or metadata.version)(library)
    except metadata.PackageNotFoundError:
        return f"the library {library} is missing; {advice}"
    numbers = tuple(map(int, re.findall(r"[0-9]{1,9}", found)[:2]))
    if numbers < oldest:
        least = ".".join(map(str, oldest))
        return f"the library {library} has version {found}, and {least} is needed; {advice}"
    return ""
