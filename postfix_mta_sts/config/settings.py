"""What may be said in a configuration, and what holds where nothing is said.

Border: the keys of the YAML are the attributes of the classes here, their types say what is
allowed. How YAML is read is the matter of `yaml_document`, how it is checked that of `decode`;
how a value is written, of `field_types.py`; how variables stand for keys, of `environment.py`.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from postfix_mta_sts.config import field_types, yaml_document
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.decode import ConflictError, decode_struct
from postfix_mta_sts.config.environment import apply_environment
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.errors import UserError

__all__ = [
    "CacheSettings",
    "ConfigError",
    "ControlSettings",
    "DaneSettings",
    "DnsSettings",
    "HttpsSettings",
    "ListenerSettings",
    "LogSettings",
    "LookupSettings",
    "MapSettings",
    "MetricsSettings",
    "RefreshSettings",
    "Settings",
    "default_cache_path",
    "default_control_path",
    "load",
    "parse",
]

_MAP_NAME = re.compile(r"[!-~]{1,100}")

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class ConfigError(UserError):
    """The configuration cannot be used.

    `str()` names the source, the line, the key's path, what was found and what is allowed.
    """


class ListenerSettings(Struct, frozen=True, kw_only=True):
    """One address at which look-ups are answered, over one wire."""

    socketmap: field_types.Address = None
    tcp_table: field_types.Address = None
    mode: field_types.Mode = None
    """Permissions of a UNIX socket; None: what the umask leaves."""
    owner: field_types.Account = None
    group: field_types.Account = None
    """Of a UNIX socket, a name or an id; None: those of the process."""
    tlsrpt: field_types.Switch = False
    """The dress of tcp_table, which knows no map name."""

    def __post_init__(self) -> None:
        if (self.socketmap is None) == (self.tcp_table is None):
            raise ConflictError("socketmap", "either it or tcp_table is needed, and not both")
        if self.tlsrpt and self.wire == "socketmap":
            raise ConflictError("tlsrpt", "goes with tcp_table only; for socketmap, see maps")
        for name in ("mode", "owner", "group"):
            if getattr(self, name) is not None and isinstance(self.address, TcpAddress):
                raise ConflictError(name, "goes with unix:/path only")

    @property
    def wire(self) -> Literal["socketmap", "tcp_table"]:
        """The protocol that is spoken here."""
        return "tcp_table" if self.socketmap is None else "socketmap"

    @property
    def address(self) -> TcpAddress | UnixAddress:
        """Where it is spoken."""
        return next(a for a in (self.socketmap, self.tcp_table) if a is not None)


class MapSettings(Struct, frozen=True, kw_only=True):
    """How the replies under one socketmap map name are dressed."""

    tlsrpt: field_types.Switch = False
    """With the TLSRPT attributes, which only Postfix 3.10 and later take."""
    servername: field_types.Switch = True
    """With servername=hostname, which only Postfix 3.4 and later take."""
    enforce_testing: field_types.Switch = False
    """Mode testing is treated as enforce."""


class CacheSettings(Struct, frozen=True, kw_only=True):
    """Where policies are kept, and how many replies."""

    path: field_types.FilePath = None
    """None: see `default_cache_path`."""
    memory_entries: Annotated[
        int, Meta(ge=1, le=10_000_000), FieldType("a whole number from 1 to 10000000")
    ] = 100_000


class LookupSettings(Struct, frozen=True, kw_only=True):
    """One look-up of Postfix's."""

    # smtp(8) waits 100 s for a reply, and holds mail back when none has come.
    timeout: Annotated[float, field_types.duration("0.001s", "90s")] = 10.0


class DnsSettings(Struct, frozen=True, kw_only=True):
    """How policy ids are found."""

    nameservers: tuple[field_types.Nameserver, ...] = ()
    """With a port or without; none: those of the system."""
    timeout: Annotated[float, field_types.duration("0.001s", "10m")] = 5.0
    on_failure: Annotated[Literal["deliver", "defer"], FieldType("deliver or defer")] = "deliver"
    trust_ad: field_types.Switch = False
    """Whether the AD bit counts of name servers that are not on loopback."""


class DaneSettings(Struct, frozen=True, kw_only=True):
    """Domains whose mail hosts are authenticated by DANE (RFC 7672) rather than by a policy."""

    mode: Annotated[Literal["auto", "on", "off"], FieldType("auto, on or off")] = "auto"
    """Auto: on where the Postfix of this machine asks for DNSSEC."""
    answer: Annotated[
        Literal["dane-only", "dane", "yield"], FieldType("dane-only, dane or yield")
    ] = "dane-only"
    """What Postfix is told of them, at most; yield: nothing."""
    on_failure: Annotated[Literal["defer", "mta_sts"], FieldType("defer or mta_sts")] = "defer"
    """What holds where the MX RRset is signed and the DNS does not say more."""


class HttpsSettings(Struct, frozen=True, kw_only=True):
    """How policies are fetched."""

    timeout: Annotated[float, field_types.duration("0.001s", "10m")] = 60.0
    ca_file: field_types.CaFile = None
    """None: the CAs that the system trusts."""
    proxy: field_types.Proxy = None
    allow_private_addresses: field_types.Switch = False
    concurrency: Annotated[
        int, Meta(ge=1, le=10_000), FieldType("a whole number from 1 to 10000")
    ] = 200


class RefreshSettings(Struct, frozen=True, kw_only=True):
    """How long policies are renewed without being asked for."""

    idle_after: Annotated[float, field_types.duration("1s", "3660d")] = 30 * 86400.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """What is logged, and in which form."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        FieldType("debug, info, warning or error"),
    ] = "info"
    format: Annotated[Literal["text", "json"], FieldType("text or json")] = "text"


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """Where numbers and health are shown over HTTP."""

    listen: field_types.Address = None
    """None: nowhere."""
    mode: field_types.Mode = None
    owner: field_types.Account = None
    group: field_types.Account = None
    """Of a UNIX socket; None: as for a `ListenerSettings`."""

    def __post_init__(self) -> None:
        for name in ("mode", "owner", "group"):
            if getattr(self, name) is not None and not isinstance(self.listen, UnixAddress):
                raise ConflictError(name, "goes with unix:/path only")


class ControlSettings(Struct, frozen=True, kw_only=True):
    """Where the commands that speak to the running daemon find it: a UNIX socket."""

    path: field_types.FilePath = None
    """None: see `default_control_path`."""
    mode: field_types.Mode = 0o600
    owner: field_types.Account = None
    group: field_types.Account = None


def _maps() -> Mapping[str, MapSettings]:
    return {
        "postfix": MapSettings(),
        "QUERY": MapSettings(),
        "QUERYwithTLSRPT": MapSettings(tlsrpt=True),
    }


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration; `Settings()` is what holds without any."""

    listen: tuple[ListenerSettings, ...] = (
        ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461)),
    )
    maps: Mapping[str, MapSettings] = field(default_factory=_maps)
    """The names of a configuration are added to these, or replace them one by one."""
    cache: CacheSettings = CacheSettings()
    lookup: LookupSettings = LookupSettings()
    dns: DnsSettings = DnsSettings()
    dane: DaneSettings = DaneSettings()
    https: HttpsSettings = HttpsSettings()
    refresh: RefreshSettings = RefreshSettings()
    metrics: MetricsSettings = MetricsSettings()
    control: ControlSettings = ControlSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        if not self.listen:
            raise ConflictError("listen", "at least one address is needed")
        seen: set[TcpAddress | UnixAddress] = set()
        for address in (listener.address for listener in self.listen):
            if address in seen and not _is_any_port(address):
                raise ConflictError("listen", f"{address} stands there twice")
            seen.add(address)
        for name in self.maps:
            if not _MAP_NAME.fullmatch(name):
                raise ConflictError("maps", f"{name!r} is not printable ASCII without blanks")


def _is_any_port(address: TcpAddress | UnixAddress) -> bool:
    """Whether the port is another one each time."""
    return isinstance(address, TcpAddress) and address.port == 0


def load(path: Path | None, environ: Mapping[str, str] = _NOTHING) -> Settings:
    """The settings that a file holds, or none; what `environ` says wins (see `environment`).

    Raises `ConfigError`, also where the file cannot be read.
    """
    if path is None:
        return parse("", "", environ)
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}") from None
    return parse(text, str(path), environ)


def parse(text: str, source: str, environ: Mapping[str, str] = _NOTHING) -> Settings:
    """The settings that a YAML text holds; an empty one holds the defaults.

    Raises `ConfigError` at the first thing that is wrong; `source` is the text's name in it. What
    `environ` says wins, and is named by its variable.
    """
    try:
        return decode_struct(Settings, apply_environment(yaml_document.read(text), environ))
    except yaml_document.DocumentError as error:
        place = error.source or f"{source}:{error.line}"
        raise ConfigError(f"{place}: {error}") from None


def default_cache_path(environ: Mapping[str, str]) -> Path:
    """Where policies are kept if the configuration does not say.

    $STATE_DIRECTORY (systemd.exec(5); the first, if there are several), else $XDG_STATE_HOME if
    it is absolute (XDG Base Directory Specification), else ~/.local/state.
    """
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0]) / "policies.db"
    home = Path(environ.get("HOME") or Path.home())
    xdg = Path(environ.get("XDG_STATE_HOME", ""))
    folder = xdg if xdg.is_absolute() else home / ".local" / "state"
    return folder / "postfix-mta-sts" / "policies.db"


def default_control_path(environ: Mapping[str, str]) -> Path:
    """Where the control socket is if the configuration does not say.

    In $RUNTIME_DIRECTORY (systemd.exec(5)), else beside the policies' default place.
    """
    if runtime := environ.get("RUNTIME_DIRECTORY"):
        return Path(runtime.split(":")[0]) / "control.sock"
    return default_cache_path(environ).with_name("control.sock")
