"""Commands that change one line of the daemon's configuration, by sed(1). Pure.

YAML has more forms than sed can change safely. A command is only made for a line that shows all of
what it changes; otherwise it is empty, and the finding has no command. No command adds or removes
a line, so that those of other findings still have the right numbers.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.admin.doctor.commands import then_run
from postfix_mta_sts.admin.doctor.snapshot import Place
from postfix_mta_sts.config.origins import Origins

_FIRST: Final = r"""[^\s,\[\]{}"'#&*!|>%@`]"""
"""With what a scalar without quotes begins."""
_VALUE: Final = rf"""\[[^\[\]{{}}#]*\]|"[^"\\]*"|'[^']*'|{_FIRST}[^\s,\[\]{{}}#]*"""
"""A value that ends in its line: a list of scalars, or a scalar without spaces or in quotes."""
_TEXT: Final = rf"{_FIRST}[^,\[\]{{}}#]*"
"""A scalar without quotes, with spaces."""
_END: Final = r"(?=\s*(?:[,}]|\s#|$))"


def places_of(text: str, file: str, environ: Mapping[str, str]) -> Mapping[str, Place]:
    """Return the place of each key that the text of a file sets, also of keys that are not valid.

    A key that a variable sets has none.
    """
    lines = ["", *text.split("\n")]
    found = Origins(text, file, environ).lines.items()
    return {key: Place(file, line, lines[line]) for key, line in found if line < len(lines)}


def with_value(place: Place | None, name: str, value: str, then: str) -> str:
    """Return the command that gives the key `name` another value, and then runs another one."""
    if place is None or not _stands_once(name, place):
        return ""
    found = re.search(rf"{_key(name)}\s+({_VALUE}){_END}", place.text)
    return _replaced(place, found[0], found[0][: -len(found[1])] + value, then) if found else ""


def renamed(place: Place | None, name: str, right: str, then: str) -> str:
    """Return the command that gives a key another name, and then runs another one."""
    if place is None or not _stands_once(name, place):
        return ""
    return _replaced(place, f"{name}:", f"{right}:", then)


def commented_out(place: Place | None, name: str, then: str) -> str:
    """Return the command that makes the line of a key a comment, and then runs another one.

    Empty if other keys stand there too, or if the value may go on in the next line.
    """
    alone = rf"\s*{re.escape(name)}:\s+(?:{_VALUE}|{_TEXT})\s*,?\s*(?:#.*)?"
    if place is None or not re.fullmatch(alone, place.text):
        return ""
    return _edited(place, "s/^/# /", then)


def _key(name: str) -> str:
    return rf"(?<![\w.\"'-]){re.escape(name)}:"


def _stands_once(name: str, place: Place) -> bool:
    """Whether sed finds the key, and nothing else, by its name."""
    found = re.findall(_key(name), place.text)
    return len(found) == place.text.count(f"{name}:") == 1 and place.text.isprintable()


def _replaced(place: Place, old: str, new: str, then: str) -> str:
    wanted = re.sub(r"([\\/.*\[^$])", r"\\\1", old)
    put = re.sub(r"([\\/&])", r"\\\1", new)
    return _edited(place, f"s/{wanted}/{put}/", then)


def _edited(place: Place, edit: str, then: str) -> str:
    return then_run(shlex.join(("sed", "-i", f"{place.line}{edit}", place.file)), then)
