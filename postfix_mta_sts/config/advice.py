"""Guess what was meant by a key or a value that is refused, to say what to write instead.

Each guess is one of the mistakes that people make in configuration files. A value is proposed only
if it would be accepted, so a guess that is wrong for this key is never shown.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

_SWITCHES: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("yes", "y", "on", "1", "enabled", "enable", "t"), True),
    **dict.fromkeys(("no", "n", "off", "0", "disabled", "disable", "f"), False),
}
_WORDS: Final[Mapping[str, str]] = {
    "warn": "warning", "err": "error", "critical": "error", "verbose": "debug", "notice": "info",
    "yes": "on", "true": "on", "no": "off", "false": "off",
    "accept": "deliver", "dunno": "deliver", "temp": "defer", "tempfail": "defer",
    "reject": "defer", "plain": "text", "sts": "mta_sts", "mta-sts": "mta_sts", "danes": "dane",
}  # fmt: skip
_UNITS: Final[Mapping[str, str]] = {
    "sec": "s", "secs": "s", "second": "s", "seconds": "s",
    "min": "m", "mins": "m", "minute": "m", "minutes": "m",
    "hr": "h", "hrs": "h", "hour": "h", "hours": "h", "day": "d", "days": "d",
    "kb": "KiB", "k": "KiB", "kib": "KiB", "mb": "MiB", "m": "MiB", "mib": "MiB",
    "gb": "GiB", "g": "GiB", "gib": "GiB", "b": "", "bytes": "",
}  # fmt: skip
_SECONDS: Final[Mapping[str, int]] = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PERMISSIONS: Final = re.compile(r"-?((?:[r-][w-][x-]){3})")


def replacement(value: object, read: Callable[[object], object]) -> str:
    """Return `; write …` for the first guess that `read` accepts; else the empty text.

    `read` raises an error for a value that is not accepted.
    """
    if isinstance(value, tuple) and len(value) == 1:
        return replacement(value[0].value, read) or _proposed(value[0].value, read)
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    for guess in _guesses(text) if text and "@" not in text else ():  # a password may be before @
        if str(guess) != str(value) and (found := _proposed(guess, read)):
            return found
    return ""


def meant(key: str, names: Sequence[str], below: Mapping[str, Sequence[str]]) -> str:
    """Return `, perhaps …` for a key that is nearly one of `names`, or belongs into a section.

    `below`: the keys of each section.
    """
    folded = key.strip().lower().replace("-", "_")
    if ":" in folded:
        return ", write a space after the colon"
    if elsewhere := [f"{section}.{folded}" for section, keys in below.items() if folded in keys]:
        return f", perhaps {' or '.join(elsewhere)}"
    if near := get_close_matches(folded, names, 1, 0.6):
        return f", perhaps {near[0]}"
    every = [f"{section}.{each}" for section, keys in below.items() for each in keys]
    near = get_close_matches(folded, [name.partition(".")[2] for name in every], 1, 0.8)
    found = next((name for name in every if near and name.endswith(f".{near[0]}")), "")
    return f", perhaps {found}" if found else ""


def _proposed(guess: object, read: Callable[[object], object]) -> str:
    try:
        read(guess)
    except Exception:  # noqa: BLE001 (any error means that it is not what was meant)
        return ""
    shown = str(guess).lower() if isinstance(guess, bool) else str(guess)
    return f"; write {shown}"


def _guesses(text: str) -> Iterator[object]:
    lower = text.lower()
    if lower in _SWITCHES:
        yield _SWITCHES[lower]
    yield from (text, lower, lower.replace("-", "_"), lower.replace("_", "-"))
    if lower in _WORDS:
        yield _WORDS[lower]
    yield from _quantities(lower)
    yield from _addresses(text)
    if letters := _PERMISSIONS.fullmatch(text):
        bits = "".join("0" if letter == "-" else "1" for letter in letters[1])
        yield f'"{int(bits, 2):04o}"'.strip('"')
    if octal := re.fullmatch(r"0[oO]?([0-7]{3,4})", text):
        yield f"0{octal[1][-3:]}"


def _quantities(lower: str) -> Iterator[object]:
    if match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]+)", lower):
        number, unit = match.groups()
        if unit == "ms":
            yield f"{float(number) / 1000:g}s"
        yield f"{number}{_UNITS.get(unit, unit)}"
        if unit in {"gb", "gib", "g", "mb", "mib", "m"}:  # 1.5GiB
            yield f"{float(number) * 1024:g}{'MiB' if unit[0] == 'g' else 'KiB'}"
    parts = re.findall(r"([0-9]+)\s*([smhdw])", lower)
    if parts and re.fullmatch(r"(?:[0-9]+\s*[smhdw]\s*)+", lower):  # 1h30m, 1w
        yield f"{sum(int(number) * _SECONDS[unit] for number, unit in parts)}s"


def _addresses(text: str) -> Iterator[str]:
    bare = re.sub(r"^(?:inet|tcp|socketmap|http|https):(?://)?", "", text).rstrip("/")
    yield bare
    if text.startswith("/"):
        yield f"unix:{text}"
    yield re.sub(r"^(?:local|unix):(?://)?/*", "unix:/", text)
    if bare.isdigit():
        yield f"127.0.0.1:{bare}"
    if match := re.fullmatch(r"(\*?):([0-9]+)", bare):
        every = "0.0.0.0"  # noqa: S104 (what `*` stands for)
        yield f"{every if match[1] else '127.0.0.1'}:{match[2]}"
    host, _, port = bare.rpartition(":")
    yield f"[{host}]:{port}"
    yield bare.strip("[]")  # a name server without a port
    yield f"{bare}:8461"
    if match := re.fullmatch(r"([0-9.]+|\[[0-9a-fA-F:]+\])[.#]([0-9]+)", bare):
        yield f"{match[1]}:{match[2]}"
    if "://" not in text:
        yield f"http://{text}"
