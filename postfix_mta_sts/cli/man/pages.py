"""The man pages, in man(7).

The commands in postfix-mta-sts(1) come from the parser of the command line, and the sections in
postfix-mta-sts.yml(5) from the comments in the example configuration, so that they cannot go stale.
The templates beside this file are written by hand. The example is a link to the file at the top of
the source; an installed package has a copy.
"""

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts import __version__
from postfix_mta_sts.cli.main import build_parser
from postfix_mta_sts.cli.man.configuration import description, sections
from postfix_mta_sts.cli.man.synopsis import commands, synopsis
from postfix_mta_sts.errors import UserError

PAGES: Final[Mapping[str, str]] = {"postfix-mta-sts": "1", "postfix-mta-sts.yml": "5"}
"""Name → section of the manual."""
_HERE: Final = Path(__file__).parent


def source(name: str) -> str:
    """Return the source of a page. Raises `OSError` if the package lacks a file.

    Raises `UserError` for a $SOURCE_DATE_EPOCH that is none.
    """
    template = _HERE / f"{name}.{PAGES[name]}.in"
    text = template.read_text("utf-8")
    for part, value in {**_header(template), **_parts(name)}.items():
        text = text.replace(f"@{part}@", value if isinstance(value, str) else "\n".join(value))
    return text


def file_name(name: str) -> str:
    """Return the path of a page below a folder of man pages, such as /usr/local/share/man."""
    return f"man{PAGES[name]}/{name}.{PAGES[name]}"


def _header(template: Path) -> Mapping[str, str]:
    """The version, and the date of the build, or else of the installation."""
    # https://reproducible-builds.org/specs/source-date-epoch/
    built = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        when = time.gmtime(int(built) if built else template.stat().st_mtime)
    except (ValueError, OverflowError):
        raise UserError(f"SOURCE_DATE_EPOCH: {built!r} is no number of seconds") from None
    return {"DATE": time.strftime("%Y-%m-%d", when), "VERSION": __version__}


def _parts(name: str) -> Mapping[str, Iterable[str]]:
    if name == "postfix-mta-sts":
        parser = build_parser()
        return {"SYNOPSIS": synopsis(parser), "COMMANDS": commands(parser)}
    lines = (_HERE / "config.example.yml").read_text("utf-8").splitlines()
    return {"DESCRIPTION": description(lines), "SECTIONS": sections(lines)}
