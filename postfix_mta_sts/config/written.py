"""Write settings as a configuration file writes them, each with where it comes from."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from postfix_mta_sts.config import dates
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.store_location import StoreLocation

_DURATIONS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SIZES: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_PLAIN: Final = re.compile(r"[A-Za-z0-9\[\]/._][A-Za-z0-9\[\]:/._%+-]*")
_SIZE_KEYS: Final = frozenset({"memory", "file_size"})


def lines(settings: object, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield each key, such as `listen[0].mode`, and its value as text."""
    names: tuple[str, ...] = getattr(settings, "__struct_fields__", ())
    if names:
        for name in names:
            yield from lines(getattr(settings, name), f"{where}.{name}" if where else name)
    elif isinstance(settings, Mapping):
        for name, value in settings.items():
            yield from lines(value, f"{where}.{name}")
    elif isinstance(settings, tuple) and settings and hasattr(settings[0], "__struct_fields__"):
        for i, value in enumerate(settings):
            yield from lines(value, f"{where}[{i}]")
    else:
        yield where, value_text(where, settings)


def value_text(key: str, value: object) -> str:  # noqa: PLR0911 (a return for each type)
    """Return a value in the notation of the file; a password in a URL is left out."""
    name = key.rpartition(".")[2]
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case float():
            return dates.until_text(value) if name == "until" else _duration(value)
        case int() if name == "mode":
            return f'"{value:04o}"'
        case int() if name in _SIZE_KEYS:
            return next((f"{value // n}{u}" for u, n in _SIZES if value % n == 0), str(value))
        case tuple():
            return f"[{', '.join(_item(str(item)) for item in value)}]"
        case TcpAddress() | UnixAddress() | StoreLocation() | Path():
            return str(value)
        case str() if name == "reason":
            return json.dumps(value, ensure_ascii=False)
        case str() if name == "proxy" and "@" in value:
            return f"http://...@{urlsplit(value).netloc.rpartition('@')[2]}"
    return str(value)


def _item(text: str) -> str:
    """Return a word of a list, in quotes if YAML reads something else without them."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text)


def _duration(seconds: float) -> str:
    """Return the duration in the largest unit in which it is a whole number."""
    found = (f"{seconds // n:g}{u}" for u, n in _DURATIONS if seconds and seconds % n == 0)
    return next(found, f"{seconds:g}s")
