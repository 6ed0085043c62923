"""The example configuration → postfix-mta-sts.yml(5)."""

import re
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.cli.man.roff import escaped, sentence

_SECTION: Final = re.compile(r"([a-z_]+):(?: +#.*)?")
_KEY: Final = re.compile(r"  (?P<key>[A-Za-z_]+): (?P<value>.*?)(?: +# (?P<text>.*))?")


def description(lines: list[str]) -> Iterator[str]:
    """Yield the comment at the top of the example, up to the first blank line."""
    head = lines[: lines.index("")]
    for number, line in enumerate(head):
        text = line.removeprefix("#").strip()
        yield escaped(sentence(text.partition(": ")[2]) if number == 0 else text) if text else ".PP"


def sections(lines: list[str]) -> Iterator[str]:
    """Yield each section: the comment before it, its keys, and its examples."""
    for before, name, inside in _blocks(lines):
        yield f".SS {escaped(name)}"
        yield from map(escaped, before)
        examples = []
        for line in inside:
            if key := _KEY.fullmatch(line):
                yield from _entry(name, **key.groupdict())
            else:
                examples.append(line)
        if examples:
            yield from (".PP", ".EX", f"{escaped(name)}:", *map(escaped, examples), ".EE")


def _blocks(lines: list[str]) -> Iterator[tuple[list[str], str, list[str]]]:
    """Yield the comment before each section, its name, and its lines."""
    for block in "\n".join(lines).split("\n\n")[1:]:
        rows = block.splitlines()
        at = next(n for n, row in enumerate(rows) if _SECTION.fullmatch(row))
        before = [row.removeprefix("#").strip() for row in rows[:at]]
        yield before, rows[at].partition(":")[0], rows[at + 1 :]


def _entry(section: str, key: str, value: str, text: str | None) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{escaped(section)}.{escaped(key)}\fR (default: {escaped(value)})"
    yield escaped(text or "")
