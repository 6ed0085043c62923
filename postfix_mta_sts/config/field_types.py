"""How single values are written in the configuration: addresses, durations, modes, files.

Border: one value at a time, whatever its key. A reader takes what YAML gave and raises
`ValueError`; its words are the reason, where there is more to say than what is allowed. Nothing
is opened or looked up, except the CA file: a wrong one is refused before the daemon runs.
"""

import errno
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import urlsplit

from postfix_mta_sts.config.address import (
    TcpAddress,
    UnixAddress,
    check_nameserver,
    parse_address,
)

_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)([smhd]?)")
_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_MODE = re.compile(r"0?[0-7]{3}")
_ID = re.compile(r"[0-9]{1,10}")
_ID_NONE: Final = 2**32 - 1  # chown(2): "leave it as it is"
_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.@-]{0,255}")


@dataclass(frozen=True, slots=True)
class FieldType:
    """How a value is read, and in which words it is asked for."""

    allowed: str
    read: Callable[[object], object] | None = None
    """None: as the type says."""


def _or_null(allowed: str, read: Callable[[object], object]) -> FieldType:
    """The same, with null for the default."""
    return FieldType(f"{allowed}, or null", lambda value: None if value is None else read(value))


def _text(value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError
    return value


def _word(value: object) -> str:
    """Text, or a whole number as it is written: people leave the quotes out."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _address(value: object) -> TcpAddress | UnixAddress:
    return parse_address(_text(value))


def _nameserver(value: object) -> str:
    return check_nameserver(_text(value))


def _mode(value: object) -> int:
    text = _word(value)
    if not _MODE.fullmatch(text):
        raise ValueError
    return int(text, 8)


def _account(value: object) -> str | int:
    text = _word(value)
    if _ID.fullmatch(text) and int(text) < _ID_NONE:
        return int(text)
    if not _ACCOUNT.fullmatch(text):
        raise ValueError
    return text


def _path(value: object) -> Path:
    return Path(_text(value))


def _ca_file(value: object) -> Path:
    path = _path(value)
    try:
        authorities(path)
    except OSError as error:
        raise ValueError(error.strerror) from None
    return path


def authorities(path: Path) -> str:
    """The text of a file with certificates in PEM, as `ssl` takes it for `cadata`.

    Raises `OSError`, also where there is no certificate in it, or one that is broken.
    """
    # Between certificates may stand what people write: it stays, in ASCII.
    text = path.read_bytes().decode("ascii", "backslashreplace")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):  # ValueError: the file is empty
        reason = "it holds no certificate in PEM form"
        raise OSError(errno.EINVAL, reason, str(path)) from None
    return text


def _proxy(value: object) -> str:
    text = _text(value)
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError
    url = urlsplit(text)
    if url.scheme != "http" or not url.hostname or url.port == 0:
        raise ValueError
    if url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError("there is more in it than a host and a port")
    return text


def seconds(value: object) -> float:
    """The seconds that `30s`, `5m`, `1h`, `2d` or a number stand for; raises `ValueError`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    match = _DURATION.fullmatch(_text(value))
    if not match:
        raise ValueError
    return float(match[1]) * _UNITS[match[2]]


def duration(least: str, most: str) -> FieldType:
    """The notation of a time between two others; it is read as seconds."""

    def read(value: object) -> float:
        given = seconds(value)
        if not seconds(least) <= given <= seconds(most):
            raise ValueError("it is out of range")
        return given

    return FieldType(f"a number of seconds, or 30s, 5m, 1h, 30d, from {least} to {most}", read)


Switch = Annotated[bool, FieldType("true or false")]
Address = Annotated[
    TcpAddress | UnixAddress | None,
    _or_null("host:port, [v6]:port or unix:/path", _address),
]
Nameserver = Annotated[
    str, FieldType("192.0.2.1, 192.0.2.1:5353, 2001:db8::1 or [2001:db8::1]:53", _nameserver)
]
Mode = Annotated[int | None, _or_null('octal digits in quotes, like "0660"', _mode)]
Account = Annotated[str | int | None, _or_null("a name, an id", _account)]
FilePath = Annotated[Path | None, _or_null("the path of a file", _path)]
CaFile = Annotated[Path | None, _or_null("the path of a readable PEM file", _ca_file)]
Proxy = Annotated[str | None, _or_null("http://host:port", _proxy)]
