"""The URL of a shared store: parsed to a location, and written without its password.

    valkey://[USER[:PASSWORD]@]HOST[:PORT][/NUMBER]             also redis://; TLS: valkeys, rediss
    valkey+unix://[USER[:PASSWORD]@]/PATH[?db=NUMBER]           also redis+unix, unix
    valkey+sentinel://[…@]HOST[:PORT][,HOST[:PORT]…]/PRIMARY[/NUMBER]
                                                 also redis+sentinel; TLS: valkeys+…, rediss+…
    postgresql://[…@]HOST[:PORT]/DATABASE[?sslmode=verify-full|disable]
    postgresql://[…@]%2FFOLDER[:PORT]/DATABASE                  a UNIX socket; also postgres://

User, password and database are percent-encoded. To PostgreSQL on another machine TLS is used unless
the URL says otherwise. No error shows a part of the URL that may be the password.
"""

import enum
import ipaddress
import os
import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from postfix_mta_sts.config.address import TcpAddress, is_ip
from postfix_mta_sts.config.store_location import EngineName, StoreLocation, is_loopback

SENTINELS_LIMIT: Final = 16
_PATH_LIMIT: Final = 107  # unix(7), as in `address`
_HIDDEN: Final = "..."

_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_POSTGRESQL_PORT: Final = 5432

_TEXT: Final = re.compile(r"[!-~]{1,2000}")
_URL: Final = re.compile(r"([A-Za-z0-9+.-]+)://(?:([^/?#]*)@)?([^/?#@]*)([^?#]*)(?:\?([^#]*))?")
# An underscore is in no host name of the Internet, but in those of Docker Compose.
_HOST: Final = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]{1,253}))(?::([0-9]{1,5}))?")
_FOLDER: Final = re.compile(r"(%2F[A-Za-z0-9_.%-]{0,300})(?::([0-9]{1,5}))?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,4}")
_PRIMARY: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PARAMETER: Final = re.compile(r"[A-Za-z_]{1,32}")
_ESCAPES: Final = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_SCHEMES_TEXT: Final = (
    "valkey://, valkeys://, redis://, rediss://, redis+sentinel://, postgresql://"
)
_FOLDER_ADVICE: Final = "write its folder as the host: postgresql://USER@%2Frun%2Fpostgresql/NAME"
_ESCAPE_ADVICE: Final = "in a user or a password write / as %2F, ? as %3F, # as %23, % as %25"


class _Form(enum.Enum):
    """What follows the scheme."""

    REDIS = enum.auto()
    SOCKET = enum.auto()
    SENTINEL = enum.auto()
    POSTGRESQL = enum.auto()


_SCHEMES: Final[Mapping[str, tuple[_Form, bool]]] = {
    "valkey": (_Form.REDIS, False),
    "redis": (_Form.REDIS, False),
    "valkeys": (_Form.REDIS, True),
    "rediss": (_Form.REDIS, True),
    "unix": (_Form.SOCKET, False),
    "valkey+unix": (_Form.SOCKET, False),
    "redis+unix": (_Form.SOCKET, False),
    "valkey+sentinel": (_Form.SENTINEL, False),
    "redis+sentinel": (_Form.SENTINEL, False),
    "valkeys+sentinel": (_Form.SENTINEL, True),
    "rediss+sentinel": (_Form.SENTINEL, True),
    "postgresql": (_Form.POSTGRESQL, False),
    "postgres": (_Form.POSTGRESQL, False),
}


class _Parts(NamedTuple):
    """A URL, taken apart; user and password are decoded."""

    user: str | None
    password: str | None
    hosts: str
    path: str
    parameters: Mapping[str, str]


def parse_store_url(text: str) -> StoreLocation:
    """Read a URL in one of the forms above.

    Raises `ValueError`, of which `str()` says what to write, without the password.
    """
    match = _URL.fullmatch(text) if _TEXT.fullmatch(text) else None
    if not match or "@" in match[4] or "@" in (match[5] or ""):
        raise ValueError(_malformed(text))
    scheme, userinfo, hosts, path, query = match.groups(default="")
    form, tls = _SCHEMES.get(scheme.lower(), (None, False))
    if form is None:
        raise ValueError(f"the URL begins with none of {_SCHEMES_TEXT}")
    user, _, password = (_decoded(each) for each in userinfo.partition(":"))
    parts = _Parts(user or None, password or None, hosts, path, _parameters(query))
    shown = f"{scheme.lower()}://{_shown_user(parts)}{hosts}{path}{'?' * bool(query)}{query}"
    match form:
        case _Form.SOCKET:
            return _socket(parts, shown)
        case _Form.SENTINEL:
            return _sentinel(parts, shown, tls=tls)
        case _Form.POSTGRESQL:
            return _postgresql(parts, shown)
    return _redis(parts, shown, tls=tls)


def _redis(parts: _Parts, shown: str, *, tls: bool) -> StoreLocation:
    _refuse_parameters(parts)
    return StoreLocation(
        engine=EngineName.REDIS,
        addresses=(_one_address(parts.hosts, _REDIS_PORT),),
        database=_number(parts.path.removeprefix("/") or "0"),
        user=parts.user,
        password=parts.password,
        tls=tls,
        shown=shown,
    )


def _socket(parts: _Parts, shown: str) -> StoreLocation:
    _refuse_parameters(parts, "db")
    if parts.hosts or len(parts.path) < 2:
        raise ValueError("a socket has no host; write redis+unix:///run/redis/redis.sock")
    return StoreLocation(
        engine=EngineName.REDIS,
        addresses=(),
        path=_socket_path(_decoded(parts.path)),
        database=_number(parts.parameters.get("db", "0")),
        user=parts.user,
        password=parts.password,
        shown=shown,
    )


def _sentinel(parts: _Parts, shown: str, *, tls: bool) -> StoreLocation:
    _refuse_parameters(parts)
    hosts = parts.hosts.split(",")
    if len(hosts) > SENTINELS_LIMIT:
        raise ValueError(f"it names {len(hosts)} Sentinels; at most {SENTINELS_LIMIT} are asked")
    _, primary, number = [*parts.path.split("/", 2), "", ""][:3]
    if not _PRIMARY.fullmatch(primary):
        example = "redis+sentinel://192.0.2.1:26379,192.0.2.2:26379/PRIMARY"
        raise ValueError(f"the name of the primary is missing, or is none; write {example}")
    return StoreLocation(
        engine=EngineName.REDIS,
        addresses=tuple(_address(each, _SENTINEL_PORT) for each in hosts),
        database=_number(number or "0"),
        user=parts.user,
        password=parts.password,
        tls=tls,
        sentinel=primary,
        shown=shown,
    )


def _postgresql(parts: _Parts, shown: str) -> StoreLocation:
    _refuse_parameters(parts, "sslmode")
    database = _decoded(parts.path.removeprefix("/"))
    if not re.fullmatch(r"[^/]{1,63}", database):
        raise ValueError("the database is missing; write postgresql://USER@HOST/DATABASE")
    address, path = _postgresql_place(parts.hosts)
    return StoreLocation(
        engine=EngineName.POSTGRESQL,
        addresses=(address,) if address else (),
        path=path,
        database=database,
        user=parts.user,
        password=parts.password,
        tls=_has_tls(parts.parameters.get("sslmode", ""), address),
        shown=shown,
    )


def _postgresql_place(hosts: str) -> tuple[TcpAddress | None, str | None]:
    """Return the address, or the file of the socket in the folder that stands for the host."""
    if not hosts:
        raise ValueError(f"the host is missing; for a UNIX socket, {_FOLDER_ADVICE}")
    folder = _FOLDER.fullmatch(hosts)
    if not folder:
        return _one_address(hosts, _POSTGRESQL_PORT), None
    port = _port(folder[2] or _POSTGRESQL_PORT)
    return None, _socket_path(f"{_decoded(folder[1]).rstrip('/')}/.s.PGSQL.{port}")


def _has_tls(mode: str, address: TcpAddress | None) -> bool:
    if mode not in {"", "verify-full", "disable"}:
        raise ValueError("sslmode is verify-full or disable: others do not check the server's name")
    if mode == "verify-full" and address is None:
        raise ValueError("a UNIX socket has no TLS; leave sslmode out")
    return mode == "verify-full" if mode else bool(address and not is_loopback(address.host))


def _malformed(text: str) -> str:
    if not _TEXT.fullmatch(text):
        return "it is no URL of printable ASCII characters without spaces; percent-encode others"
    if "@" in text and "://" in text:
        return f"it is no URL; {_ESCAPE_ADVICE}"
    return f"it is no URL; write one that begins with {_SCHEMES_TEXT}"


def _decoded(text: str) -> str:
    """Decode a percent-encoded part."""
    if not _ESCAPES.fullmatch(text):
        raise ValueError(f"a % is not followed by two hexadecimal digits; {_ESCAPE_ADVICE}")
    try:
        decoded = unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("its escapes are not UTF-8; percent-encode the bytes of UTF-8") from None
    if any(c < " " or c == "\x7f" for c in decoded):
        raise ValueError("an escape is a control character; leave it out")
    return decoded


def _shown_user(parts: _Parts) -> str:
    user = quote(parts.user or "", safe="")
    if parts.password is None:
        return f"{user}@" if user else ""
    return f"{user}:{_HIDDEN}@"


def _parameters(query: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for each in query.split("&") if query else ():
        name, _, value = each.partition("=")
        if name in found:
            raise ValueError("a parameter is given twice")
        found[name] = value
    return found


def _refuse_parameters(parts: _Parts, *known: str) -> None:
    for name in parts.parameters:
        if name not in known:
            what = f"parameter {name}" if _PARAMETER.fullmatch(name) else "what follows the ?"
            raise ValueError(f"{what} is not supported; {_instead(name, known)}")


def _instead(name: str, known: tuple[str, ...]) -> str:
    if name == "host" and "sslmode" in known:
        return _FOLDER_ADVICE
    if name in {"password", "user", "username"}:
        return "write user and password before the host, or the password in fleet.password_file"
    if name.startswith("ssl"):
        return "write rediss:// for TLS, and the CA in fleet.ca_file"
    return f"the only one is {known[0]}" if known else "leave it out"


def _number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise ValueError("the database of a Redis is a number, mostly 0; write redis://HOST:PORT/0")
    return text


def _one_address(hosts: str, port: int) -> TcpAddress:
    if "," in hosts:
        reason = "several hosts are for Sentinels only"
        raise ValueError(f"{reason}; write redis+sentinel://, or the address of a balancer")
    return _address(hosts, port)


def _address(text: str, default_port: int) -> TcpAddress:
    match = _HOST.fullmatch(text)
    if not match:
        raise ValueError("the host is missing or is none; write HOST, HOST:PORT or [v6]:PORT")
    port = _port(match[3] or default_port)
    if match[2]:
        return TcpAddress(match[2].lower(), port)
    if not is_ip(match[1]) or ":" not in match[1]:
        raise ValueError("what is in brackets is no IPv6 address")
    return TcpAddress(str(ipaddress.IPv6Address(match[1])), port)


def _port(text: str | int) -> int:
    if not 0 < int(text) < 65536:
        raise ValueError("a port is a number from 1 to 65535")
    return int(text)


def _socket_path(path: str) -> str:
    if not path.startswith("/") or len(os.fsencode(path)) > _PATH_LIMIT:
        raise ValueError(f"the path of a socket begins with / and has at most {_PATH_LIMIT} bytes")
    return path
