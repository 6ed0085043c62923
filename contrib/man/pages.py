"""Write the man pages: `python contrib/man/pages.py FOLDER`, or `make man`.

The commands in postfix-mta-sts(1) come from the parser of the command line, and the sections in
postfix-mta-sts.yml(5) from the comments in config.example.yml, so that they cannot go stale. The
templates beside this file are written by hand, in man(7).
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
        template = (HERE / f"{name}.in").read_text("utf-8")
        (folder / name).write_text(_fill(template, {**common, **parts}), "utf-8")


def _fill(template: str, parts: Mapping[str, str | Iterable[str]]) -> str:
    for name, part in parts.items():
        template = template.replace(f"@{name}@", part if isinstance(part, str) else "\n".join(part))
    return template


# The parser of the command line → postfix-mta-sts(1).


def synopsis(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield a line for each command."""
    first, *others = (_usage(command) for command, _ in _commands(parser))
    yield first
    for usage in others:
        yield from (".br", usage)


def commands(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield each command with its description and its arguments."""
    for command, text in _commands(parser):
        yield from (".SS " + roff(command.prog.partition(" ")[2]), _usage(command), ".PP")
        yield roff(sentence(text))
        for action in _arguments(command):
            yield from (".TP", _name(action), roff(sentence(_help(action))))


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[argparse.ArgumentParser, str]]:
    """Yield all commands, including those of a group, with the help text of each."""
    for action in parser._actions:  # noqa: SLF001 (argparse has no public name for it)
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
    """Write an argument with all its names, or with the last one only."""
    value = action.metavar or ("|".join(action.choices) if action.choices else action.dest.upper())
    written = rf"\fI{roff(str(value))}\fR"
    if action.option_strings and action.nargs == "?":
        written = f"[{written}]"
    if not action.option_strings:
        return written
    names = action.option_strings[-1:] if last else action.option_strings
    bold = ", ".join(rf"\fB{roff(name)}\fR" for name in names)
    return bold if action.nargs == 0 else f"{bold} {written}"


def _help(action: argparse.Action) -> str:
    return (action.help or "") % {**vars(action), "prog": "postfix-mta-sts"}


# The example configuration → postfix-mta-sts.yml(5).


def description(lines: list[str]) -> Iterator[str]:
    """Yield the comment at the top of the example, up to the first blank line."""
    head = lines[: lines.index("")]
    for number, line in enumerate(head):
        text = line.removeprefix("#").strip()
        yield roff(sentence(text.partition(": ")[2]) if number == 0 else text) if text else ".PP"


def sections(lines: list[str]) -> Iterator[str]:
    """Yield each section: the comment before it, its keys, and its examples."""
    for before, name, inside in _blocks(lines):
        yield f".SS {roff(name)}"
        yield from map(roff, before)
        examples = []
        for line in inside:
            if key := _KEY.fullmatch(line):
                yield from _entry(name, **key.groupdict())
            else:
                examples.append(line)
        if examples:
            yield from (".PP", ".EX", f"{roff(name)}:", *map(roff, examples), ".EE")


def _blocks(lines: list[str]) -> Iterator[tuple[list[str], str, list[str]]]:
    """Yield the comment before each section, its name, and its lines."""
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
    """Write a help text as a sentence; a first word that is code stays unchanged."""
    capitalized = text[0].upper() + text[1:] if re.match(r"[a-z]+ ", text) else text
    return capitalized if not text or text.endswith(".") else f"{capitalized}."


def roff(text: str) -> str:
    """Escape a text for roff (groff_char(7))."""
    escaped = "".join(_ESCAPES.get(c, c if c.isascii() else f"\\[u{ord(c):04X}]") for c in text)
    return f"\\&{escaped}" if escaped.startswith(".") else escaped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
