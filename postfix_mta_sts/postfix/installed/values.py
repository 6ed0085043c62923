"""What was found of the Postfix of this machine; values only, filled in by the other modules."""

import enum
from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.postfix.authorities import Authorities
from postfix_mta_sts.postfix.policy_maps import Server
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value

TRY_AGAIN: Final = "try-again"
"""An error of `Reach`: the server says that it cannot answer, and why."""
MALFORMED: Final = "malformed"
"""The same: what it sent is no reply, or it closed the connection without one."""


class Standpoint(enum.StrEnum):
    """As whom, and from where, a server was asked."""

    POSTFIX = "postfix"
    """As the user of Postfix (`mail_owner`), in the queue directory."""
    CHROOT = "chroot"
    """The same, after chroot(2) to the queue directory: as a chrooted smtp(8)."""
    SELF = "self"
    """As the user that runs the command: nothing more was allowed."""


class Reach(Value, frozen=True):
    """What came of asking a server, or of connecting to a socket."""

    standpoint: Standpoint
    error: str = ""
    """The symbol of the failure, such as ECONNREFUSED, or `unresolvable`, `late`, `try-again`,
    `malformed`; empty: none."""
    reason: str = ""
    """The same in words, printable."""
    reply: str | None = None
    """The reply, as `probe.ask` has it; None: "not found", or none came."""
    obstacle: str = ""
    """If it is EACCES: the folder or socket whose permissions deny it; empty: not known."""


class TableSeen(Value, frozen=True):
    """One table of smtp_tls_policy_maps, and what it does with keys that it should not have."""

    name: str
    """As written in main.cf, printable."""
    server: Server | None = None
    """The server that a table of type socketmap or tcp asks, from inside the chroot if a chrooted
    service does; None: another type, or malformed."""
    is_ours: bool = False
    """Whether it leads to a listener of this daemon, by the settings; for a chrooted service also
    if it does so from outside of the chroot only."""
    map_name: str | None = None
    """The map of the daemon that it asks; None: not ours."""
    reaches: tuple[Reach, ...] = ()
    """Of a table with a server: CHROOT if a chrooted service asks it; POSTFIX if another one does,
    or to compare if it failed in the chroot. As a plain user: SELF."""
    answer: str | None = None
    """Of another table: its entry for a domain that nobody has; None: it has none, or failed."""
    error: str = ""
    """Of another table: why postmap(1) failed; printable."""
    unasked: tuple[str, ...] = ()
    """Why it could not be asked as Postfix does; printable."""
    bad_entries: tuple[tuple[str, str], ...] = ()
    """Keys whose entries this Postfix cannot use, each with the reason; at most ten."""
    file: str = ""
    """Of another table: the file that it reads, if the type has one."""


class Service(Value, frozen=True):
    """A service of master.cf that runs smtp(8) or lmtp(8)."""

    name: str
    """As `postconf -M` writes it, such as `smtp/unix`."""
    command: str
    """`smtp` or `lmtp`."""
    is_chrooted: bool
    main_cf: MainCf
    """Its parameters: main.cf, and its own `-o` options, which win. lmtp(8) reads parameters of its
    own, such as lmtp_tls_policy_maps; they are here under the names of smtp(8)."""
    overrides: Mapping[str, str] = {}
    """Its own `-o` options, by parameter."""
    written: str = ""
    """Its command as it is in master.cf, with the options; printable; empty: not known."""
    authorities: Authorities | None = None
    """The CAs that it trusts; None: not looked at."""
    unknown: frozenset[str] = frozenset()
    """Its parameters, under the names of smtp(8), whose values depend on what was not seen: they
    are as they are written, and no rule judges them."""


class Instance(Value, frozen=True):
    """One instance of Postfix (postmulti(1))."""

    name: str
    """`-` for the one that is not part of a group of instances."""
    config_directory: str
    parameters: Mapping[str, str] = {}
    """The parameters of `parameters.NAMES`, as `postconf -x` prints them."""
    services: tuple[Service, ...] = ()
    tables: tuple[TableSeen, ...] = ()
    """Of smtp_tls_policy_maps, in the order of main.cf, each once; also those of services."""
    authorities: Authorities | None = None
    """Those of the first service that runs smtp(8); None: they could not be looked at."""
    unused: tuple[str, ...] = ()
    """Parameters in main.cf that Postfix does not know, as `name=value`, not expanded; `postconf`
    writes `?` for each character of them that is not printable ASCII, such as a tab."""
    table_types: tuple[str, ...] = ()
    """The types of tables that it has (`postconf -m`); empty: not known."""
    tlsrpt: Reach | None = None
    """What came of connecting to smtp_tlsrpt_socket_name; None: not on, or not tried."""
    catch_all: str | None = None
    """What transport_maps has for a domain that nobody has; None: nothing, or not asked."""
    is_running: bool | None = None
    """None: it cannot be told."""
    unknown: frozenset[str] = frozenset()
    """Those in main.cf whose values are not known, as in `Service`."""
    problem: str = ""
    """Why main.cf or master.cf cannot be read; then the rest is empty."""

    @property
    def queue_directory(self) -> str:
        """The working directory of smtp(8), and its root if it is chrooted."""
        return self.parameters.get("queue_directory") or MainCf().queue_directory

    @property
    def version(self) -> tuple[int, ...]:
        """Such as (3, 7, 11); empty: not known."""
        return self.services[0].main_cf.version if self.services else ()
