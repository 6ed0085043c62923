"""What smtp_tls_policy_maps should be: other tables stay, and smtp(8) reaches the daemon."""

from dataclasses import replace as replace_field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.doctor.right_map import mend_map, right_map
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import (
    ListenerSettings,
    Settings,
)
from postfix_mta_sts.postfix.installed.values import TableSeen
from postfix_mta_sts.postfix.policy_maps import split_tables
from postfix_mta_sts.values import replace
from tests.support.findings import findings
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    other_table,
    our_table,
    reach,
    server_table,
    with_parameters,
    with_service,
    with_tables,
    without_chroot,
)
from tests.support.stock_postfix import SERVER

TCP = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461))
INSIDE = ListenerSettings(
    socketmap=UnixAddress(Path("/var/spool/postfix/run/mta-sts/socketmap.sock"))
)
OUTSIDE = ListenerSettings(socketmap=UnixAddress(Path("/run/postfix-mta-sts/socketmap.sock")))
PLAIN_TCP = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462))
REPORTING_TCP = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8463), tlsrpt=True)
NAMES = dict(zip(VERSIONS, ("postfix", "QUERYwithTLSRPT"), strict=True))

every_version = pytest.mark.parametrize("version", VERSIONS)


def listening(snapshot: Snapshot, *listeners: ListenerSettings) -> Snapshot:
    """Return the snapshot with these listeners."""
    return replace_field(snapshot, settings=Settings(listen=listeners))


def right(snapshot: Snapshot) -> str:
    """Return the right value for the first instance."""
    return right_map(snapshot.instances[0], snapshot)


@every_version
def test_good(version: str) -> None:
    """What is right stays as it is, and needs no command."""
    snapshot = good(version)
    assert right(snapshot) == f"{SERVER}{NAMES[version]}"
    assert mend_map(snapshot.instances[0], snapshot) == ""


@every_version
def test_nothing(version: str) -> None:
    """Without a table the daemon's is the only one."""
    snapshot = with_tables(good(version))
    assert right(snapshot) == f"{SERVER}{NAMES[version]}"
    assert mend_map(snapshot.instances[0], snapshot) == (
        f"postconf -e 'smtp_tls_policy_maps = {SERVER}{NAMES[version]}' && postfix reload"
    )


def test_without_settings() -> None:
    """If the configuration is not valid, the defaults count."""
    assert right(replace_field(with_tables(good()), settings=None)) == f"{SERVER}QUERYwithTLSRPT"


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        (["hash:/a"], ["hash:/a", "*"]),
        (["hash:/a", "SERVER", "hash:/b"], ["hash:/a", "*", "hash:/b"]),
        (["inline:{a=b, c=d}", "SERVER"], ["inline:{a=b, c=d}", "*"]),
    ],
)
def test_others_stay(tables: list[str], expected: list[str]) -> None:
    """The other tables stay in their places; the daemon comes last if it is not there yet."""
    seen = [our_table() if each == "SERVER" else other_table(each) for each in tables]
    wanted = [f"{SERVER}QUERYwithTLSRPT" if each == "*" else each for each in expected]
    assert right(with_tables(good(), *seen)) == ", ".join(wanted)


def test_before_what_answers_always() -> None:
    """A table with an answer for each domain comes after the daemon."""
    tables = (other_table("hash:/a"), other_table("static:may", answer="may"), our_table())
    assert right(with_tables(good(), *tables)) == (f"hash:/a, {SERVER}QUERYwithTLSRPT, static:may")


@pytest.mark.parametrize(
    "table",
    [
        server_table("socketmap:inet:127.0.0.1:8999:postfix", reach("ECONNREFUSED")),
        other_table("socketmap:inet:127.0.0.1:8461", error="garbage after numerical service"),
        other_table("inet:127.0.0.1:8461:postfix", error="unsupported dictionary type: inet"),
        other_table("127.0.0.1:8461"),
        other_table("/etc/postfix/tls"),
    ],
)
def test_dead_tables_go(table: TableSeen) -> None:
    """The daemon takes the place of a table that cannot work."""
    snapshot = with_tables(good(), table, other_table("hash:/b"))
    assert right(snapshot) == f"{SERVER}QUERYwithTLSRPT, hash:/b"


def test_packaged_type_stays() -> None:
    """A table of a type that a package adds is not lost."""
    snapshot = with_tables(good(), other_table("pcre:/a"), our_table())
    assert right(snapshot) == f"pcre:/a, {SERVER}QUERYwithTLSRPT"


@pytest.mark.parametrize(
    ("is_ours", "error"), [(True, ""), (True, "late"), (False, "ECONNREFUSED")]
)
def test_group_of_one_stays(error: str, *, is_ours: bool) -> None:
    """A group of nothing but the daemon, or that should be it, is not changed."""
    name = f"unionmap:{{{SERVER}postfix}}"
    table = our_table("postfix", name=name, is_ours=is_ours, reaches=(reach(error),))
    snapshot = with_tables(good(), table)
    assert right(snapshot) == name
    assert mend_map(snapshot.instances[0], snapshot) == ""


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ("unionmap:{hash:/a, *}", "hash:/a, *"),
        ("unionmap:{*, hash:/a}", "*, hash:/a"),
        ("unionmap:{hash:/a, static:may, *}", "hash:/a, *, static:may"),
        ("unionmap:{pcre:/a, x:y, *}", "pcre:/a, *"),
        ("unionmap:{hash:/a, unionmap:{*, hash:/b}}", "hash:/a, *, hash:/b"),
        ("pipemap:{inline:{a.test=may}, *}", "*"),
        ("pipemap:{*, inline:{a.test=may}}", "*"),
        ("pipemap:{unionmap:{*, hash:/a}, hash:/b}", "*"),
        ("unionmap:{*, socketmap:inet:localhost:8461:postfix}", "*"),
    ],
)
@pytest.mark.parametrize(
    ("is_ours", "error"), [(True, ""), (True, "late"), (False, "ECONNREFUSED")]
)
def test_group_goes(group: str, expected: str, error: str, *, is_ours: bool) -> None:
    """A group with the daemon, or what should be it, and others is taken apart."""
    ours = f"{SERVER}QUERYwithTLSRPT"
    name = group.replace("*", ours)
    table = our_table(name=name, is_ours=is_ours, reaches=(reach(error),))
    snapshot = with_tables(good(), table, other_table("cidr:/z"))
    assert right(snapshot) == f"{expected.replace('*', ours)}, cidr:/z"


def test_group_of_proxymap_goes() -> None:
    """The members are opened by proxymap(8) as before."""
    ours = f"{SERVER}QUERYwithTLSRPT"
    table = our_table(name=f"proxy:unionmap:{{hash:/a, static:may, {ours}}}")
    found = right(with_tables(good(), table))
    assert found == f"proxy:hash:/a, proxy:{ours}, proxy:static:may"


def test_group_keeps_its_address() -> None:
    """The daemon is asked where the group asked it, though another listener comes first."""
    member = "socketmap:unix:run/mta-sts/socketmap.sock:QUERYwithTLSRPT"
    seen = server_table(member, reach(), is_ours=True, map_name="QUERYwithTLSRPT")
    table = replace(seen, name=f"unionmap:{{hash:/a, {member}}}")
    snapshot = listening(with_tables(good(), table), TCP, INSIDE)
    assert right(snapshot) == f"hash:/a, {member}"


def test_group_of_a_service() -> None:
    """A group that only a service has tells the address, and main.cf is right without it."""
    group = f"pipemap:{{{SERVER}QUERYwithTLSRPT, hash:/a}}"
    snapshot = with_service(good(), "relay/unix", smtp_tls_policy_maps=group)
    ours = snapshot.instances[0].tables
    snapshot = changed(snapshot, tables=(*ours, our_table(name=group)))
    [finding] = findings(snapshot)
    assert (finding.id, finding.services) == ("map-in-pipemap", ("relay/unix",))
    assert finding.mend == "postconf -PX relay/unix/smtp_tls_policy_maps && postfix reload"


def test_twice() -> None:
    """Two tables of the daemon become one."""
    other = server_table("socketmap:unix:run/mta-sts/socketmap.sock:postfix", is_ours=True)
    assert right(with_tables(good(), our_table(), other)) == f"{SERVER}QUERYwithTLSRPT"


@pytest.mark.parametrize(
    ("listeners", "expected"),
    [
        ((TCP, INSIDE), f"{SERVER}QUERYwithTLSRPT"),
        ((INSIDE, TCP), "socketmap:unix:run/mta-sts/socketmap.sock:QUERYwithTLSRPT"),
        ((OUTSIDE, TCP), f"{SERVER}QUERYwithTLSRPT"),
        ((OUTSIDE,), "socketmap:unix:/run/postfix-mta-sts/socketmap.sock:QUERYwithTLSRPT"),
        ((PLAIN_TCP, TCP), f"{SERVER}QUERYwithTLSRPT"),
        ((PLAIN_TCP,), "tcp:127.0.0.1:8462"),
        ((PLAIN_TCP, REPORTING_TCP), "tcp:127.0.0.1:8463"),
    ],
)
def test_first_within_reach(listeners: tuple[ListenerSettings, ...], expected: str) -> None:
    """The first listener that a chrooted smtp(8) reaches, and whose replies suit it, is asked."""
    assert right(listening(with_tables(good()), *listeners)) == expected


def test_without_chroot() -> None:
    """Without a chroot a socket may be anywhere."""
    snapshot = listening(without_chroot(with_tables(good("3.7.11"))), OUTSIDE, TCP)
    assert right(snapshot) == "socketmap:unix:/run/postfix-mta-sts/socketmap.sock:postfix"


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("localhost", "127.0.0.1"),
        ("::1", "[::1]"),
        ("192.0.2.1", "192.0.2.1"),
    ],
)
def test_hosts(host: str, expected: str) -> None:
    """A listener on all addresses is asked on loopback, and localhost needs no look-up."""
    listener = ListenerSettings(socketmap=TcpAddress(host, 8461))
    snapshot = listening(with_tables(good()), listener)
    assert right(snapshot) == f"socketmap:inet:{expected}:8461:QUERYwithTLSRPT"


@pytest.mark.parametrize(
    "listener",
    [
        ListenerSettings(socketmap=TcpAddress("127.0.0.1", 0)),
        ListenerSettings(tcp_table=UnixAddress(Path("/var/spool/postfix/a"))),
    ],
)
def test_no_way(listener: ListenerSettings) -> None:
    """If main.cf cannot name the listener, the address of README is as good as any."""
    snapshot = listening(with_tables(good()), listener)
    assert right(snapshot) == f"{SERVER}QUERYwithTLSRPT"


def test_path_that_main_cf_cannot_have() -> None:
    """A list in main.cf has no paths with a space."""
    listener = ListenerSettings(socketmap=UnixAddress(Path("/var/spool/postfix/a b")))
    assert right(listening(with_tables(good()), listener, TCP)) == f"{SERVER}QUERYwithTLSRPT"


def test_another_listener_if_one_fails() -> None:
    """Where smtp(8) fails today it is not sent again, if there is another way."""
    denied = server_table(
        "socketmap:unix:run/mta-sts/socketmap.sock:postfix",
        reach("EACCES"),
        is_ours=True,
        map_name="postfix",
    )
    snapshot = with_tables(good("3.7.11"), denied)
    assert right(listening(snapshot, INSIDE, TCP)) == f"{SERVER}postfix"
    assert right(listening(snapshot, INSIDE)) == denied.name


def test_working_address_stays() -> None:
    """A table that works keeps its address, though another listener comes first."""
    name = "socketmap:unix:run/mta-sts/socketmap.sock"
    table = server_table(f"{name}:postfix", reach(), is_ours=True, map_name="postfix")
    snapshot = listening(with_tables(good(), table), TCP, INSIDE)
    assert right(snapshot) == f"{name}:QUERYwithTLSRPT"


def test_main_cf_file() -> None:
    """With `--main-cf` a table with the daemon's port is the daemon's, on whatever host."""
    table = server_table("socketmap:inet:mta-sts:8461:postfix")
    snapshot = replace_field(with_tables(good(), table), main_cf_file="/tmp/main.cf")  # noqa: S108
    assert right(snapshot) == "socketmap:inet:mta-sts:8461:QUERYwithTLSRPT"


def test_unprintable() -> None:
    """What cannot be shown as it is gives no command."""
    table = other_table("inline:{b\\xfccher.test=may}")
    snapshot = with_parameters(
        with_tables(good(), table), smtp_tls_policy_maps="inline:{bücher=may}"
    )
    assert mend_map(snapshot.instances[0], snapshot) == ""


NAMED = st.sampled_from(
    [
        our_table(),
        our_table("postfix"),
        other_table("hash:/a"),
        other_table("static:may", answer="may"),
        other_table("pcre:/b"),
        other_table("socketmap:inet:127.0.0.1:8461"),
        server_table("socketmap:inet:127.0.0.1:8999:x", reach("ECONNREFUSED")),
    ]
)


@given(st.lists(NAMED, unique_by=lambda each: each.name), st.sampled_from(VERSIONS))
def test_right_whatever_it_was(tables: list[TableSeen], version: str) -> None:
    """The daemon has one table, before one that always answers; the rest stays in its order."""
    snapshot = with_tables(good(version), *tables)
    found = list(split_tables(right(snapshot)))
    ours = f"{SERVER}{NAMES[version]}"
    assert found.count(ours) == 1
    kept = [each.name for each in tables if not each.server and "socketmap" not in each.name]
    assert [each for each in found if each != ours] == kept
    assert "static:may" not in found[: found.index(ours)]


@given(st.lists(NAMED, unique_by=lambda each: each.name), st.sampled_from(VERSIONS))
def test_right_is_stable(tables: list[TableSeen], version: str) -> None:
    """The right map is right."""
    snapshot = with_tables(good(version), *tables)
    value = right(snapshot)
    name = NAMES[version]
    seen = {each.name: each for each in (*tables, our_table(name))}
    after = with_tables(snapshot, *(seen[each] for each in split_tables(value)))
    assert right(after) == value


def test_unresolvable_name() -> None:
    """The listener of a name without an address is asked by its address."""
    name = "socketmap:inet:localhost:8461:QUERYwithTLSRPT"
    table = server_table(name, reach("unresolvable"), is_ours=True, map_name="QUERYwithTLSRPT")
    snapshot = listening(with_tables(good(), table), TCP, INSIDE)
    assert right(snapshot) == f"{SERVER}QUERYwithTLSRPT"
