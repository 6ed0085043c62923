"""What `doctor` sees of a machine that is set up as README says, and copies with one difference.

good("3.7.11")                                              # Debian 12; good() is Debian 13
with_parameters(good(), relayhost="[mx.x.test]")            # as if main.cf had this line
with_tables(good(), other_table("static:may"), our_table())  # smtp_tls_policy_maps
with_service(good(), "relay/unix", smtp_tls_policy_maps="")  # an -o option in master.cf
changed(good(), unused=("a=b",))                            # any field of the instance
replace(good(), waiting=3)                                  # dataclasses.replace: the rest
"""

from collections.abc import Mapping
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any, Final

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.doctor.snapshot import (
    Daemon,
    DaemonState,
    Resolver,
    Snapshot,
    StoreFile,
    Unit,
)
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.authorities import Authorities
from postfix_mta_sts.postfix.installed.values import (
    Instance,
    Reach,
    Service,
    Standpoint,
    TableSeen,
)
from postfix_mta_sts.postfix.main_cf import to_main_cf
from postfix_mta_sts.postfix.policy_maps import server_of
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace
from tests.support.stock_postfix import BOOKWORM, BUNDLE, PARAMETERS, SERVER, TRIXIE, TYPES

VERSIONS: Final = ("3.7.11", "3.10.13")
"""Those of Debian 12 and 13."""
NOW: Final = 1_800_000_000.0
HOUR: Final = 3600.0
CONFIG_FILE: Final = "/etc/postfix-mta-sts.yml"
STORE: Final = "/var/lib/postfix-mta-sts/policies.db"

_SERVICES: Final[Mapping[str, Mapping[str, str]]] = {
    "smtp/unix": {},
    "relay/unix": {"syslog_name": "${multi_instance_name?{$multi_instance_name}:{postfix}}/relay"},
    "lmtp/unix": {},
}
_STATUS: Final[Mapping[str, Any]] = {
    "answering": {"ok": True, "reason": None},
    "last_asked_at": round(NOW - 60),
    "failing": 0,
    "version": __version__,
    "pid": 100,
    "started_at": round(NOW - HOUR),
    "configured_at": round(NOW - HOUR),
    "config": CONFIG_FILE,
    "listening": ["socketmap 127.0.0.1:8461"],
    "store_path": STORE,
    "dane": {
        "on": False,
        "reason": "smtp_dns_support_level is not set in Postfix",
        "advice": "set smtp_dns_support_level = dnssec in main.cf, or dane.mode: off to leave it "
        "so",
        "needs_attention": False,
    },
    "exceptions": {"in_force": 0, "problem": None},
    "fleet": None,
    "not_working": [],
    "degraded": [],
    "reasons": {},
}


def good(version: str = "3.10.13") -> Snapshot:
    """Return what root sees on Debian 12 (3.7.11) or 13 (3.10.13) set up as README says."""
    return Snapshot(
        now=NOW,
        version=__version__,
        program_time=NOW - 24 * HOUR,
        is_root=True,
        main_cf_file="",
        instances=(instance(version),),
        daemon=Daemon(
            DaemonState.ANSWERS,
            status=_STATUS,
            command_line=("postfix-mta-sts", "serve"),
            uid=999,
        ),
        unit=Unit(
            is_active=True,
            is_enabled=True,
            command_line="postfix-mta-sts serve",
            files=("/etc/systemd/system/postfix-mta-sts.service",),
        ),
        settings=Settings(),
        config_file=CONFIG_FILE,
        config_time=NOW - 2 * HOUR,
        config_problems=(),
        daemon_resolver=Resolver("/etc/resolv.conf", ("127.0.0.1:53",)),
        postfix_resolver=Resolver("/var/spool/postfix/etc/resolv.conf", ("127.0.0.1:53",)),
        ca_bundle=BUNDLE,
        ca_problem="",
        store=StoreFile(STORE, str(Path(STORE).parent), is_readable=True, is_writable=True),
        outward=None,
        waiting=0,
        unseen=(),
    )


def instance(version: str = "3.10.13", folder: str = "/etc/postfix", name: str = "-") -> Instance:
    """Return an instance of Postfix that is set up as README says."""
    own = BOOKWORM if version.startswith("3.7.") else TRIXIE
    parameters = {**PARAMETERS, **own, "mail_version": version, "config_directory": folder}
    services = tuple(
        Service(
            each,
            each.partition("/")[0].replace("relay", "smtp"),
            is_chrooted=True,
            main_cf=replace(to_main_cf({**parameters, **overrides}), smtp_is_chrooted=True),
            overrides=overrides,
        )
        for each, overrides in _SERVICES.items()
    )
    return Instance(
        name,
        folder,
        parameters,
        services,
        (our_table(parameters["smtp_tls_policy_maps"].rpartition(":")[2]),),
        authorities=Authorities(
            Path(BUNDLE), Path("/var/spool/postfix/etc/ssl/certs") if own is BOOKWORM else None
        ),
        table_types=TYPES,
        is_running=True,
    )


def our_table(map_name: str = "QUERYwithTLSRPT", **fields: object) -> TableSeen:
    """Return the table that asks the daemon, from inside the chroot, and gets an answer."""
    table = TableSeen(
        f"{SERVER}{map_name}",
        server_of(f"{SERVER}{map_name}", MainCf()),
        is_ours=True,
        map_name=map_name,
        reaches=(Reach(Standpoint.CHROOT),),
    )
    return replace(table, **fields)


def server_table(name: str, *reaches: Reach, **fields: object) -> TableSeen:
    """Return a table of type socketmap or tcp that is not known to be the daemon's."""
    server = server_of(name, MainCf(smtp_is_chrooted=True))
    return replace(TableSeen(name, server, reaches=reaches), **fields)


def other_table(name: str, **fields: object) -> TableSeen:
    """Return a table of another type, which has no entry unless the fields say so."""
    return replace(TableSeen(name), **fields)


def reach(error: str = "", standpoint: Standpoint = Standpoint.CHROOT, **fields: object) -> Reach:
    """Return what came of asking a server; the reason is made of the error."""
    return replace(Reach(standpoint, error, error and f"({error})"), **fields)


def changed(snapshot: Snapshot, **fields: object) -> Snapshot:
    """Return the snapshot with other fields of its first instance."""
    first, *others = snapshot.instances
    return replace_field(snapshot, instances=(replace(first, **fields), *others))


def with_parameters(snapshot: Snapshot, **parameters: str) -> Snapshot:
    """Return the snapshot with other parameters, also in `main_cf` of each service."""
    first = snapshot.instances[0]
    merged = {**first.parameters, **parameters}
    services = tuple(_with_main_cf(each, merged) for each in first.services)
    return changed(snapshot, parameters=merged, services=services)


def without_parameters(snapshot: Snapshot, *names: str) -> Snapshot:
    """Return the snapshot of a Postfix that does not have these parameters."""
    first = snapshot.instances[0]
    left = {name: value for name, value in first.parameters.items() if name not in names}
    return with_parameters(changed(snapshot, parameters=left))


def with_tables(snapshot: Snapshot, *tables: TableSeen) -> Snapshot:
    """Return the snapshot with other tables in smtp_tls_policy_maps."""
    text = ", ".join(each.name for each in tables)
    return changed(with_parameters(snapshot, smtp_tls_policy_maps=text), tables=tables)


def with_service(snapshot: Snapshot, name: str, /, **overrides: str) -> Snapshot:
    """Return the snapshot with more `-o` options of a service, such as `relay/unix`."""
    first = snapshot.instances[0]
    services = tuple(
        _with_main_cf(replace(each, overrides={**each.overrides, **overrides}), first.parameters)
        if each.name == name
        else each
        for each in first.services
    )
    return changed(snapshot, services=services)


def with_command(snapshot: Snapshot, command: str, name: str = "relay/unix") -> Snapshot:
    """Return the snapshot with this command of a service in master.cf."""
    services = tuple(
        replace(each, written=command) if each.name == name else each
        for each in snapshot.instances[0].services
    )
    return changed(snapshot, services=services)


def without_chroot(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot with `n` in the column chroot of all services."""
    services = tuple(
        replace(each, is_chrooted=False, main_cf=replace(each.main_cf, smtp_is_chrooted=False))
        for each in snapshot.instances[0].services
    )
    return changed(snapshot, services=services)


def with_status(snapshot: Snapshot, **fields: object) -> Snapshot:
    """Return the snapshot with other keys in the daemon's status."""
    status = {**(snapshot.daemon.status or {}), **fields}
    return replace_field(snapshot, daemon=replace_field(snapshot.daemon, status=status))


def _with_main_cf(service: Service, parameters: Mapping[str, str]) -> Service:
    """The service with `main_cf` made of the parameters and its own options."""
    made = to_main_cf({**parameters, **service.overrides})
    kept = service.main_cf
    return replace(
        service,
        main_cf=replace(
            made,
            smtp_is_chrooted=kept.smtp_is_chrooted,
            tls_is_available=kept.tls_is_available,
            own_addresses=kept.own_addresses,
        ),
    )
