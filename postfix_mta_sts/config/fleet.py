"""The settings of a fleet: where relays share what they know, and how one takes part.

`store.fleet.settings` reads the files that are named here. Each key says what it costs to leave it
out; docs/fleet.md says what each protects.
"""

import re
from typing import Annotated, Final

from msgspec import Struct

from postfix_mta_sts.config import field_types
from postfix_mta_sts.config.decode import ConflictError
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.mtasts.sharing import is_relay_name

DEFAULT_PREFIX: Final = "mta_sts"

_PREFIX: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN: Final = re.compile(r"pg_.*|public|information_schema")
_NO_KEY: Final = (
    "missing: records must be signed; make a key: openssl rand -hex 32 > FILE, and copy it to "
    "each relay"
)


def _name(value: object) -> str | None:
    name = field_types.word(value) if value is not None else None
    if name is not None and not is_relay_name(name):
        raise ValueError
    return name


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise ValueError
    if _TAKEN.fullmatch(value):
        raise ValueError("a schema of PostgreSQL that is not ours")
    return value


RelayName = Annotated[
    str | None,
    FieldType("at most 64 ASCII letters, digits, dots, hyphens and underscores, or null", _name),
]
Prefix = Annotated[str, FieldType("at most 40 lower-case letters, digits and underscores", _prefix)]


class FleetSettings(Struct, frozen=True, kw_only=True):
    """The store that relays share."""

    url: field_types.StoreUrl = None
    """None: this relay shares nothing."""
    name: RelayName = None
    """Of this relay; None: that of the host."""
    prefix: Prefix = DEFAULT_PREFIX
    """Of the keys in Redis; the schema in PostgreSQL."""
    budget: Annotated[float, field_types.duration("10ms", "2s")] = 0.25
    """Seconds that a store which does not answer may cost one look-up."""
    ca_file: field_types.CaFile = None
    """None: the CAs that the system trusts."""
    key_file: field_types.SecretFile = None
    password_file: field_types.SecretFile = None
    unsigned: field_types.Switch = False
    """Do without a key; only on loopback."""
    exceptions: field_types.Switch = True
    """Share the exceptions that commands add."""

    def __post_init__(self) -> None:
        if self.url is None:
            return
        if self.unsigned and self.key_file:
            raise ConflictError(["unsigned"], "key_file is given, too; remove one of them")
        if self.unsigned and not self.url.is_loopback:
            reason = "only for a store on this machine; remove it, and make a key_file"
            raise ConflictError(["unsigned"], reason)
        if not self.unsigned and self.key_file is None:
            raise ConflictError(["key_file"], _NO_KEY)
        if self.password_file and self.url.password is not None:
            raise ConflictError(["password_file"], "url has a password, too; remove one of them")
        if self.ca_file and not self.url.tls:
            reason = "this url is without TLS; write rediss://, or ?sslmode=verify-full"
            raise ConflictError(["ca_file"], reason)
