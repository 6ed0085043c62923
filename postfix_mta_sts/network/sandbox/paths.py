"""The files of this machine that the rules are about: what is there, and where links lead to.

Landlock knows files, not names: a rule is about what a path led to when it was made. So a single
file that is replaced later, as programs do it by rename(2), is hidden; see `Watched`. What is in an
allowed folder may be replaced.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.network.authorities import HASHED, system_paths
from postfix_mta_sts.network.sandbox.rules import (
    FILES,
    FOLDERS,
    NEVER_WHOLE,
    WATCHED,
    Rules,
    allowed_folders,
    is_in_any,
    ports_of,
)
from postfix_mta_sts.network.settings import NetworkSettings

PACKAGE: Final = Path(__file__).parents[2]

_Identity: TypeAlias = tuple[int, int] | None


class Watched:
    """Single files that the process reads again later; made before the rules are in force."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._before = {path: _identity(path) for path in paths}

    def replaced(self) -> str | None:
        """A file that another one has replaced, which may not be read; None: there is none.

        The status of a file can be read in any case.
        """
        for path, before in self._before.items():
            now = _identity(path)
            if now not in {None, before} and _is_hidden(path):
                return path
        return None


def find_rules(settings: NetworkSettings) -> tuple[Rules, Watched]:
    """What is to be allowed with these settings on this machine."""
    file, folder = map(_real, system_paths())
    private = [*NEVER_WHOLE, *filter(None, [os.environ.get("HOME")]), *settings.private]
    wanted = map(_real, (*_module_folders(), *FOLDERS, folder))
    folders = allowed_folders(_real(PACKAGE), wanted, [_real(each) for each in private])
    single = [*WATCHED, file, *_links_out_of(folder, folders)]
    if settings.ca_file:
        single.append(settings.ca_file)
    location = settings.fleet.location if settings.fleet else None
    rules = Rules(
        folders,
        tuple(each for each in (*single, *FILES) if not is_in_any(_real(each), folders)),
        ports_of(settings),
        location.path if location else None,
    )
    return rules, Watched(single)


def _module_folders(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Where Python and the linker find what is imported later."""
    yield from sys.path
    for prefix in {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix}:
        yield from (f"{prefix}/lib", f"{prefix}/lib64")
    yield from filter(None, environ.get("LD_LIBRARY_PATH", "").split(":"))


def _links_out_of(folder: str, folders: tuple[str, ...]) -> Iterator[str]:
    """Certificates in the folder of the CAs that are links to files elsewhere."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if HASHED.fullmatch(entry.name) and not is_in_any(real := _real(entry.path), folders):
                yield real


def _real(path: str | Path) -> str:
    return os.path.realpath(path)


def _identity(path: str) -> _Identity:
    with suppress(OSError):
        status = os.stat(path)  # noqa: PTH116 (the texts are no paths of ours)
        return status.st_dev, status.st_ino
    return None


def _is_hidden(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
    except PermissionError:
        return True
    except OSError:
        return False
    return False
