"""Write settings as a configuration file writes them, each with where it comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from postfix_mta_sts.config.address import TcpAddress, UnixAddress

_DURATIONS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))
_SIZES: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
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
            return _duration(value)
        case int() if name == "mode":
            return f'"{value:04o}"'
        case int() if name in _SIZE_KEYS:
            return next((f"{value // n}{u}" for u, n in _SIZES if value % n == 0), str(value))
        case tuple():
            return f"[{', '.join(str(item) for item in value)}]"
        case TcpAddress() | UnixAddress() | Path():
            return str(value)
        case str() if name == "proxy" and "@" in value:
            return f"http://...@{urlsplit(value).netloc.rpartition('@')[2]}"
    return str(value)


def _duration(seconds: float) -> str:
    """Return the duration in the largest unit in which it is a whole number."""
    found = (f"{seconds // n:g}{u}" for u, n in _DURATIONS if seconds and seconds % n == 0)
    return next(found, f"{seconds:g}s")
