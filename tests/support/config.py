"""Helpers for tests of the configuration: all its keys, and the error text of a bad one."""

from typing import get_args, get_origin

import pytest
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts.config.settings import ConfigError, parse


def refused(text: str) -> str:
    """Return the error text for a configuration that is not valid."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml")
    return str(caught.value)


def keys(kind: object) -> set[str]:
    """Return every key that a configuration can have."""
    if isinstance(kind, type) and issubclass(kind, Struct):
        return {f.name for f in fields(kind)} | set[str]().union(
            *(keys(f.type) for f in fields(kind))
        )
    return set[str]().union(*map(keys, get_args(kind))) if get_origin(kind) else set()
