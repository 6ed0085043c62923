"""Use CA certificates that are renewed on disk, and notice that there are none.

Distributions and administrators replace the bundle now and then: without this, a Policy Host with a
certificate of a new authority would fail until the next reload. The new certificates are used from
the next handshake on. A file that cannot be used does not replace the certificates before it.
"""

import asyncio
import logging
import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from postfix_mta_sts.config.field_types import read_ca_file
from postfix_mta_sts.logs import event
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.tls import client_context

CHECK_INTERVAL: Final = 60.0
"""Seconds between two looks at the files: a call of stat(2) for each, in a thread."""

ADVICE: Final = "install the package ca-certificates, or set https.ca_file"
"""If there are none."""

HASHED: Final = re.compile(r"[0-9a-f]{8}\.[0-9]+")
"""Files that OpenSSL finds in a folder of certificates (openssl-rehash(1))."""

_Signature: TypeAlias = tuple[tuple[int, int, int] | None, ...]

_log = logging.getLogger(__name__)


class User(Protocol):
    """What checks certificates; it uses another context from the next handshake on."""

    context: ssl.SSLContext


class Authorities:
    """The CA certificates of a `User`, which was made with the same settings.

    `hidden`: see `Sandbox.replaced`.
    """

    def __init__(
        self,
        settings: NetworkSettings,
        user: User,
        hidden: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._file = Path(settings.ca_file) if settings.ca_file else None
        self._text = settings.authorities
        self._user = user
        self._hidden = hidden
        # The text of the file was read by the daemon, and may be old if this process is a new one.
        self._signature = None if self._file else _signature(system_paths())
        self._is_failing = False
        self.problem = self._find_problem(user.context)
        """Why no certificate can be trusted; empty if some can."""

    async def watch(
        self, on_change: Callable[[str], None], interval: float = CHECK_INTERVAL
    ) -> None:
        """Renew the certificates when they change; never returns.

        `on_change` gets the problem when it is another one; an empty text when there is none.
        """
        if self.problem:
            event(
                _log,
                logging.WARNING,
                "no CA certificates, no policy can be fetched",
                reason=self.problem,
                advice=ADVICE,
            )
        while True:
            before = self.problem
            await asyncio.to_thread(self.renew)
            if self.problem != before:
                on_change(self.problem)
            await asyncio.sleep(interval)

    def renew(self) -> bool:
        """Read the certificates if the files have changed; return whether others are in use now."""
        signature = _signature([self._file] if self._file else system_paths())
        if signature == self._signature or self._hidden():  # a successor reads what is hidden
            return False
        try:
            context = self._read()
        except OSError as error:
            self._fail(error.strerror or str(error))
            return False
        self._signature, self._is_failing = signature, False
        if context is None:
            return False
        self._user.context, self.problem = context, ""
        number = context.cert_store_stats()["x509"]
        event(_log, logging.INFO, "CA certificates renewed", certificates=number)
        return True

    def _read(self) -> ssl.SSLContext | None:
        """The certificates as they are now; None: they are the same. Raises `OSError`."""
        if self._file:
            text = read_ca_file(self._file)
            if text == self._text:
                return None
            self._text = text
        context = client_context(self._text)
        if problem := self._find_problem(context):
            raise OSError(problem)
        return context

    def _fail(self, reason: str) -> None:
        """Log it once, and try again: the file may be about to be replaced."""
        if not self._is_failing and not self.problem:
            event(
                _log,
                logging.WARNING,
                "CA certificates cannot be renewed, keeping the ones before",
                reason=reason,
            )
        self._is_failing = True

    def _find_problem(self, context: ssl.SSLContext) -> str:
        return "" if self._text is not None else system_problem(context)


def system_problem(context: ssl.SSLContext) -> str:
    """Return why a context that is to trust the CAs of the system trusts none, or an empty text."""
    if context.cert_store_stats()["x509"]:
        return ""
    file, folder = system_paths()
    with suppress(OSError):
        if any(map(HASHED.fullmatch, os.listdir(folder))):  # noqa: PTH208 (names, no paths)
            return ""
    return f"no CA certificates in {file} and {folder}"


def system_paths() -> tuple[Path, Path]:
    """The file and the folder of the CA certificates of the system, as OpenSSL finds them."""
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env) or paths.openssl_cafile
    folder = os.environ.get(paths.openssl_capath_env) or paths.openssl_capath
    return Path(file), Path(folder)


def _signature(paths: list[Path] | tuple[Path, Path]) -> _Signature:
    """What changes with the content of the files."""
    return tuple(map(_changes, paths))


def _changes(path: Path) -> tuple[int, int, int] | None:
    with suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_size, status.st_mtime_ns
    return None
