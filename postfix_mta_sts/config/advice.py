"""Guess what was meant by a key or a value that is refused, to say what to write instead.

Each guess is one of the mistakes that people make in configuration files. A value is proposed only
if it would be accepted, so a guess that is wrong for this key is never shown.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from postfix_mta_sts.config import dates

_SWITCHES: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("yes", "y", "on", "1", "enabled", "enable", "t"), True),
    **dict.fromkeys(("no", "n", "off", "0", "disabled", "disable", "f"), False),
}
_WORDS: Final[Mapping[str, str]] = {
    "warn": "warning", "err": "error", "critical": "error", "verbose": "debug", "notice": "info",
    "trace": "debug", "fatal": "error", "information": "info",
    "yes": "on", "true": "on", "no": "off", "false": "off",
    "enabled": "on", "enable": "on", "disabled": "off", "disable": "off",
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
_NOTHING: Final = frozenset({"none", "nil", "no", "off", "false", "disabled", "-"})
_TIMES: Final[Mapping[str, int]] = {"": 1, "k": 1_000, "m": 1_000_000}
_AROUND: Final = "\"'`\u201c\u201d\u201e\u2018\u2019\xab\xbb,;"
"""Characters that come with a value that was copied from a text or another format."""
_LIMIT: Final = 200
"""Characters of what is guessed at: regular expressions need too long for more."""
_PERMISSIONS: Final = re.compile(r"-?((?:[r-][w-][x-]){3})")


def replacement(value: object, read: Callable[[object], object]) -> str:
    """Return `; write …` for the first guess that `read` accepts; else the empty text.

    `read` raises an error for a value that is not accepted.
    """
    if isinstance(value, tuple) and len(value) == 1:
        [item] = value
        return _proposed(item.value, read) or replacement(item.value, read)
    if isinstance(value, str) and re.search(r"\S - \S", value):
        return "; check the indentation of the list"
    text = _as_text(value)
    if _are_several(text, read):
        return "; write an item for each of them"
    guesses = (guess for guess in _guesses(text) if repr(guess) != repr(value))
    return next((found for guess in guesses if (found := _proposed(guess, read))), "")


def _are_several(text: str, read: Callable[[object], object]) -> bool:
    parts = [part.strip() for part in text.split(",")]
    return len(parts) > 1 and all(_proposed(part, read) for part in parts)


def accepted(value: object, read: Callable[[object], object]) -> str | None:
    """Return a scalar as it is to be written where `read` reads it; None if it is not accepted."""
    hint = _proposed(value, read) or replacement(value, read)
    return hint.removeprefix("; write ") if hint.startswith("; write ") else None


def as_pair(text: str, names: Sequence[str]) -> str:
    """Return `; write key: value` for a text such as `level info`, `level:info`, `level=info`."""
    match = re.match(r"([A-Za-z_-]+)\s*[:=\s]\s*(\S+)", text[:_LIMIT])
    if match and match[1].lower() in names and "@" not in text:
        return f"; write {match[1].lower()}: {match[2]}"
    return ""


def _as_text(value: object) -> str:
    text = str(value).strip() if isinstance(value, str | int | float) else ""
    is_hidden = "@" in text  # a password may be before it
    return "" if is_hidden or len(text) > _LIMIT else text


def meant(
    key: str, names: Sequence[str], below: Mapping[str, Sequence[str]], *, is_variable: bool
) -> str:
    """Return `, perhaps …` for a key that is nearly one of `names`, or belongs into a section.

    `below`: the keys of each section. `is_variable`: the key is from the name of a variable.
    """
    folded = key[:_LIMIT].strip().lower().replace("-", "_")
    if strange := next((c for c in key if not c.isascii()), ""):
        return f", it contains the character U+{ord(strange):04X}; type it again"
    every = [f"{section}.{each}" for section, keys in below.items() for each in keys]
    if found := next(
        (n for n in every if folded in {n, re.sub(r"\.", "_", n), n.replace(".", "")}), ""
    ):
        section, _, name = found.partition(".")
        hint = f"{section.upper()}__{name.upper()}, with two underscores" if is_variable else ""
        return f", perhaps {found}; write {hint or f'{name} below {section}'}"
    if ":" in folded:
        return ", write a space after the colon"
    if elsewhere := [f"{section}.{folded}" for section, keys in below.items() if folded in keys]:
        return f", perhaps {' or '.join(elsewhere)}"
    if near := get_close_matches(folded, names, 1, 0.6):
        return f", perhaps {near[0]}"
    near = get_close_matches(folded, [name.partition(".")[2] for name in every], 1, 0.8)
    found = next((name for name in every if near and name.endswith(f".{near[0]}")), "")
    return f", perhaps {found}" if found else ""


def _proposed(guess: object, read: Callable[[object], object]) -> str:
    if isinstance(guess, tuple | Mapping) or "@" in str(guess):  # a password may be before it
        return ""
    try:
        read(guess)
    except Exception:  # noqa: BLE001 (any error means that it is not what was meant)
        return ""
    shown = "null" if guess is None else str(guess)
    shown = shown.lower() if isinstance(guess, bool) else shown
    return f"; write {shown}" if shown.isprintable() else ""


def _guesses(text: str) -> Iterator[object]:
    lower = text.lower()
    if not text:
        return
    if lower in _SWITCHES:
        yield _SWITCHES[lower]
    if lower in _WORDS:
        yield _WORDS[lower]
    if lower in _NOTHING:
        yield None
    yield text.strip(_AROUND)
    if not re.fullmatch(r"[-+]?[0-9]+", text):
        yield from (text, lower, lower.replace("-", "_"), lower.replace("_", "-"))
    yield from _quantities(lower)
    yield from _numbers(lower)
    yield from _addresses(text) if lower not in _NOTHING | _SWITCHES.keys() else ()
    if letters := _PERMISSIONS.fullmatch(text):
        bits = "".join("0" if letter == "-" else "1" for letter in letters[1])
        yield f"{int(bits, 2):04o}"
    if octal := re.fullmatch(r"0[oO]?([0-7]{3,4})", text):
        yield f"0{octal[1][-3:]}"
    yield text.partition("#")[0].strip(_AROUND + " ") or None


def _numbers(lower: str) -> Iterator[int]:
    """Whole numbers as people write them: `"200"`, `100_000`, `100k`, `1e5`."""
    if match := re.fullmatch(r"([0-9]{1,12})([km]?)", lower.replace("_", "")):
        yield int(match[1]) * _TIMES[match[2]]
    if match := re.fullmatch(r"([0-9]{1,9})(?:\.0+)?(?:e\+?([0-9]))?", lower):
        yield int(match[1]) * 10 ** int(match[2] or 0)


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
        yield f"{sum(int(number) * dates.UNITS[unit] for number, unit in parts)}s"


def _addresses(text: str) -> Iterator[str]:
    bare = re.sub(r"^(?:(?:inet|tcp|socketmap|http|https):(?://)?)*", "", text).rstrip("/")
    yield bare
    yield bare.strip("[]")  # a name server
    if text.startswith("/"):
        yield f"unix:{text}"
    yield re.sub(r"^(?:local|unix):(?://)?/*", "unix:/", text)
    if port := re.fullmatch(r"([0-9]+)(?:[:/]tcp)?", bare):
        yield f"127.0.0.1:{port[1]}"
    if match := re.fullmatch(r"(\*?):([0-9]+)", bare):
        every = "0.0.0.0"  # noqa: S104 (what `*` stands for)
        yield f"{every if match[1] else '127.0.0.1'}:{match[2]}"
    if match := re.fullmatch(r"(.+:[0-9]+):[A-Za-z]\w*|(\S+) +([0-9]+)", bare):
        yield match[1] or f"{match[2]}:{match[3]}"  # the map name of main.cf; a blank
    host, _, port_text = bare.rpartition(":")
    yield f"[{host}]:{port_text}"
    yield bare.strip("[]")  # a name server without a port
    yield f"{bare}:8461"
    yield f"[{bare}]:8461"
    if match := re.fullmatch(r"([0-9.]+|\[[0-9a-fA-F:]+\])[.#]([0-9]+)", bare):
        yield f"{match[1]}:{match[2]}"
    if "://" not in text:
        yield f"http://{text}"
