"""`postfix-mta-sts check-config [FILE]`: check a configuration as a start does.

It prints everything that is wrong: errors of the file and of variables, and then what this machine
lacks for the settings that are valid.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts.cli import settings_table
from postfix_mta_sts.cli.parser import DEFAULT_CONFIG, FAILURE, OK, Commands
from postfix_mta_sts.config import partial, settings, written
from postfix_mta_sts.config.misspelt import misspelt
from postfix_mta_sts.config.origins import DEFAULT, Origins
from postfix_mta_sts.config.partial import Partial
from postfix_mta_sts.config.settings import (
    ConfigError,
    Settings,
    default_cache_path,
    default_control_path,
)
from postfix_mta_sts.daemon import preflight
from postfix_mta_sts.store.fleet.settings import relay_name

_DEFAULTS: Final = "built-in defaults"


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
    text, source = settings.read(path) if path else "", str(path or _DEFAULTS)
    origins = Origins(text, source, os.environ)
    for name, right in misspelt(os.environ):
        _complain(f"{name}: warning: this variable has no effect; write {right}")
    try:
        loaded = settings.parse(text, source, os.environ)
    except ConfigError as error:
        for line in error.errors:
            _complain(line)
        if valid := partial.parse(text, os.environ):
            _check_machine(valid, origins, source)
        return FAILURE
    is_bad = _check_machine(Partial(loaded), origins, source)
    if args.show:
        _show(loaded, origins, source)
    if not is_bad:
        print(f"{'# ' if args.show else ''}{source}: valid")
    return FAILURE if is_bad else OK


def _check_machine(checked: Partial, origins: Origins, source: str) -> bool:
    """Print what will go wrong at a start; return whether the daemon does not start or store."""
    is_bad = False
    for found in preflight.check(checked.settings, os.environ, time.time()):
        if not checked.has(found.key):
            continue
        place = origins.nearest(found.key)
        place = source if place == DEFAULT else place
        _complain(f"{place}: {'warning: ' * found.is_warning}{found.key}: {found.reason}")
        is_bad = is_bad or not found.is_warning
    return is_bad


def _show(loaded: Settings, origins: Origins, source: str) -> None:
    effective = {
        "cache.path": default_cache_path(os.environ),
        "control.path": default_control_path(os.environ),
        "fleet.name": relay_name(loaded.fleet),
    }
    rows = [(key, *_value(key, text, origins, effective)) for key, text in written.lines(loaded)]
    width = shutil.get_terminal_size().columns
    is_terminal = sys.stdout.isatty()
    table = settings_table
    for line in table.fitted(rows, width, source) if is_terminal else table.plain(rows):
        print(line)


def _value(
    key: str, text: str, origins: Origins, effective: Mapping[str, object]
) -> tuple[str, str]:
    is_chosen_here = text == "null" and key in effective
    return (str(effective[key]) if is_chosen_here else text), origins.of(key)


def _complain(line: str) -> None:
    print(f"postfix-mta-sts: {line}", file=sys.stderr)
