"""All that `doctor` has looked at, once; what the rules judge. Values only.

Times are epoch seconds. Text from elsewhere has been made printable where it was read.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.installed.values import Instance


class DaemonState(enum.StrEnum):
    """Whether the daemon answers at its control socket."""

    ANSWERS = "answers"
    NOT_RUNNING = "not-running"
    NO_CONTROL = "no-control"
    """A listener answers, and there is no control socket."""
    HANGS = "hangs"
    """It runs, and does not answer in time."""
    DENIED = "denied"
    """This user may not ask it."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """The daemon of this machine."""

    state: DaemonState
    reason: str = ""
    """Why it did not answer."""
    status: Mapping[str, Any] | None = None
    """The object that `status --json` prints; None: it did not answer."""
    command_line: tuple[str, ...] = ()
    """The words of its process; empty: not seen."""
    uid: int | None = None
    """The user of its process; None: not seen."""


@dataclass(frozen=True, slots=True)
class Unit:
    """The systemd unit of the daemon, as `systemctl show` prints it."""

    is_active: bool
    is_enabled: bool
    """Whether the unit, or its socket, starts with the machine."""
    command_line: str
    files: tuple[str, ...]
    """The unit's file and its drop-ins."""
    sockets: tuple[str, ...] = ()
    """The socket units for which systemd starts the daemon when somebody connects: those that are
    active although it is not."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """What is wrong with the daemon's configuration, or with what it names on this machine."""

    key: str
    """Such as `listen[0].group`."""
    reason: str
    is_warning: bool
    file: str = ""
    line: int = 0
    """Where the key stands; 0: not in a file."""


@dataclass(frozen=True, slots=True)
class Place:
    """The line of the configuration file where a key stands."""

    file: str
    line: int
    """Counted from 1."""
    text: str
    """The line itself, without its end."""


@dataclass(frozen=True, slots=True)
class Resolver:
    """The name servers that one side asks."""

    file: str
    """The resolv.conf that names them."""
    servers: tuple[str, ...]
    silent: tuple[str, ...] = ()
    """Those that do not answer."""
    not_validating: tuple[str, ...] = ()
    """Those that answer, and do not validate DNSSEC."""
    are_local: bool = True
    """Whether all are on this machine: then the AD bit can be believed."""


@dataclass(frozen=True, slots=True)
class Outward:
    """What came of connections to the servers of a domain, with `--outward`."""

    domain: str
    https_problem: str = ""
    """Why its Policy Host could not be reached on port 443; empty: it could."""
    smtp_problem: str = ""
    """Why none of its MX hosts could be reached on port 25; empty: one could."""
    has_starttls: bool | None = None
    """Whether one of them offers STARTTLS; None: not seen."""
    has_enforced_policy: bool = False
    clock_offset: float | None = None
    """Seconds by which this machine's clock is ahead of the Policy Host's `Date`."""


@dataclass(frozen=True, slots=True)
class StoreFile:
    """The daemon's store, and whether the daemon's user may use it."""

    path: str
    folder: str
    is_readable: bool
    is_writable: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What `doctor` has seen."""

    now: float
    version: str
    """Of the program on disk, which is this one."""
    program_time: float
    """When its files were installed: an older clock is wrong."""
    is_root: bool
    main_cf_file: str
    """The file of `--main-cf`; empty: the Postfix of this machine was looked at."""
    instances: tuple[Instance, ...]
    daemon: Daemon
    unit: Unit | None
    settings: Settings | None
    """None: the configuration is not valid."""
    config_file: str
    config_time: float | None
    """When the file was last written."""
    config_problems: tuple[ConfigProblem, ...]
    daemon_resolver: Resolver | None
    postfix_resolver: Resolver | None
    """That of smtp(8) of the first instance, in its chroot; None: not looked at."""
    ca_bundle: str
    """The file of CA certificates that this system has; empty: none."""
    ca_problem: str
    """Why the daemon's CA certificates cannot be used; empty: they can."""
    store: StoreFile | None
    outward: Outward | None
    waiting: int | None
    """Messages in the queue that wait because of a policy; None: not seen."""
    unseen: tuple[Unseen, ...]
    places: Mapping[str, Place] = field(default_factory=dict)
    """Where the daemon's file sets what a finding may change, by key, such as `https.ca_file`; keys
    that variables set, and defaults, have none. `config_line.places_of` finds them."""
    other_resolvers: tuple[Resolver, ...] = ()
    """The same of further instances of Postfix that read another resolv.conf."""
