"""Rules for what answers at the address in main.cf, as smtp(8) sees it from where it runs."""

from dataclasses import replace as replace_field
from pathlib import Path

import pytest

from postfix_mta_sts.admin.doctor.commands import ADMIT_POSTFIX, RELOAD, RESTART
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, Place, Snapshot
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix.installed.values import Standpoint, TableSeen
from postfix_mta_sts.values import replace
from tests.support.findings import findings, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    our_table,
    reach,
    server_table,
    with_parameters,
    with_service,
    with_status,
    with_tables,
)
from tests.support.stock_postfix import SERVER

NAMES = dict(zip(VERSIONS, ("postfix", "QUERYwithTLSRPT"), strict=True))
HELD = "Each look-up fails, so that Postfix holds all mail that it sends by SMTP"
CONFIG = "/etc/postfix-mta-sts.yml"
SOCKET = "/var/spool/postfix/run/mta-sts/socketmap.sock"
TCP = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461))
INSIDE = ListenerSettings(socketmap=UnixAddress(Path(SOCKET)))
OUTSIDE = ListenerSettings(socketmap=UnixAddress(Path("/run/postfix-mta-sts/socketmap.sock")))
PLAIN_TCP = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462))
RELATIVE = "socketmap:unix:run/mta-sts/socketmap.sock:"
ABSOLUTE = "socketmap:unix:/run/postfix-mta-sts/socketmap.sock:"

every_version = pytest.mark.parametrize("version", VERSIONS)


def mends(value: str) -> str:
    """Return the command that gives smtp_tls_policy_maps a value."""
    return f"postconf -e 'smtp_tls_policy_maps = {value}' && postfix reload"


def seen(table: TableSeen, *listeners: ListenerSettings, version: str = "3.10.13") -> Snapshot:
    """Return a snapshot with this one table, and these listeners in place of the default."""
    settings = Settings(listen=listeners) if listeners else Settings()
    return replace_field(with_tables(good(version), table), settings=settings)


def own(
    name: str, error: str, standpoint: Standpoint = Standpoint.CHROOT, obstacle: str = ""
) -> TableSeen:
    """Return a table of the daemon that fails in this way."""
    table = server_table(name, is_ours=True, map_name=name.rpartition(":")[2])
    return replace(table, reaches=(reach(error, standpoint, obstacle=obstacle),))


@every_version
@pytest.mark.parametrize("error", ["ECONNREFUSED", "ENOENT", "EHOSTUNREACH", "ETIMEDOUT"])
def test_wrong_address(version: str, error: str) -> None:
    """`map-wrong-address`: the sentence says both addresses."""
    name = f"socketmap:inet:127.0.0.1:8999:{NAMES[version]}"
    found = only(seen(server_table(name, reach(error)), version=version))
    assert (found.id, found.effect, found.why) == ("map-wrong-address", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, and 127.0.0.1:8999 cannot be reached (({error})); the "
        "daemon listens on socketmap 127.0.0.1:8461"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")
    assert found.services == ()


def test_wrong_address_of_a_daemon_that_does_not_say() -> None:
    """Without its status, the settings say where it listens."""
    table = server_table("socketmap:inet:127.0.0.1:8999:QUERYwithTLSRPT", reach("ECONNREFUSED"))
    snapshot = replace_field(seen(table, PLAIN_TCP, TCP), daemon=Daemon(DaemonState.DENIED))
    assert only(snapshot).what.endswith(
        "the daemon listens on tcp_table 127.0.0.1:8462, socketmap 127.0.0.1:8461"
    )


def test_right_address_before_a_reload() -> None:
    """An address that the settings have, and the running daemon does not: it reads them again."""
    found = only(seen(our_table(reaches=(reach("ECONNREFUSED"),))))
    assert (found.id, found.mend) == ("map-wrong-address", RELOAD)


def test_daemon_is_stopped() -> None:
    """Why nothing listens at the daemon's own address is the business of its own rules."""
    table = our_table(reaches=(reach("ECONNREFUSED"),))
    stopped = replace_field(seen(table), daemon=Daemon(DaemonState.NOT_RUNNING))
    assert findings(stopped) == []


def test_daemon_hangs() -> None:
    """The same while it hangs; but else it is a fault of the table."""
    table = our_table(reaches=(reach("late"),))
    assert findings(replace_field(seen(table), daemon=Daemon(DaemonState.HANGS))) == []
    assert findings(with_status(seen(table), answering={"ok": False, "reason": "x"})) == []
    found = only(seen(table))
    assert (found.id, found.mend) == ("map-foreign", RESTART)


@every_version
def test_chroot_path(version: str) -> None:
    """`map-chroot-path`: the daemon is asked over TCP."""
    table = server_table(f"{ABSOLUTE}{NAMES[version]}", reach("ENOENT"))
    found = only(seen(table, OUTSIDE, TCP, version=version))
    assert (found.id, found.effect, found.why) == ("map-chroot-path", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {table.name}, and in the chroot of smtp(8) this is "
        "unix:/var/spool/postfix/run/postfix-mta-sts/socketmap.sock, where no socket is"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


def test_chroot_path_below_the_queue() -> None:
    """A socket in the queue directory is asked by its relative path."""
    name = f"socketmap:unix:{SOCKET}:QUERYwithTLSRPT"
    table = server_table(name, reach("ENOENT"))
    assert only(seen(table, INSIDE)).mend == mends(f"{RELATIVE}QUERYwithTLSRPT")


def test_chroot_path_without_another_way() -> None:
    """If there is no listener that a chrooted smtp(8) reaches, it leaves the chroot."""
    table = server_table(f"{ABSOLUTE}QUERYwithTLSRPT", reach("ENOENT"))
    found = only(seen(table, OUTSIDE))
    assert found.id == "map-chroot-path"
    assert found.mend == ("postconf -Fe smtp/unix/chroot=n relay/unix/chroot=n && postfix reload")


def test_chroot_path_that_works_outside() -> None:
    """A socket that is not in the settings is there, if it works for a smtp(8) without a chroot."""
    reaches = (reach("ENOENT"), reach(standpoint=Standpoint.POSTFIX))
    snapshot = seen(server_table("socketmap:unix:/run/x:QUERYwithTLSRPT", *reaches))
    assert only(snapshot).id == "map-chroot-path"
    nowhere = seen(server_table("socketmap:unix:/run/x:QUERYwithTLSRPT", reaches[0]))
    assert only(nowhere).id == "map-wrong-address"


def test_some_services() -> None:
    """If only some services are chrooted, the finding names them."""
    snapshot = seen(server_table(f"{ABSOLUTE}QUERYwithTLSRPT", reach("ENOENT")), OUTSIDE, TCP)
    smtp, relay, lmtp = snapshot.instances[0].services
    mixed = changed(snapshot, services=(smtp, replace(relay, is_chrooted=False), lmtp))
    assert only(mixed).services == ("smtp/unix",)


@every_version
def test_denied_by_a_folder(version: str) -> None:
    """`map-denied`: the folder is opened, and main.cf stays."""
    folder = "/var/spool/postfix/run/mta-sts"
    table = own(f"{RELATIVE}{NAMES[version]}", "EACCES", obstacle=folder)
    found = only(seen(table, INSIDE, TCP, version=version))
    assert (found.id, found.effect, found.why) == ("map-denied", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {RELATIVE}{NAMES[version]}, and Postfix may not connect to "
        f"unix:{SOCKET}, because of the permissions of {folder}"
    )
    assert found.mend == f"chmod o+x {folder}"


@pytest.mark.parametrize("obstacle", ["", SOCKET])
def test_denied_by_the_socket(obstacle: str) -> None:
    """Another listener is asked, if there is one."""
    table = own(f"{RELATIVE}QUERYwithTLSRPT", "EACCES", obstacle=obstacle)
    assert only(seen(table, INSIDE, TCP)).mend == mends(f"{SERVER}QUERYwithTLSRPT")


def test_denied_by_the_socket_without_a_mode() -> None:
    """A listener without permissions of its own needs a unit that lets the daemon give them."""
    table = own(f"{RELATIVE}QUERYwithTLSRPT", "EACCES", obstacle=SOCKET)
    assert only(seen(table, INSIDE)).mend == ADMIT_POSTFIX


def test_denied_by_the_mode() -> None:
    """A mode in the configuration is changed, where its line is known."""
    listener = ListenerSettings(socketmap=UnixAddress(Path(SOCKET)), mode=0o600)
    snapshot = seen(own(f"{RELATIVE}QUERYwithTLSRPT", "EACCES", obstacle=SOCKET), listener)
    assert only(snapshot).mend == ""
    place = Place(CONFIG, 3, '    mode: "0600"')
    mend = only(replace_field(snapshot, places={"listen[0].mode": place})).mend
    assert mend.startswith("sed -i '3s/")
    assert '"0666"' in mend
    assert mend.endswith(f" {CONFIG} && {RESTART}")


def test_denied_socket_of_nobody() -> None:
    """A socket that is not the daemon's has no permissions that a command could change."""
    table = server_table("socketmap:unix:run/other:QUERYwithTLSRPT", reach("EACCES"))
    unreachable = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 0))
    assert only(seen(table, unreachable)).mend == ""


def test_denied_to_this_user() -> None:
    """What another user may not do says nothing about Postfix."""
    table = own(f"{RELATIVE}QUERYwithTLSRPT", "EACCES", standpoint=Standpoint.SELF)
    assert findings(seen(table, INSIDE)) == []


@every_version
@pytest.mark.parametrize(
    ("standpoint", "inside"), [(Standpoint.CHROOT, " in its chroot"), (Standpoint.POSTFIX, "")]
)
def test_unresolvable(version: str, standpoint: Standpoint, inside: str) -> None:
    """`map-host-unresolvable`: an address needs no look-up."""
    name = f"socketmap:inet:localhost:8461:{NAMES[version]}"
    found = only(seen(own(name, "unresolvable", standpoint=standpoint), version=version))
    assert (found.id, found.effect, found.why) == ("map-host-unresolvable", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, and smtp(8) finds no address of this host{inside}: "
        "(unresolvable)"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


@every_version
@pytest.mark.parametrize("error", ["malformed", "try-again", "late"])
def test_wrong_protocol(version: str, error: str) -> None:
    """`map-wrong-protocol`: by the listener at the address."""
    name = f"socketmap:inet:127.0.0.1:8462:{NAMES[version]}"
    found = only(seen(server_table(name, reach(error)), PLAIN_TCP, TCP, version=version))
    assert (found.id, found.effect, found.why) == ("map-wrong-protocol", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, and the listener at 127.0.0.1:8462 speaks tcp_table, "
        "not socketmap"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


def test_wrong_protocol_by_its_words() -> None:
    """The daemon says what it speaks, also if its settings are other ones."""
    refusal = reach("try-again", reason="TEMP: Postfix: this listener speaks tcp_table")
    found = only(seen(server_table("socketmap:inet:127.0.0.1:8462:x", refusal)))
    assert found.id == "map-wrong-protocol"
    assert found.what.endswith("speaks another protocol, not socketmap")


@every_version
@pytest.mark.parametrize("error", ["malformed", "try-again", "late", "ECONNRESET"])
def test_foreign(version: str, error: str) -> None:
    """`map-foreign`: something else listens there."""
    name = f"socketmap:inet:127.0.0.1:25:{NAMES[version]}"
    found = only(seen(server_table(name, reach(error)), version=version))
    assert (found.id, found.effect, found.why) == ("map-foreign", Effect.HELD, HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, and what listens at 127.0.0.1:25 does not answer as the "
        f"daemon does: ({error})"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


def test_foreign_at_our_address() -> None:
    """A program that has taken the daemon's address, though that does not run, is named."""
    table = our_table(reaches=(reach("malformed"),))
    stopped = replace_field(seen(table), daemon=Daemon(DaemonState.NOT_RUNNING))
    assert only(stopped).id == "map-foreign"


def test_another_program_that_works() -> None:
    """Another server may be asked before the daemon."""
    other = server_table("socketmap:inet:127.0.0.1:8642:policy", reach())
    assert findings(with_tables(good(), other, our_table())) == []


def test_first_failure_counts() -> None:
    """A table that fails from two places has one finding."""
    reaches = (reach("ENOENT"), reach("ECONNREFUSED", standpoint=Standpoint.POSTFIX))
    assert only(seen(server_table(f"{ABSOLUTE}x", *reaches), OUTSIDE, TCP)).id == "map-chroot-path"


def test_in_a_service() -> None:
    """The option of a service is removed."""
    bad = server_table("socketmap:inet:127.0.0.1:8999:x", reach("ECONNREFUSED"))
    snapshot = with_service(good(), "relay/unix", smtp_tls_policy_maps=bad.name)
    found = only(changed(snapshot, tables=(our_table(), bad)))
    assert (found.id, found.services) == ("map-wrong-address", ("relay/unix",))
    assert found.mend == "postconf -PX relay/unix/smtp_tls_policy_maps && postfix reload"


def test_several_instances() -> None:
    """Each instance has its own findings."""
    snapshot = seen(server_table("socketmap:inet:127.0.0.1:8999:x", reach("ECONNREFUSED")))
    second = replace(snapshot.instances[0], name="postfix-out", config_directory="/etc/out")
    both = replace_field(snapshot, instances=(snapshot.instances[0], second))
    assert [each.instance for each in findings(both)] == ["-", "postfix-out"]


def test_with_other_tables() -> None:
    """The tables beside it stay."""
    bad = server_table("socketmap:inet:127.0.0.1:8999:x", reach("ECONNREFUSED"))
    snapshot = with_parameters(seen(bad), smtp_tls_policy_maps=f"hash:/a {bad.name}")
    assert only(snapshot).mend == mends(f"hash:/a, {SERVER}QUERYwithTLSRPT")
