"""The settings of what clients connect to: listeners and their maps, metrics, control socket."""

from collections.abc import Mapping
from typing import Final, Literal

from msgspec import Struct

from postfix_mta_sts.config import field_types
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.decode import ConflictError

_ONE_ADDRESS: Final = (
    "a listener needs either socketmap or tcp_table; for both, write two listeners"
)


def _refuse_permissions(settings: Struct) -> None:
    """Refuse what only a UNIX socket has."""
    names = ("mode", "owner", "group")
    if given := [name for name in names if getattr(settings, name) is not None]:
        raise ConflictError(given, "only for a UNIX socket, unix:/path")


class ListenerSettings(Struct, frozen=True, kw_only=True):
    """An address where Postfix sends look-ups, and the protocol spoken there."""

    socketmap: field_types.Address = None
    tcp_table: field_types.Address = None
    mode: field_types.Mode = None
    """Permissions of a UNIX socket; None: see `postfix.access`, as for the group."""
    owner: field_types.Account = None
    group: field_types.Account = None
    """Owner and group of a UNIX socket, a name or an id; None: those of the process."""
    tlsrpt: field_types.Switch = False
    """Add TLSRPT attributes to replies over tcp_table, which has no map names."""

    def __post_init__(self) -> None:
        if (self.socketmap is None) == (self.tcp_table is None):
            raise ConflictError(["socketmap"], _ONE_ADDRESS)
        if self.tlsrpt and self.wire == "socketmap":
            raise ConflictError(["tlsrpt"], "only for tcp_table; for socketmap, set it in maps")
        if isinstance(self.address, TcpAddress):
            _refuse_permissions(self)

    @property
    def wire(self) -> Literal["socketmap", "tcp_table"]:
        """The protocol spoken at the address."""
        return "tcp_table" if self.socketmap is None else "socketmap"

    @property
    def address(self) -> TcpAddress | UnixAddress:
        """The address to listen on."""
        return next(a for a in (self.socketmap, self.tcp_table) if a is not None)


class MapSettings(Struct, frozen=True, kw_only=True):
    """The format of replies to look-ups in one socketmap map."""

    tlsrpt: field_types.Switch = False
    """Add the TLSRPT attributes; Postfix before 3.10 defers mail on them."""
    servername: field_types.Switch = True
    """Add servername=hostname; Postfix before 3.4 does not know it."""
    enforce_testing: field_types.Switch = False
    """Treat mode testing as enforce."""
    trial: field_types.SwitchOrNull = None
    """Answer "not found" in place of each policy; None: as `trial.enabled`."""


def usual_maps() -> Mapping[str, MapSettings]:
    """The maps that each configuration has, unless it replaces them."""
    return {
        "postfix": MapSettings(),
        "QUERY": MapSettings(),
        "QUERYwithTLSRPT": MapSettings(tlsrpt=True),
    }


class MetricsSettings(Struct, frozen=True, kw_only=True):
    """The HTTP server for metrics and health checks."""

    listen: field_types.Address = None
    """None: no server."""
    mode: field_types.Mode = None
    owner: field_types.Account = None
    group: field_types.Account = None
    """Owner and group of a UNIX socket, as in `ListenerSettings`."""

    def __post_init__(self) -> None:
        if not isinstance(self.listen, UnixAddress):
            _refuse_permissions(self)


class ControlSettings(Struct, frozen=True, kw_only=True):
    """The UNIX socket where commands reach the running daemon."""

    path: field_types.FilePath = None
    """None: see `default_control_path`."""
    mode: field_types.Mode = 0o600
    owner: field_types.Account = None
    group: field_types.Account = None
