"""Where smtp(8) takes its CA certificates from, seen from outside its chroot.

It loads `smtp_tls_CAfile` before it enters the chroot, while OpenSSL searches `smtp_tls_CApath` in
each handshake, and so inside the chroot. OpenSSL's default CAs are added only to one of these, and
never stand alone (postconf(5), tls_append_default_CA).
"""

import os
import ssl
from pathlib import Path

from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value

EMPTY = "smtp_tls_CAfile and smtp_tls_CApath are empty: every policy defers mail"
NO_CERTIFICATES = "has no certificates that OpenSSL can read"


class Authorities(Value, frozen=True):
    """The CA certificates that smtp(8) trusts."""

    ca_file: Path | None = None
    """As this process opens it; None: none is set."""
    ca_path: Path | None = None
    """The same for the folder of hashed certificates (openssl-rehash(1))."""
    append_default: bool = False
    """Whether OpenSSL's default CAs count too."""
    is_loadable: bool = True
    """False: smtp(8) cannot load the file, and goes on without TLS."""
    problem: str = ""
    """Why Postfix cannot verify certificates, or this process cannot tell; empty: nothing found."""


def read_authorities(main_cf: MainCf) -> Authorities:
    """The files that count, and what is wrong with them; reads a few files, and may block."""
    queue = Path(main_cf.queue_directory)
    ca_file = queue / main_cf.smtp_tls_CAfile if main_cf.smtp_tls_CAfile else None
    ca_path = _in_chroot(main_cf, queue) if main_cf.smtp_tls_CApath else None
    if ca_file is None and ca_path is None:
        return Authorities(problem=EMPTY)
    problem = file_problem = _file_problem(ca_file) if ca_file else ""
    if ca_path and not ca_file and not main_cf.tls_append_default_CA:
        problem = _folder_problem(ca_path)
    append_default, is_loadable = main_cf.tls_append_default_CA, not file_problem
    return Authorities(ca_file, ca_path, append_default, is_loadable, problem)


def _in_chroot(main_cf: MainCf, queue: Path) -> Path:
    """The folder as smtp(8) sees it; its working directory is the queue directory in any case."""
    path = main_cf.smtp_tls_CApath
    return queue / (path.lstrip("/") if main_cf.smtp_is_chrooted else path)


def _file_problem(path: Path) -> str:
    """Without this file smtp(8) turns TLS off, so that mail with a policy is deferred."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return f"smtp_tls_CAfile {path} {NO_CERTIFICATES}"
    except OSError as error:
        return f"smtp_tls_CAfile {path}: {error.strerror}"
    return ""


def _folder_problem(path: Path) -> str:
    """A folder that OpenSSL finds nothing in is no error for it."""
    try:
        with os.scandir(path) as entries:
            found = any(entry.name.endswith(".0") for entry in entries)
    except OSError as error:
        return f"smtp_tls_CApath {path}: {error.strerror}"
    return "" if found else f"smtp_tls_CApath {path} has no hashed certificates (openssl rehash)"
