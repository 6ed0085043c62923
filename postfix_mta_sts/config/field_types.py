"""The types of single values in the configuration: addresses, durations, modes, files.

A reader takes a YAML value and raises `ValueError` if it does not accept it; the error has a text
only if there is more to say than which values are allowed. Readers do not open files or resolve
names, with one exception, so that a mistake is found before it matters: the CA file is read.
"""

import errno
import re
import shlex
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_interface
from pathlib import Path
from shutil import which
from typing import Annotated, Final
from urllib.parse import urlsplit

from postfix_mta_sts.config import dates
from postfix_mta_sts.config.address import (
    TcpAddress,
    UnixAddress,
    check_nameserver,
    parse_address,
)
from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.mtasts.exceptions import (
    REASON_LIMIT,
    InvalidExceptionError,
    Scope,
    parse_mx_pattern,
    parse_scope,
    reason_length,
)

CA_FILE_LIMIT: Final = 4 * 2**20
"""Bytes; all CA certificates of Debian take 220 KiB. Escaped, four times that (`ipc.FRAME_LIMIT`)
is sent to the network process at most."""

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhd]?)")
_UNITS: Final = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"([0-9]{1,15})(|KiB|MiB|GiB)")
_SIZE_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_MODE = re.compile(r"0?[0-7]{3}")
_ID = re.compile(r"[0-9]{1,10}")
_NO_ID: Final = 2**32 - 1  # chown(2): -1 leaves the owner unchanged
_SHELL = re.compile(r"[0-9]*[<>|&;]+(?:&?[0-9])?")
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}")


@dataclass(frozen=True, slots=True)
class FieldType:
    """How to read a value, and the text that says which values are allowed."""

    allowed: str
    read: Callable[[object], object] | None = None
    """None: msgspec converts the value to the annotated type."""
    is_secret: bool = False
    """Whether no error may show the value."""


def _or_null(allowed: str, read: Callable[[object], object]) -> FieldType:
    """Return the type that also accepts null."""
    return FieldType(f"{allowed}, or null", lambda value: None if value is None else read(value))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def word(value: object) -> str:
    """Return a text, or an integer as text, because people leave out the quotes.

    Raises `ValueError`.
    """
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _address(value: object) -> TcpAddress | UnixAddress:
    return parse_address(_text(value))


def _nameserver(value: object) -> str:
    return check_nameserver(_text(value))


def _mode(value: object) -> int:
    text = word(value)
    if not _MODE.fullmatch(text):
        raise ValueError
    return int(text, 8)


def _account(value: object) -> str | int:
    text = word(value)
    if _ID.fullmatch(text) and int(text) < _NO_ID:
        return int(text)
    if not _ACCOUNT.fullmatch(text):
        raise ValueError
    return text


def _path(value: object) -> Path:
    return Path(_text(value))


def _ca_file(value: object) -> Path:
    path = _path(value)
    try:
        read_ca_file(path)
    except OSError as error:
        raise ValueError(_ca_file_reason(path, error)) from None
    return path


def _ca_file_reason(path: Path, error: OSError) -> str:
    if isinstance(error, IsADirectoryError):
        return "it is a folder; name a file, such as /etc/ssl/certs/ca-certificates.crt"
    hint = "" if path.is_absolute() else "; write the whole path, which begins with /"
    return f"{error.strerror}{hint}"


def read_ca_file(path: Path) -> str:
    """Read a file of PEM certificates; return its text, for the argument `cadata` of `ssl`.

    Raises `OSError`, also if the file contains no certificate or a damaged one, or is too large.
    """
    with path.open("rb") as file:
        data = file.read(CA_FILE_LIMIT + 1)
    if len(data) > CA_FILE_LIMIT:
        raise OSError(errno.EFBIG, f"it is larger than {CA_FILE_LIMIT} bytes", str(path))
    # Between the certificates people write comments; `cadata` must be ASCII.
    text = data.decode("ascii", "backslashreplace")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):  # ValueError: the file is empty
        reason = "it contains no certificate in PEM format"
        raise OSError(errno.EINVAL, reason, str(path)) from None
    return text


def _secret_file(value: object) -> Path:
    path = _path(value)
    if not path.is_absolute():  # it may be the secret itself
        raise ValueError("write it in a file, and here the whole path of the file")
    return path


def _store_url(value: object) -> StoreLocation:
    # 3 ms, which a start without a fleet saves.
    from postfix_mta_sts.config.store_url import parse_store_url  # noqa: PLC0415

    return parse_store_url(_text(value))


def _proxy(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.port == 0:
        raise ValueError
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError("only a host and a port are supported")
    return text


def _prefixes(value: object) -> bool | tuple[str, ...]:
    if isinstance(value, bool):
        return value
    if isinstance(value, tuple):
        return tuple(_prefix(item.value) for item in value)
    if "/" in _text(value):
        raise ValueError(f"write [{_prefix(value)}] for this prefix")
    raise ValueError


def _prefix(value: object) -> str:
    """Return a prefix in its usual notation; an address is the prefix of one address."""
    text = _text(value)
    try:
        interface = ip_interface(text.replace("%", "//"))  # no scope
    except ValueError:
        raise ValueError(f"{text!r:.80} is not a prefix") from None
    if interface.ip != interface.network.network_address:
        raise ValueError(f"{text} has bits after the prefix, write {interface.network}")
    return str(interface.network)


def seconds(value: object) -> float:
    """Return `250ms`, `30s`, `5m`, `1h`, `2d` or a number in seconds; raise `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(_text(value))
    if not match:
        raise ValueError
    return float(match[1]) * _UNITS[match[2]]


def duration(minimum: str, maximum: str) -> FieldType:
    """Return the type of a duration within limits; its value is in seconds."""

    def read(value: object) -> float:
        given = seconds(value)
        if not seconds(minimum) <= given <= seconds(maximum):
            raise ValueError("out of range")
        return given

    return FieldType(f"a number of seconds, or 30s, 5m, 1h, 30d, from {minimum} to {maximum}", read)


def size_in_bytes(value: object) -> int:
    """Return `64MiB`, `1GiB` or a number in bytes; raise `ValueError`."""
    match = _SIZE.fullmatch(word(value))
    if not match:
        raise ValueError
    return int(match[1]) * _SIZE_UNITS[match[2]]


def size(minimum: str, maximum: str) -> FieldType:
    """Return the type of a size within limits; its value is in bytes."""

    def read(value: object) -> int:
        given = size_in_bytes(value)
        if not size_in_bytes(minimum) <= given <= size_in_bytes(maximum):
            raise ValueError("out of range")
        return given

    return FieldType(
        f"a number of bytes, or 512KiB, 64MiB, 1GiB, from {minimum} to {maximum}", read
    )


def _scope(value: object) -> Scope:
    return parse_scope(word(value), anyway=True)


def _until(value: object) -> float:
    return dates.parse_until(str(value) if isinstance(value, int) else _text(value))


def _reason(value: object) -> str:
    text = " ".join(word(value).split())
    if not text:
        raise ValueError
    if (length := reason_length(text)) > REASON_LIMIT:
        escaped = "" if text.isascii() else ", escapes like \\xe9 included"
        raise ValueError(
            f"it has {length} characters{escaped}, and at most {REASON_LIMIT} are shown"
        )
    return text


def _mx_pattern(value: object) -> str:
    text = _text(value)
    try:
        return parse_mx_pattern(text)
    except InvalidExceptionError:
        raise ValueError from None


def _command(value: object) -> tuple[str, ...]:
    """Read a list of words, or one text that is split as a shell would; it is run without one."""
    words = () if value is None else _words(value)
    if words and not words[0].startswith("/"):
        found = which(words[0])
        raise ValueError(f"write the whole path of {words[0]}, {found or 'which begins with /'}")
    return words


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, tuple):
        given = [item.value for item in value]
        # An argument may be empty, such as that of `curl --proxy ""`.
        return tuple("" if i and each == "" else word(each) for i, each in enumerate(given))
    try:
        words = tuple(shlex.split(_text(value)))  # a blank text: none
    except ValueError as error:  # "No closing quotation", "No escaped character"
        raise ValueError(str(error).lower()) from None
    if operator := next((word for word in words if _SHELL.fullmatch(word)), ""):
        raise ValueError(
            f"{operator} needs a shell; write a list [/bin/sh, -c, '... {operator} ...']"
        )
    return words


Switch = Annotated[bool, FieldType("true or false")]
SwitchOrNull = Annotated[bool | None, FieldType("true, false or null")]
Prefixes = Annotated[
    bool | tuple[str, ...],
    FieldType("true, false, or a list of prefixes, like [10.0.0.0/8, fd00::/8]", _prefixes),
]
Address = Annotated[
    TcpAddress | UnixAddress | None,
    _or_null("host:port, [v6]:port or unix:/path", _address),
]
Nameserver = Annotated[
    str,
    FieldType(
        "192.0.2.1, 192.0.2.1:5353, 2001:db8::1, [2001:db8::1]:53 or fe80::1%eth0", _nameserver
    ),
]
Mode = Annotated[int | None, _or_null('octal digits in quotes, like "0660"', _mode)]
Account = Annotated[str | int | None, _or_null("a name, an id", _account)]
FilePath = Annotated[Path | None, _or_null("the path of a file", _path)]
CaFile = Annotated[Path | None, _or_null("the path of a readable PEM file", _ca_file)]
SecretFile = Annotated[
    Path | None,
    FieldType(
        "the whole path of a file, which begins with /, or null",
        lambda value: None if value is None else _secret_file(value),
        is_secret=True,
    ),
]
StoreUrl = Annotated[
    StoreLocation | None,
    FieldType(
        "redis://[USER:PASSWORD@]HOST, rediss://, redis+sentinel://, postgresql://, or null",
        lambda value: None if value is None else _store_url(value),
        is_secret=True,
    ),
]
Proxy = Annotated[str | None, _or_null("http://host:port", _proxy)]
ScopeText = Annotated[str, FieldType("a domain like example.com, or '*.example.com'", _scope)]
"""A key; see `mtasts.exceptions.parse_scope`."""
Until = Annotated[float | None, _or_null(dates.ALLOWED, _until)]
Reason = Annotated[str, FieldType("a text: why, and a contact", _reason)]
MxText = Annotated[str, FieldType("mx1.example.com or '*.example.com'", _mx_pattern)]
Command = Annotated[
    tuple[str, ...],
    FieldType("a command like '/usr/local/bin/tell-me root', a list of words, or null", _command),
]
