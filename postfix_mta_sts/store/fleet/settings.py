"""What the network process needs to know of the fleet; `config.fleet` has the user's side.

The files of the configuration are read here, at a start and at each reload: so new keys, and a new
password, need a reload.
"""

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from postfix_mta_sts.config.field_types import read_ca_file
from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.sharing import is_relay_name
from postfix_mta_sts.store.fleet.extras import missing_extra
from postfix_mta_sts.store.fleet.keys import MAKE_ONE, Keyring, read_keyring, read_secret
from postfix_mta_sts.values import Value

if TYPE_CHECKING:  # an import at run time would load the YAML reader in the network process
    from postfix_mta_sts.config.fleet import FleetSettings
    from postfix_mta_sts.config.settings import Settings


class SharedStoreSettings(Value, frozen=True, kw_only=True):
    """Where the shared store is, and how this relay uses it; made by `of`.

    It holds secrets: `repr` shows none.
    """

    location: StoreLocation
    name: str
    """Of this relay; see `sharing.is_relay_name`."""
    prefix: str
    """Of Redis keys, and of the PostgreSQL schema: lower-case letters, digits, `_`; at most 40."""
    budget: float
    """Seconds that the store may cost one look-up."""
    keyring: Keyring | None
    """None: records are not signed; only on loopback."""
    authorities: str | None
    """CA certificates in PEM for TLS; None: those of the system."""

    @property
    def fleet(self) -> tuple[str, ...]:
        """What tells this fleet from others; see `fleet_of`."""
        return fleet_of(self.prefix, tuple(self.keyring.keys) if self.keyring else ())

    @classmethod
    def of(cls, settings: "Settings") -> "SharedStoreSettings | None":
        """Select them from the settings; None: this relay shares nothing.

        Raises `UserError` for a file that cannot be used, and for a library that is not installed.
        """
        fleet = settings.fleet
        if fleet.url is None:
            return None
        found = {key: _read(key, read, fleet) for key, read in _READERS.items()}
        password = found["fleet.password_file"]
        return cls(
            location=replace(fleet.url, password=password) if password else fleet.url,
            name=relay_name(fleet),
            prefix=fleet.prefix,
            budget=fleet.budget,
            keyring=found["fleet.key_file"],
            authorities=found["fleet.ca_file"],
        )


def problems(fleet: "FleetSettings") -> Iterator[tuple[str, str]]:
    """Yield each key for which `SharedStoreSettings.of` fails, and why."""
    for key, read in _READERS.items() if fleet.url else ():
        try:
            read(fleet)
        except (UserError, OSError) as error:
            yield key, _reason(key, error)


def fleet_of(prefix: str, key_ids: Sequence[str]) -> tuple[str, ...]:
    """Return what tells the fleet with these keys from others, one text for each key.

    Records are signed with the prefix, too: with another one they are those of other relays.
    """
    return tuple(f"{prefix}:{each}" for each in key_ids or ("unsigned",))


def relay_name(fleet: "FleetSettings") -> str:
    """Return the name of this relay: that of the settings, else the name of the host."""
    return fleet.name or name_of_host(socket.gethostname())


def name_of_host(host: str) -> str:
    """Return a name for the relay on a host: what a name cannot have becomes a hyphen."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", host).strip("._-")[:64]
    return name if is_relay_name(name) else "relay"


def _read(key: str, read: "Callable[[FleetSettings], Any]", fleet: "FleetSettings") -> Any:  # noqa: ANN401 (each file is another type)
    try:
        return read(fleet)
    except (UserError, OSError) as error:
        raise UserError(f"{key}: {_reason(key, error)}") from None


def _reason(key: str, error: UserError | OSError) -> str:
    if not isinstance(error, OSError):
        return str(error)
    reason = f"{error.filename}: {error.strerror}"
    match error:
        case FileNotFoundError():
            return f"{reason}{_IF_MISSING.get(key, '')}"
        case PermissionError():
            return f"{reason}; the group of the daemon must be able to read it, and mode 640"
    return reason


def _require_extra(fleet: "FleetSettings") -> None:
    if fleet.url and (reason := missing_extra(fleet.url.engine)):
        raise UserError(reason)


def _keyring(fleet: "FleetSettings") -> Keyring | None:
    return read_keyring(fleet.key_file) if fleet.key_file else None


def _password(fleet: "FleetSettings") -> str | None:
    return _read_password(fleet.password_file) if fleet.password_file else None


def _read_password(path: Path) -> str:
    # An error of a strict decoder would have the password in it.
    password = read_secret(path).decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    if "\ufffd" in password:
        raise UserError(f"{path} is not UTF-8; write the password as UTF-8")
    if not password:
        raise UserError(f"{path} has no password; write one line")
    if any(c < " " or c == "\x7f" for c in password):
        raise UserError(f"{path} has several lines, or a control character; write one line")
    return password


def _authorities(fleet: "FleetSettings") -> str | None:
    return read_ca_file(fleet.ca_file) if fleet.ca_file else None


_IF_MISSING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fleet.key_file": f"; copy it from another relay, or make the first: {MAKE_ONE}",
        "fleet.password_file": "; write the password of the store into it, with mode 640",
    }
)
_READERS: Final[Mapping[str, "Callable[[FleetSettings], Any]"]] = MappingProxyType(
    {
        "fleet.url": _require_extra,
        "fleet.key_file": _keyring,
        "fleet.password_file": _password,
        "fleet.ca_file": _authorities,
    }
)
