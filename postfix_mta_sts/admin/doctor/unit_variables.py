"""What systemd gives to the daemon, so that `doctor` has its configuration: variables, a file.

`Environment=` of the unit, and the files of `EnvironmentFile=`, which win; what
`UnsetEnvironment=` names is taken away last (systemd.exec(5)). Only variables of the daemon count.
Nothing is raised: what could not be read is said.
"""

import asyncio
import glob
import os
import re
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.diagnosis.unjoined import in_thread
from postfix_mta_sts.admin.doctor.collect_system import SYSTEMCTL, UNITS
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import AS_ROOT
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem
from postfix_mta_sts.config import config_file
from postfix_mta_sts.config.environment import PREFIX
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.programs import MissingProgramError, ProgramError, run

TIMEOUT: Final = 0.5
"""Seconds for the answer of systemctl(1)."""
FILES_TIMEOUT: Final = 0.5
"""Seconds for the files: a disk of the network may hang."""

_PROPERTIES: Final = "Environment,EnvironmentFiles,UnsetEnvironment,ExecStart,WorkingDirectory"
_FILES_LIMIT: Final = 20
_QUOTED = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_CONTROLS: Final = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_ARGUMENTS = re.compile(r"\sargv\[\]=([^;]*)")
_VARIABLE = re.compile(r"\$\{(\w+)\}|(?<= )\$(\w+)(?= )")
"""In a command line (systemd.service(5))."""
_CONFIG = re.compile(r".* --config[= ](\S.*)", re.DOTALL)
_WORKING_DIRECTORY = re.compile(r"^WorkingDirectory=(!?)(.+)$", re.MULTILINE)
"""The mark is that of `-`: the folder need not be there, and then it is the root folder."""
_FILE = re.compile(r"(.*) \(ignore_errors=(yes|no)\)")
_SPACE: Final = " \t\r"
_HIDDEN_IN_QUOTES: Final = '"\\`$\n'
# Of a file, as systemd 252 and 257 read it: a value begins with parts in quotes; what follows has
# none, and keeps those in it. A backslash hides what follows it, also the end of a line.
_PART = re.compile(r""" "((?:\\.|[^"\\])*)(?:"|\Z) | '([^']*)(?:'|\Z) """, re.DOTALL | re.VERBOSE)
_ENTRY = re.compile(
    r"""
    ^[ \t]* ([^\s=\#;][^=\n]*) = [ \t]*
    ((?: (?:"(?:\\.|[^"\\])*(?:"|\Z) | '[^']*(?:'|\Z)) [ \t]* )*)
    ((?: \\. | [^\n\\] )*)
    """,
    re.DOTALL | re.MULTILINE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class UnitVariables:
    """What the unit adds to the environment."""

    variables: Mapping[str, str] = field(default_factory=dict)
    config: Path | None = None
    """The file of `serve --config`; None: the usual one."""
    unseen: tuple[Unseen, ...] = ()
    problems: tuple[ConfigProblem, ...] = ()
    """Files that systemd needs and does not find: it does not start the daemon."""


async def read_unit_variables(command: Sequence[str] = SYSTEMCTL) -> UnitVariables:
    """Ask systemctl(1), and read the files that it names; without a unit there is nothing."""
    words = [*command, "show", "--property", _PROPERTIES, UNITS[0]]
    try:
        output = await run(words, timeout=TIMEOUT)
    except MissingProgramError:  # `collect_system` says so
        return UnitVariables()
    except ProgramError as error:
        return UnitVariables(unseen=(Unseen("the variables of the unit", printable(str(error))),))
    if output.code:
        return UnitVariables()
    try:
        async with asyncio.timeout(FILES_TIMEOUT):
            return await in_thread(partial(read_variables, output.text))
    except TimeoutError:
        reason = f"these took more than {FILES_TIMEOUT:g} s"
        unseen = Unseen("the files of the unit's variables", reason)
        return replace(read_variables(output.text, with_files=False), unseen=(unseen,))


def read_variables(text: str, *, with_files: bool = True) -> UnitVariables:
    """Read the output of `systemctl show`, and the files that it names."""
    variables: dict[str, str] = {}
    unseen: list[Unseen] = []
    problems: list[ConfigProblem] = []
    for name, _, value in (line.partition("=") for line in text.split("\n")):
        if name == "Environment":
            variables |= _assignments(value)
        elif name != "EnvironmentFiles" or not with_files:
            continue
        elif match := _FILE.fullmatch(value):
            found = _read_files(match[1], is_needed=match[2] == "no")
            variables |= found.variables
            unseen += found.unseen
            problems += found.problems
    variables = _without_unset(text, variables)
    own = {name: value for name, value in variables.items() if name.startswith(PREFIX)}
    config, reason = _config(text, variables, with_files=with_files)
    if reason:
        unseen.append(Unseen("the file that the unit names", f"{reason}; use --config"))
    return UnitVariables(own, config, tuple(unseen), tuple(problems))


def parse_file(text: str) -> dict[str, str]:
    """The variables of a file for `EnvironmentFile=`."""
    found = _ENTRY.finditer(text)
    return {match[1].rstrip(_SPACE): _value(match[2], match[3]) for match in found}


def _without_unset(text: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Leave out what `UnsetEnvironment=` has: a name, or a name with this very value."""
    lines = (line.partition("=") for line in text.split("\n"))
    unset = {
        word for name, _, value in lines if name == "UnsetEnvironment" for word in _words(value)
    }
    return {
        name: value for name, value in variables.items() if not unset & {name, f"{name}={value}"}
    }


def _config(
    text: str, variables: Mapping[str, str], *, with_files: bool
) -> tuple[Path | None, str]:
    """The file of `serve --config`, and why it is not known; neither: none is named.

    systemctl prints the arguments without quotes: a path with spaces looks like several words.
    """
    config = _CONFIG.match(_command_line(text, variables))
    if not config:
        return None, ""
    words = config[1].rstrip().split(" ")
    first, *more = words
    folder = _folder(text, with_files=with_files)
    if "$" in first:
        return None, f"{printable(first)} has a variable that the unit does not set"
    if folder is None and not first.startswith("/"):
        return None, f"{printable(first)} is in the home folder of the daemon's user"
    paths = [Path(folder or "/", " ".join(words[: n + 1])) for n in range(len(words))]
    if with_files and (found := next(filter(_is_there, paths), None)):
        return found, ""
    if more and not more[0].startswith(("-", "$")):
        return None, f"{printable(' '.join(words))} may be a path with spaces"
    return paths[0], ""


def _command_line(text: str, variables: Mapping[str, str]) -> str:
    """What `ExecStart=` runs; variables that are not known stay as they are."""
    arguments = _ARGUMENTS.search(text)
    return _VARIABLE.sub(
        lambda match: variables.get(match[1] or match[2], match[0]),
        arguments[1] if arguments else "",
    )


def _folder(text: str, *, with_files: bool) -> Path | None:
    """The folder in which systemd starts the daemon; None: the home folder of its user."""
    match = _WORKING_DIRECTORY.search(text)
    if not match:
        return Path("/")
    need_not_be_there, name = match.groups()
    if name == "~":
        return None
    is_there = not (need_not_be_there and with_files) or os.access(name, os.F_OK)
    return Path(name if is_there else "/")


def _is_there(path: Path) -> bool:
    with suppress(OSError):
        return not stat.S_ISDIR(path.stat().st_mode)
    return False


def _assignments(text: str) -> dict[str, str]:
    """The variables in `Environment=`; systemctl quotes those with space as a shell would."""
    pairs = (each.partition("=") for each in _words(text))
    return {name: value for name, is_set, value in pairs if is_set}


def _words(text: str) -> list[str]:
    return [match[2] or _plain(match[1]) for match in _QUOTED.finditer(text)]


def _plain(quoted: str) -> str:
    return _ESCAPED.sub(lambda match: _CONTROLS.get(match[1], match[1]), quoted)


def _read_files(pattern: str, *, is_needed: bool) -> UnitVariables:
    """The variables of a file, or of all that a pattern names, in their order."""
    found = glob.glob(pattern)  # noqa: PTH207 (Path.glob takes ** for folders of any depth)
    paths = sorted(found) or ([pattern] if is_needed else [])
    variables: dict[str, str] = {}
    unseen: list[Unseen] = []
    problems: list[ConfigProblem] = []
    for path in paths[:_FILES_LIMIT]:
        try:
            variables |= parse_file(config_file.read_text(Path(path), patience=0))
        except OSError as error:
            reason = printable(f"{path}: {error.strerror}; EnvironmentFile= of the unit names it")
            if is_needed and _is_missing(path, error):
                problems.append(ConfigProblem("", reason, is_warning=False))
            else:
                unseen.append(_unread(path, error))
    return UnitVariables(variables, None, tuple(unseen), tuple(problems))


def _is_missing(path: str, error: OSError) -> bool:
    """Whether systemd does not find it, either; a plain user may be unable to list its folder."""
    is_listed = not glob.has_magic(path) or os.geteuid() == 0
    return is_listed and isinstance(error, FileNotFoundError | NotADirectoryError)


def _unread(path: str, error: OSError) -> Unseen:
    advice = f"; {AS_ROOT}" if isinstance(error, PermissionError) else ""
    return Unseen(f"the variables in {printable(path)}", f"{error.strerror}{advice}")


def _value(quoted: str, rest: str) -> str:
    """The value of an entry: parts in quotes, and behind these what has none."""
    parts = [_within(match[1], match[2]) for match in _PART.finditer(quoted)]
    return "".join([*parts, _ESCAPED.sub(_hidden, rest.rstrip(_SPACE))])


def _within(double: str | None, single: str | None) -> str:
    """What is within quotes; in double ones a backslash hides few characters."""
    if double is None:
        return single or ""
    return _ESCAPED.sub(lambda m: _hidden(m) if m[1] in _HIDDEN_IN_QUOTES else m[0], double)


def _hidden(match: re.Match[str]) -> str:
    """What a backslash hides; the end of a line goes with it."""
    return "" if match[1] == "\n" else match[1]
