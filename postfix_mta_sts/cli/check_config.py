"""`postfix-mta-sts check-config [FILE]`: check a configuration as a start does.

It prints everything that is wrong: errors of the file and of variables, and then, if there are
none, what this machine lacks.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts.cli.parser import DEFAULT_CONFIG, FAILURE, OK, Commands
from postfix_mta_sts.config import settings, written
from postfix_mta_sts.config.origins import DEFAULT, Origins
from postfix_mta_sts.config.settings import (
    ConfigError,
    Settings,
    default_cache_path,
    default_control_path,
)
from postfix_mta_sts.daemon import preflight

_DEFAULTS: Final = "built-in defaults"
_KEY_WIDTH: Final = 28
_VALUE_WIDTH: Final = 20
"""Characters, so that most rows fit into 80 columns with the path of the default file."""


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "check-config", _check_config, "check a configuration as a start does; print all errors"
    )
    text = f"the file to check (default: {DEFAULT_CONFIG} if it exists, else built-in defaults)"
    command.add_argument("file", metavar="FILE", nargs="?", type=Path, help=text)
    command.add_argument("--config", metavar="FILE", type=Path, help="the same as FILE")
    text = "print the settings in force, each with its source: line, variable or default"
    command.add_argument("--show", action="store_true", help=text)


def _check_config(args: argparse.Namespace) -> int:
    path: Path | None = args.file or args.config
    if path is None and DEFAULT_CONFIG.exists():
        path = DEFAULT_CONFIG
    try:
        loaded = settings.load(path, os.environ)
    except ConfigError as error:
        for line in error.errors:
            _complain(line)
        return FAILURE
    origins = Origins(path, os.environ)
    is_bad = _check_machine(loaded, origins, path)
    if args.show:
        _show(loaded, origins)
    if not is_bad:
        print(f"{'# ' if args.show else ''}{path or _DEFAULTS}: valid")
    return FAILURE if is_bad else OK


def _check_machine(loaded: Settings, origins: Origins, path: Path | None) -> bool:
    """Print what will go wrong at a start; return whether the daemon does not start or store."""
    is_bad = False
    for found in preflight.check(loaded, os.environ):
        place = origins.nearest(found.key)
        place = str(path or _DEFAULTS) if place == DEFAULT else place
        _complain(f"{place}: {'warning: ' * found.is_warning}{found.key}: {found.reason}")
        is_bad = is_bad or not found.is_warning
    return is_bad


def _show(loaded: Settings, origins: Origins) -> None:
    effective = {
        "cache.path": default_cache_path(os.environ),
        "control.path": default_control_path(os.environ),
    }
    rows = [(key, *_value(key, text, origins, effective)) for key, text in written.lines(loaded)]
    for key, value, origin in rows:
        print(f"{key:{_KEY_WIDTH}}  {value:{_VALUE_WIDTH}}  {origin}")


def _value(key: str, text: str, origins: Origins, effective: Mapping[str, Path]) -> tuple[str, str]:
    is_chosen_here = text == "null" and key in effective
    return (str(effective[key]) if is_chosen_here else text), origins.of(key)


def _complain(line: str) -> None:
    print(f"postfix-mta-sts: {line}", file=sys.stderr)
