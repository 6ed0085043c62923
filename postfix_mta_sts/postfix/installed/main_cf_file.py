"""Read a main.cf of another machine, or what postconf(1) printed there; pure.

This is what `--main-cf FILE` looks at. A value with a condition (`${name?value}`), or with the name
of a parameter that the file does not have, cannot be known here. It is left as it is written.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.values import Value

VALUE_LIMIT: Final = 64 * 1024
"""Characters of a value with the values of other parameters in it."""
TOTAL_LIMIT: Final = 4 * 1024 * 1024
"""Characters of all such values together."""
DEPTH_LIMIT: Final = 20
"""Parameters that refer to each other in a chain."""

_DEFAULTS: Final[Mapping[str, str]] = {
    "config_directory": "/etc/postfix",
    "queue_directory": "/var/spool/postfix",
}
"""Parameters that other values refer to, and that few files have."""
_NAME: Final = r"[A-Za-z0-9_]+"
_REFERENCE = re.compile(
    rf"\$(?:(?P<dollar>\$)|(?P<bare>{_NAME})|\{{(?P<braced>{_NAME})\}}|\((?P<round>{_NAME})\))"
    r"|\$(?P<other>[{(]?)"
)
_ASSIGNMENT = re.compile(r"([^\s=]+)\s*=(.*)", re.DOTALL)
_SPACE: Final = " \t\v\f"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class MainCfFile(Value, frozen=True):
    """What a main.cf says."""

    parameters: Mapping[str, str] = {}
    """By name, without comments; references are replaced by the values that they mean."""
    unseen: Mapping[str, str] = {}
    """Parameters whose values are not known, each with the reason; printable."""
    problem: str = ""
    """The first line that Postfix refuses, and the reason; printable; empty: none."""


@dataclass(slots=True)
class Room:
    """How many more characters the values may have together."""

    left: int = TOTAL_LIMIT


class _UnknownError(Exception):
    """A value cannot be known; `str()` is the reason."""


def parse_main_cf(text: str) -> MainCfFile:
    """Read the text of a main.cf; what is wrong in it is left out. It raises nothing."""
    written, problem = read_assignments(text)
    values, unseen = expanded(written)
    return MainCfFile(values, unseen, problem)


def read_assignments(text: str) -> tuple[Mapping[str, str], str]:
    """The parameters as they are written, and `MainCfFile.problem`."""
    written: dict[str, str] = {}
    problem = ""
    for number, line in logical_lines(text):
        pair = assignment(line)
        if pair:
            written[pair[0]] = pair[1]
        elif not problem:
            problem = f"line {number}: not of the form name = value: {printable(line)}"
    return written, problem


def assignment(text: str) -> tuple[str, str] | None:
    """Name and value of `name = value`; None: it has another form."""
    match = _ASSIGNMENT.fullmatch(text)
    return (match[1], match[2].strip(_SPACE)) if match else None


def expanded(
    written: Mapping[str, str],
    others: Mapping[str, str] = _NOTHING,
    room: Room | None = None,
) -> tuple[Mapping[str, str], Mapping[str, str]]:
    """The values that are meant, and why some are not known.

    `others` may be referred to, too. Several calls may share a `room`.
    """
    values: dict[str, str] = {}
    unseen: dict[str, str] = {}
    expanding = _Expanding((written, others, _DEFAULTS), room or Room())
    for name, value in written.items():
        try:
            values[name] = expanding.value_of(name)
        except _UnknownError as error:
            values[name], unseen[printable(name)] = value, printable(str(error))
    return values, unseen


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a file with those that continue them, and the number of the first.

    A line that begins with space continues the one before it, also behind comments and empty lines
    (postconf(5)). Without one before it, Postfix leaves it out, with those that continue it.
    """
    parts: list[str] = []
    start = 0
    for number, line in enumerate(text.replace("\r", " ").split("\n"), start=1):
        bare = line.strip(_SPACE)
        if not bare or bare.startswith("#"):
            continue
        if line[0] in _SPACE:
            parts += [bare] if parts else []
            continue
        if parts:
            yield start, " ".join(parts)
        start, parts = number, [bare]
    if parts:
        yield start, " ".join(parts)


class _Expanding:
    """Puts the values of parameters into other values, each once."""

    def __init__(self, layers: tuple[Mapping[str, str], ...], room: Room) -> None:
        self._layers = layers  # the first that has a name counts; not copied for each service
        self._known: dict[str, str] = {}
        self._open: list[str] = []
        self._room = room

    def value_of(self, name: str) -> str:
        """The value that is meant; raises `_UnknownError`."""
        if name not in self._known:
            self._known[name] = self._expand(name)
        return self._known[name]

    def _expand(self, name: str) -> str:
        written = next((each[name] for each in self._layers if name in each), None)
        if written is None:
            raise _UnknownError(f"${name} is not in the file")
        if name in self._open or len(self._open) >= DEPTH_LIMIT:
            raise _UnknownError(f"${name} leads back to itself, or too far")
        self._open.append(name)
        try:
            return self._replaced(written)
        finally:
            self._open.pop()

    def _replaced(self, text: str) -> str:
        """The text with its references replaced."""
        parts: list[str] = []
        start = size = 0
        for match in _REFERENCE.finditer(text):
            parts += [text[start : match.start()], self._meant(match)]
            start = match.end()
            size += len(parts[-1]) + len(parts[-2])
            if size > VALUE_LIMIT:
                raise _UnknownError(f"the value has more than {VALUE_LIMIT} characters")
        self._room.left -= size + len(text) - start
        if self._room.left < 0:
            raise _UnknownError(f"all values have more than {TOTAL_LIMIT} characters together")
        return "".join([*parts, text[start:]])

    def _meant(self, match: re.Match[str]) -> str:
        """What stands for one `$`."""
        if match["dollar"]:
            return "$"
        if name := match["bare"] or match["braced"] or match["round"]:
            return self.value_of(name)
        if match["other"]:
            raise _UnknownError("it has a condition")
        return "$"
