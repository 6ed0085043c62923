"""The man pages: `python contrib/man/pages.py FOLDER` writes both into FOLDER (`make man`).

Border: what stands in them is said elsewhere, so that it cannot go stale: (1) is made of the
command line's own parser, (5) of the comments in config.example.yml. The frames beside this file
are written by hand, in man(7).
"""  # noqa: INP001 (a script, not part of a package)

import argparse
import os
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.main import build_parser

HERE: Final = Path(__file__).parent
EXAMPLE: Final = HERE.parents[1] / "config.example.yml"

_SECTION = re.compile(r"([a-z_]+):(?: +#.*)?")
_KEY = re.compile(r"  (?P<key>[A-Za-z_]+): (?P<value>.*?)(?: +# (?P<text>.*))?")

_ESCAPES: Final = {
    "\\": "\\e",
    "-": "\\-",
    "`": "\\(ga",
    "'": "\\(aq",
    "^": "\\(ha",
    "~": "\\(ti",
}


def main(folder: Path) -> None:
    """Write both pages."""
    folder.mkdir(parents=True, exist_ok=True)
    parser = build_parser()
    lines = EXAMPLE.read_text("utf-8").splitlines()
    # https://reproducible-builds.org/specs/source-date-epoch/
    when = time.gmtime(int(os.environ.get("SOURCE_DATE_EPOCH", time.time())))
    common = {"DATE": time.strftime("%Y-%m-%d", when), "VERSION": __version__}
    for name, parts in (
        ("postfix-mta-sts.1", {"SYNOPSIS": synopsis(parser), "COMMANDS": commands(parser)}),
        ("postfix-mta-sts.yml.5", {"DESCRIPTION": description(lines), "SECTIONS": sections(lines)}),
    ):
        frame = (HERE / f"{name}.in").read_text("utf-8")
        (folder / name).write_text(_filled(frame, {**common, **parts}), "utf-8")


def _filled(frame: str, parts: Mapping[str, str | Iterable[str]]) -> str:
    for name, part in parts.items():
        frame = frame.replace(f"@{name}@", part if isinstance(part, str) else "\n".join(part))
    return frame


# From here on: the parser → (1).


def synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    """A line for each command."""
    first, *others = (_usage(command) for command, _ in _commands(parser))
    yield first
    for usage in others:
        yield from (".br", usage)


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Each command, what it does, and its arguments."""
    for command, text in _commands(parser):
        yield from (".SS " + roff(command.prog.partition(" ")[2]), _usage(command), ".PP")
        yield roff(sentence(text))
        for action in _arguments(command):
            yield from (".TP", _name(action), roff(sentence(_help(action))))


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """All commands, those under one more word too, and the help of each."""
    for action in parser._actions:  # noqa: SLF001 (argparse shows its parts in no other way)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001 (the same)
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001 (the same)
            for name, command in action.choices.items():
                inner = list(_commands(command))
                yield from inner or [(command, texts[name])]


def _arguments(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:  # noqa: SLF001 (the same)
        if not isinstance(action, argparse._HelpAction):  # noqa: SLF001 (the same)
            yield action


def _usage(parser: argparse.ArgumentParser) -> str:
    words = [rf"\fB{roff(parser.prog)}\fR"]
    for action in sorted(_arguments(parser), key=lambda action: not action.option_strings):
        word = _name(action, last=True)
        optional = (action.option_strings and not action.required) or action.nargs in ("?", "*")
        words.append(f"[{word}]" if optional else word)
    return " ".join(words)


def _name(action: argparse.Action, *, last: bool = False) -> str:
    """How an argument is written; with `last`, by the last of its names only."""
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    written = rf"\fI{roff(str(value))}\fR"
    if not action.option_strings:
        return written
    names = action.option_strings[-1:] if last else action.option_strings
    bold = ", ".join(rf"\fB{roff(name)}\fR" for name in names)
    return bold if action.nargs == 0 else f"{bold} {written}"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "postfix-mta-sts"}


# From here on: the example configuration → (5).


def description(lines: list[str]) -> Iterator[str]:
    """What the example says of itself, up to its first blank line."""
    head = lines[: lines.index("")]
    for number, line in enumerate(head):
        text = line.removeprefix("#").strip()
        yield roff(sentence(text.partition(": ")[2]) if number == 0 else text) if text else ".PP"


def sections(lines: list[str]) -> Iterator[str]:
    """Each section: what is said before it, its keys, and what is only shown."""
    for before, name, inside in _blocks(lines):
        yield f".SS {roff(name)}"
        yield from map(roff, before)
        shown = []
        for line in inside:
            if key := _KEY.fullmatch(line):
                yield from _entry(name, **key.groupdict())
            else:
                shown.append(line)
        if shown:
            yield from (".PP", ".EX", f"{roff(name)}:", *map(roff, shown), ".EE")


def _blocks(lines: list[str]) -> Iterator[tuple[list[str], str, list[str]]]:
    """Comments before a section, its name, and its lines."""
    for block in "\n".join(lines).split("\n\n")[1:]:
        rows = block.splitlines()
        at = next(n for n, row in enumerate(rows) if _SECTION.fullmatch(row))
        before = [row.removeprefix("#").strip() for row in rows[:at]]
        yield before, rows[at].partition(":")[0], rows[at + 1 :]


def _entry(section: str, key: str, value: str, text: str | None) -> Iterator[str]:
    yield ".TP"
    yield rf"\fB{roff(section)}.{roff(key)}\fR (default: {roff(value)})"
    yield roff(text or "")


def sentence(text: str) -> str:
    """Words of help as a sentence; a first word that is code stays as it is."""
    begun = text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
    return begun if not begun or begun.endswith(".") else f"{begun}."


def roff(text: str) -> str:
    """The text as it stands, in roff (groff_char(7))."""
    escaped = "".join(_ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
