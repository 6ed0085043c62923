"""The settings: every key of the configuration, its type and its default.

The keys of the YAML file are the attributes of the classes here, and the types of the attributes
say which values are allowed. `yaml_document` parses the file, `environment` applies variables,
`decode` checks keys and types, and `field_types` reads single values.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct, field

from postfix_mta_sts.config import config_file, field_types, foreign_keys, yaml_document
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.administration import (
    AlertSettings,
    CheckSettings,
    ExceptionSettings,
    TlsrptSettings,
    TrialSettings,
    exception_of,
    whole_top_level_domains,
)
from postfix_mta_sts.config.decode import ConflictError, decode_struct
from postfix_mta_sts.config.default_paths import default_cache_path, default_control_path
from postfix_mta_sts.config.environment import apply_environment
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.config.fleet import FleetSettings
from postfix_mta_sts.config.listening import (
    ControlSettings,
    ListenerSettings,
    MapSettings,
    MetricsSettings,
    usual_maps,
)
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope

__all__ = [
    "AlertSettings",
    "CacheSettings",
    "CheckSettings",
    "ConfigError",
    "ControlSettings",
    "DaneSettings",
    "DnsSettings",
    "ExceptionSettings",
    "FleetSettings",
    "HttpsSettings",
    "ListenerSettings",
    "LogSettings",
    "LookupSettings",
    "MapSettings",
    "MetricsSettings",
    "NetworkProcessSettings",
    "RefreshSettings",
    "Settings",
    "TlsrptSettings",
    "TrialSettings",
    "default_cache_path",
    "default_control_path",
    "load",
    "parse",
]

_MAP_NAME = re.compile(r"[!-~]{1,100}")

_NO_VARIABLES: Final[Mapping[str, str]] = MappingProxyType({})


class ConfigError(UserError):
    """The configuration is not valid.

    Each of `errors` is one line, which names the source, the line, the path of the key, the value
    found and the values allowed. `str()` is the first, and the number of the others.
    """

    def __init__(self, *errors: str) -> None:
        self.errors = errors
        more = f" ({len(errors) - 1} more: see check-config)" if errors[1:] else ""
        super().__init__(errors[0] + more)


class CacheSettings(Struct, frozen=True, kw_only=True):
    """The store of policies, and the size of the caches in memory."""

    path: field_types.FilePath = None
    """None: see `default_cache_path`."""
    memory_entries: Annotated[
        int, Meta(ge=1, le=10_000_000), FieldType("a whole number from 1 to 10000000")
    ] = 100_000
    memory: Annotated[int, field_types.size("4MiB", "1024GiB")] = 64 * 2**20
    """Bytes of all caches together: see `state_memory` and `reply_memory`."""
    file_size: Annotated[int, field_types.size("1MiB", "1024GiB")] = 2**30

    @property
    def state_memory(self) -> int:
        """Bytes for states and the replies made from them."""
        return self.memory - self.reply_memory

    @property
    def reply_memory(self) -> int:
        """Bytes for the requests that get these replies; they are an eighth of the size."""
        return self.memory // 8


class LookupSettings(Struct, frozen=True, kw_only=True):
    """A look-up from Postfix."""

    # smtp(8) waits 100 s for a reply, and defers the mail if it gets none.
    timeout: Annotated[float, field_types.duration("0.001s", "90s")] = 10.0


class DnsSettings(Struct, frozen=True, kw_only=True):
    """DNS queries."""

    nameservers: tuple[field_types.Nameserver, ...] = ()
    """IP addresses, with or without a port; empty: the name servers of the system."""
    timeout: Annotated[float, field_types.duration("0.001s", "10m")] = 5.0
    on_failure: Annotated[Literal["deliver", "defer"], FieldType("deliver or defer")] = "deliver"
    trust_ad: field_types.Switch = False
    """Trust the AD bit of name servers that are not on loopback."""


class DaneSettings(Struct, frozen=True, kw_only=True):
    """Domains whose MX hosts DANE authenticates (RFC 7672), so that MTA-STS must not."""

    mode: Annotated[Literal["auto", "on", "off"], FieldType("auto, on or off")] = "auto"
    """auto: on if the Postfix of this machine uses DNSSEC."""
    answer: Annotated[
        Literal["dane-only", "dane", "yield"], FieldType("dane-only, dane or yield")
    ] = "dane-only"
    """The reply to Postfix for such a domain; yield: not found."""
    on_failure: Annotated[Literal["defer", "mta_sts"], FieldType("defer or mta_sts")] = "defer"
    """What to do if the MX RRset is signed and the TLSA look-up fails."""


class HttpsSettings(Struct, frozen=True, kw_only=True):
    """Fetching policies."""

    timeout: Annotated[float, field_types.duration("0.001s", "10m")] = 60.0
    ca_file: field_types.CaFile = None
    """None: the CAs that the system trusts."""
    proxy: field_types.Proxy = None
    allow_private_addresses: field_types.Prefixes = False
    """True: all; a tuple: those in these prefixes, such as `10.0.0.0/8`."""
    concurrency: Annotated[
        int, Meta(ge=1, le=10_000), FieldType("a whole number from 1 to 10000")
    ] = 200


class NetworkProcessSettings(Struct, frozen=True, kw_only=True):
    """The process that talks to DNS, Policy Hosts and mail servers."""

    sandbox: Annotated[Literal["auto", "off"], FieldType("auto or off")] = "auto"
    """auto: restrict it as far as the kernel can."""


class RefreshSettings(Struct, frozen=True, kw_only=True):
    """Renewing policies in the background."""

    idle_after: Annotated[float, field_types.duration("1s", "3660d")] = 30 * 86400.0


class LogSettings(Struct, frozen=True, kw_only=True):
    """The log level and the log format."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        FieldType("debug, info, warning or error"),
    ] = "info"
    format: Annotated[Literal["text", "json"], FieldType("text or json")] = "text"


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration; `Settings()` has all the defaults."""

    listen: tuple[ListenerSettings, ...] = (
        ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461)),
    )
    maps: Mapping[str, MapSettings] = field(default_factory=usual_maps)
    """The maps of a configuration are added to these; one with the same name replaces it."""
    cache: CacheSettings = CacheSettings()
    lookup: LookupSettings = LookupSettings()
    dns: DnsSettings = DnsSettings()
    dane: DaneSettings = DaneSettings()
    https: HttpsSettings = HttpsSettings()
    network: NetworkProcessSettings = NetworkProcessSettings()
    refresh: RefreshSettings = RefreshSettings()
    metrics: MetricsSettings = MetricsSettings()
    control: ControlSettings = ControlSettings()
    exceptions: Mapping[field_types.ScopeText, ExceptionSettings] = field(default_factory=dict)
    """By scope, as it is written; see `policy_exceptions`."""
    trial: TrialSettings = TrialSettings()
    checks: CheckSettings = CheckSettings()
    alerts: AlertSettings = AlertSettings()
    fleet: FleetSettings = FleetSettings()
    tlsrpt: TlsrptSettings = TlsrptSettings()
    log: LogSettings = LogSettings()

    def __post_init__(self) -> None:
        if not self.listen:
            raise ConflictError(
                ["listen"], "at least one address is needed; write [{socketmap: 127.0.0.1:8461}]"
            )
        self._check_addresses()
        for name in self.maps:
            if not _MAP_NAME.fullmatch(name):
                reason = f"found {name!r}; allowed: 1 to 100 printable ASCII characters, no spaces"
                raise ConflictError(["maps"], reason)
        if found := whole_top_level_domains(self.exceptions):
            reason = "stands for a whole top-level domain; write anyway: true if that is meant"
            raise ConflictError([("exceptions", name) for name in found], reason)

    @property
    def policy_exceptions(self) -> Mapping[Scope, PolicyException]:
        """The exceptions by scope in normal form, also those that have ended."""
        made = (exception_of(name, each) for name, each in self.exceptions.items())
        return {each.scope: each for each in made}

    def is_on_trial(self, own: MapSettings) -> bool:
        """Whether policies are on trial in a map with these settings."""
        return self.trial.enabled if own.trial is None else own.trial

    def _check_addresses(self) -> None:
        """Refuse two sockets at one address; a default `control.path` is not known here."""
        given = [("listen", listener.address) for listener in self.listen]
        if self.metrics.listen:
            given.append(("metrics", self.metrics.listen))
        if self.control.path:
            given.append(("control", UnixAddress(self.control.path)))
        seen: set[TcpAddress | UnixAddress] = set()
        for key, address in given:
            if address in seen and not _is_any_port(address):
                raise ConflictError([key], f"{address} is given twice")
            seen.add(address)


def _is_any_port(address: TcpAddress | UnixAddress) -> bool:
    """Whether the system chooses a free port."""
    return isinstance(address, TcpAddress) and address.port == 0


def load(path: Path | None, environ: Mapping[str, str] = _NO_VARIABLES) -> Settings:
    """Load a YAML file, or only the defaults; variables in `environ` override it.

    Raises `ConfigError`, also if the file cannot be read.
    """
    return parse("", "", environ) if path is None else parse(read(path), str(path), environ)


def read(path: Path) -> str:
    """Read the text of a configuration file. Raises `ConfigError`."""
    try:
        return config_file.read_text(path)
    except OSError as error:
        advice = f" for user {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise ConfigError(f"{path}: cannot be read: {error.strerror}{advice}") from None


def parse(text: str, source: str, environ: Mapping[str, str] = _NO_VARIABLES) -> Settings:
    """Parse a YAML text; an empty text gives the defaults, and variables in `environ` override it.

    Raises `ConfigError` with all errors; each names `source` or the variable.
    """
    errors, settings = yaml_document.Errors(), Settings()
    root = yaml_document.read_all(text, errors) or yaml_document.Node(None, 1)
    root = apply_environment(root, environ, errors)
    if isinstance(root.value, Mapping) and (program := foreign_keys.program(root.value)):
        reason = f"this is the file of {program}; see docs/migrating.md, which has its keys"
        errors.add(yaml_document.DocumentError(1, reason))
    with errors.collect():
        settings = decode_struct(Settings, root)
    try:
        errors.check()
    except yaml_document.DocumentError as first:
        found = ((e.source or f"{source}:{e.line}", e) for e in (first, *first.more))
        raise ConfigError(*(f"{place}: {error}" for place, error in found)) from None
    return settings
