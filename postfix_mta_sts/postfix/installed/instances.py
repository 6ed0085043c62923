"""Which instances of Postfix this machine has (postmulti(1), MULTI_INSTANCE_README)."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.main_cf import parse_parameters
from postfix_mta_sts.postfix.own_addresses import words_of
from postfix_mta_sts.postfix.programs import MissingProgramError, ProgramError, run

Instances: TypeAlias = tuple[tuple[str, str], ...]
"""Name and configuration directory of each instance."""

PRIMARY: Final = "-"
"""How postmulti(1) names an instance without a name, such as the only one."""

_LINE: Final = re.compile(r"(\S+) +\S+ +([yn]) +(/.*)")  # name, group, enabled, directory
_DIRECTORY: Final = "config_directory"
_OTHERS: Final = "multi_instance_directories"


async def read_instances(
    postmulti: Sequence[str] = ("postmulti",), postconf: Sequence[str] = ("postconf",)
) -> Instances:
    """The instances that Postfix starts, the primary one first; none: there is no Postfix here.

    postmulti(1) names none if main.cf of one has an error; then they are those that the primary one
    names. Raises `ProgramError` if `postconf` fails.
    """
    try:
        return await _listed(postmulti) or await _configured(postconf)
    except MissingProgramError:
        return ()


def parse_instances(text: str) -> Instances:
    """The enabled instances of `postmulti -l`; the first one if none is enabled."""
    matches = [match for match in map(_LINE.fullmatch, text.split("\n")) if match]
    enabled = [match for match in matches if match[2] == "y"] or matches[:1]
    return tuple((printable(match[1]), match[3]) for match in enabled)


async def _listed(postmulti: Sequence[str]) -> Instances:
    try:
        output = await run([*postmulti, "-l"])
    except ProgramError:
        return ()
    return parse_instances(output.text) if output.code == 0 else ()


async def _configured(postconf: Sequence[str]) -> Instances:
    """The primary instance, and those that its main.cf names; these are called as their folders."""
    output = await run([*postconf, "-x", _DIRECTORY, _OTHERS])
    if output.code != 0:
        output = await run([*postconf, "-d", _DIRECTORY])  # it does not read main.cf
    values = parse_parameters(output.text)
    if _DIRECTORY not in values:
        raise ProgramError(f"postconf failed: {output.reason}")
    others = words_of(values.get(_OTHERS, ""))
    named = ((printable(Path(each).name), each) for each in others)
    return ((PRIMARY, values[_DIRECTORY]), *named)
