"""A table whose server does not answer smtp(8): what the rules about servers ask of it. Pure."""

from dataclasses import dataclass

from postfix_mta_sts.admin.doctor.for_services import concerned, smtp_services
from postfix_mta_sts.admin.doctor.own_tables import (
    HELD,
    bare,
    each_table,
    failure,
    is_at,
    is_own,
    settings_of,
)
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.right_map import having, mend_map, named
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.values import Instance, Reach, Standpoint, TableSeen
from postfix_mta_sts.postfix.policy_maps import Server


@dataclass(frozen=True, slots=True)
class FailedTable:
    """A table, its server, and how asking it fails."""

    snapshot: Snapshot
    instance: Instance
    table: TableSeen
    server: Server
    reach: Reach

    @property
    def is_own(self) -> bool:
        """Whether it asks the daemon."""
        return is_own(self.table, self.snapshot)

    @property
    def where(self) -> str:
        """The address that is asked."""
        return printable(str(self.server.address))

    @property
    def path(self) -> str:
        """The path of a UNIX socket as main.cf has it; empty: it is none."""
        _, kind, rest = (*bare(self.table).split(":", 2), "", "")[:3]
        return rest.rpartition(":")[0] if kind in {"unix", "local"} else ""

    @property
    def reason(self) -> str:
        """Why it fails."""
        return self.reach.reason or self.reach.error

    @property
    def is_in_chroot(self) -> bool:
        """Whether it was asked from inside the chroot."""
        return self.reach.standpoint is Standpoint.CHROOT

    @property
    def listeners(self) -> tuple[ListenerSettings, ...]:
        """All listeners of the daemon."""
        return settings_of(self.snapshot).listen

    @property
    def number(self) -> int | None:
        """The position of the listener at its address, whatever the protocol is; None: none."""
        here = (i for i, each in enumerate(self.listeners) if is_at(self.server, each))
        return next(here, None)

    @property
    def listening(self) -> str:
        """Where the daemon listens, as it says, or as its settings do."""
        status = self.snapshot.daemon.status or {}
        configured = [f"{each.wire} {each.address}" for each in self.listeners]
        return ", ".join(status.get("listening") or configured)

    def mend(self) -> str:
        """The command that puts the right map into main.cf; empty: it is there."""
        return mend_map(self.instance, self.snapshot, having(self.table, self.instance))

    def finding(self, id_: str, what: str, mend: str) -> Finding:
        """The finding; `what` follows the name of the table."""
        return Finding(
            id_,
            Effect.HELD,
            f"smtp_tls_policy_maps has {printable(self.table.name)}, and {what}",
            HELD,
            mend,
            self.instance.name,
            named(self.table, self.instance) or self._in_reach(),
        )

    def _in_reach(self) -> tuple[str, ...]:
        """The services that see what was seen from this standpoint; none if all do."""
        every = smtp_services(self.instance)
        seeing = [each for each in every if each.is_chrooted == self.is_in_chroot]
        return concerned(self.instance, seeing)


def failed_tables(snapshot: Snapshot) -> list[FailedTable]:
    """All tables with a server that fail, each with the first failure."""
    return [
        FailedTable(snapshot, instance, table, table.server, reach)
        for instance, table in each_table(snapshot)
        if table.server and (reach := failure(table))
    ]
