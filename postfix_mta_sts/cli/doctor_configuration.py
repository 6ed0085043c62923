"""What `doctor` reads of the daemon's configuration, and what would keep the daemon from starting.

A configuration with errors is a finding of `doctor`, not an error of the command: what is valid of
it counts.
"""

import argparse
import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.doctor.config_line import places_of
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import AS_ROOT
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Place
from postfix_mta_sts.cli.locate import control_path, store_path
from postfix_mta_sts.cli.parser import CommandError, config_path
from postfix_mta_sts.config import config_file, partial, settings
from postfix_mta_sts.config.settings import ConfigError, Settings
from postfix_mta_sts.daemon import preflight
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.values import replace

_FOR_ALL_USERS: Final = ("dns.", "exceptions.", "https.")
"""Settings of which any user can tell whether they are right on this machine."""
_LIMIT: Final = 1_000
"""Characters of a reason."""
_ERROR: Final = re.compile(r"(?:(?P<key>[A-Za-z_][\w.\[\]-]*): )?(?P<reason>.*)", re.DOTALL)


def read_given(
    args: argparse.Namespace,
    environ: Mapping[str, str],
    usage_code: int,
    of_unit: Path | None = None,
) -> Given:
    """Read the configuration that the arguments name, else that of the unit of the daemon.

    Raises `CommandError` with `usage_code` for a file of the arguments that cannot be read. What
    this user may not read is unseen; a file of the unit that is missing is an error of it.
    """
    path = args.config or of_unit or config_path(args)
    try:
        text = config_file.read_text(path) if path else ""
    except PermissionError as error:
        reason = f"{path}: {error.strerror}; {AS_ROOT}"
        unseen = Unseen("the configuration of the daemon", printable(reason))
        store = store_path(Settings(), environ)
        return Given(Settings(), store, is_valid=False, config_file=path, unseen=(unseen,))
    except OSError as error:
        if args.config or path != of_unit:
            raise CommandError(f"{path}: {error.strerror}", usage_code) from None
        reason = printable(f"{path}: {error.strerror}; the unit of the daemon names it")
        problem = ConfigProblem("", reason, is_warning=False)
        return replace_field(_given(path, "", environ), is_valid=False, config_problems=(problem,))
    return _given(path, text, environ)


def _given(path: Path | None, text: str, environ: Mapping[str, str]) -> Given:
    places = places_of(text, str(path), environ)
    errors: tuple[str, ...] = ()
    try:
        valid = settings.parse(text, str(path or ""), environ)
    except ConfigError as error:
        valid, errors = _valid_part(text, environ), error.errors
    problems = tuple(_problem(each, path) for each in errors)
    store = store_path(valid, environ)
    return Given(valid, store, not errors, path, config_problems=problems, places=places)


def _valid_part(text: str, environ: Mapping[str, str]) -> Settings:
    """The settings without those that have errors; listeners with errors are the default ones."""
    found = partial.parse(text, environ)
    if found is None:
        return Settings()
    if found.has("listen"):
        return found.settings
    return replace(found.settings, listen=Settings().listen)


def _problem(error: str, path: Path | None) -> ConfigProblem:
    """An error of `ConfigError`, which begins with `FILE:LINE: ` or the name of a variable."""
    number, _, rest = error.removeprefix(f"{path}:").partition(": ")
    if not error.startswith(f"{path}:") or not number.isdecimal():
        return ConfigProblem("", printable(error, _LIMIT), is_warning=False)
    match = _ERROR.fullmatch(rest)
    return ConfigProblem(
        key=(match and match["key"]) or "",
        reason=printable(match["reason"] if match else rest, _LIMIT),
        is_warning=False,
        file=str(path),
        line=int(number),
    )


class Preflight:
    """Says what keeps the daemon from starting with the settings, or from working then."""

    def __init__(self, given: Given, environ: Mapping[str, str], *, is_root: bool) -> None:
        self._given = given
        self._is_root = is_root
        # Of the daemon, not of the user that runs `doctor`.
        self._environ = {
            **environ,
            "STATE_DIRECTORY": str(given.store_path.parent),
            "RUNTIME_DIRECTORY": str(control_path(given.settings, environ).parent),
        }

    def __call__(self) -> Sequence[ConfigProblem]:
        """Look at this machine, if the settings are valid; may block."""
        return tuple(self._problems()) if self._given.is_valid else ()

    def _problems(self) -> Iterator[ConfigProblem]:
        for found in preflight.check(self._given.settings, self._environ, time.time()):
            # As another user than root this sees what that user may do, and not the daemon.
            if self._is_root or found.key.startswith(_FOR_ALL_USERS):
                place = self._nearest(found.key)
                reason = printable(found.reason, _LIMIT)
                at = (place.file, place.line) if place else ()
                yield ConfigProblem(found.key, reason, found.is_warning, *at)

    def _nearest(self, key: str) -> Place | None:
        """The place of a key, else that of the section that should have it."""
        places = self._given.places
        while key not in places and key:
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return places.get(key)


def is_root() -> bool:
    """Whether this process sees what root sees."""
    return os.geteuid() == 0
