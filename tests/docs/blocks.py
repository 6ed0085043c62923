"""The blocks of commands in all pages, and the comment before each that says what runs it.

<!-- run: STAGE -->         tests/e2e/test_readme.py runs it, in the order of `STAGES`
<!-- run by: FILE -->       the test in this file runs these commands
<!-- same as: FILE -->      the same block is in this file, and has a comment there
<!-- not run: REASON -->    nothing runs it
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from textwrap import dedent
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_OTHERS: Final = ("CONTRIBUTING.md", "SECURITY.md", "bench/README.md")
PAGES: Final = [
    ROOT / "README.md",
    *sorted(ROOT.glob("docs/**/*.md")),
    *(ROOT / name for name in _OTHERS),
    *sorted(ROOT.glob("tests/*/README.md")),
    *sorted(ROOT.glob("contrib/**/*.md")),
]

STAGES: Final = (
    "try",
    "install",
    "configure",
    "postfix",
    "postfix 3.4",
    "postfix 3.10",
    "check",
    "docs",
    "log",
    "from the resolver",
    "from tlspol",
    "chroot",
    "exception",
    "take out",
    "remove",
    "remove all",
)
"""The stages of the life of an installation, each with the blocks of README.md first. Of the two
that name a version of Postfix, a machine takes one."""
PROGRAMS: Final = frozenset(
    (
        "ansible",
        "ansible-playbook",
        "apt",
        "apt-get",
        "awk",
        "buildah",
        "cat",
        "contrib/debian/build",
        "curl",
        "docker",
        "echo",
        "exim4",
        "grep",
        "install",
        "journalctl",
        "ln",
        "m4",
        "make",
        "mkdir",
        "openssl",
        "pip",
        "pipx",
        "podman",
        "postconf",
        "postfix",
        "postfix-mta-sts",
        "postfix-tlspol",
        "postmap",
        "postqueue",
        "postsuper",
        "printf",
        "pytest",
        "python",
        "python3",
        "rm",
        "sed",
        "sendmail",
        "sha256sum",
        "ss",
        "ssh-keygen",
        "sudo",
        "systemctl",
        "systemd-sysusers",
        "uv",
        "update-exim4.conf",
    )
)
"""Words with which a line of commands begins."""
_MARK: Final = re.compile(r"<!-- (run|run by|same as|not run): (.+) -->")


@dataclass(frozen=True, slots=True)
class Block:
    """A block of commands."""

    page: str
    line: int
    """Of its first command, counted from 1."""
    text: str
    kind: str
    """`run`, `run by`, `same as` or `not run`; empty without a comment."""
    value: str
    """What the comment says after the colon."""


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of commands of a page."""
    yield from parse(page.read_text("utf-8"), str(page.relative_to(ROOT)))


def parse(text: str, page: str) -> Iterator[Block]:
    """Yield the blocks of commands in the text of a page."""
    kind = value = ""
    for number, lines in _chunks(text):
        if mark := _MARK.fullmatch(lines[0].strip()):
            kind, value = mark.groups()
            continue
        commands = _commands(lines)
        if any(_is_command(line) for line in commands.splitlines()):
            yield Block(page, number, commands, kind, value)
        kind = value = ""


def _is_command(line: str) -> bool:
    program, _, arguments = line.partition(" ")
    return program in PROGRAMS and bool(arguments)


def _chunks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the groups of lines between blank lines, and the number of the first line of each."""
    numbered = enumerate(text.splitlines(), 1)
    for is_blank, group in groupby(numbered, lambda each: not each[1].strip()):
        if not is_blank:
            lines = list(group)
            yield lines[0][0], [line for _, line in lines]


def _commands(lines: list[str]) -> str:
    """Return the text of an indented or fenced block; empty if the lines are no such block."""
    if lines[0].strip().startswith("```"):
        lines = lines[1:-1]
    elif not all(line.startswith("    ") for line in lines):
        return ""
    return dedent("\n".join(lines)) + "\n"
