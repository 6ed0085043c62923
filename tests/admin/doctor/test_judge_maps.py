"""The report of one fault of main.cf or of a table: it names exactly that, and how to mend it."""

import shlex
from collections.abc import Callable, Mapping
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.judge import judge
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.values import replace
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    other_table,
    our_table,
    reach,
    server_table,
    with_command,
    with_parameters,
    with_service,
    with_tables,
)
from tests.support.stock_postfix import SERVER

NAMES: Final = dict(zip(VERSIONS, ("postfix", "QUERYwithTLSRPT"), strict=True))
WRONG_NAMES: Final = dict(zip(VERSIONS, ("QUERYwithTLSRPT", "postfix"), strict=True))
OF_WRONG_NAMES: Final = dict(zip(VERSIONS, ("map-name-too-new", "map-name-plain"), strict=True))
PLAIN_TCP: Final = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462))
OUTSIDE: Final = ListenerSettings(
    socketmap=UnixAddress(Path("/run/postfix-mta-sts/socketmap.sock"))
)
ABSOLUTE: Final = "socketmap:unix:/run/postfix-mta-sts/socketmap.sock:postfix"
Break = Callable[[Snapshot], Snapshot]


def name_of(snapshot: Snapshot) -> str:
    """Return the map that suits the Postfix of the snapshot."""
    return NAMES[".".join(map(str, snapshot.instances[0].version))]


def asking(name: str, error: str) -> Break:
    """Return what replaces the table by one whose server fails."""
    return lambda seen: with_tables(seen, server_table(name, reach(error)))


def own(error: str) -> Break:
    """Return what makes the daemon's table fail."""
    return lambda seen: with_tables(seen, our_table(name_of(seen), reaches=(reach(error),)))


def before(name: str, **fields: object) -> Break:
    """Return what puts a table before that of the daemon."""
    table = other_table(name, **fields)
    return lambda seen: with_tables(seen, table, our_table(name_of(seen)))


def grouped(form: str) -> Break:
    """Return what puts the daemon's table, `*` of the form, into a group."""

    def group(seen: Snapshot) -> Snapshot:
        ours = our_table(name_of(seen))
        return with_tables(seen, replace(ours, name=form.replace("*", ours.name)))

    return group


def misnamed(seen: Snapshot) -> Snapshot:
    """Write the name of the parameter wrong."""
    return changed(with_tables(seen), unused=(f"smtp_tls_policy_map={SERVER}postfix",))


def two_wires(seen: Snapshot) -> Snapshot:
    """Ask a listener that speaks the other protocol."""
    settings = Settings(listen=(PLAIN_TCP, *Settings().listen))
    asked = asking("socketmap:inet:127.0.0.1:8462:postfix", "try-again")
    return asked(replace_field(seen, settings=settings))


def outside(seen: Snapshot) -> Snapshot:
    """Ask a socket outside of the chroot, with a listener over TCP beside it."""
    here = seen.settings or Settings()
    there = Settings(listen=(*here.listen, OUTSIDE))
    return asking(ABSOLUTE, "ENOENT")(replace_field(seen, settings=there))


BROKEN: Final[Mapping[str, Break]] = {
    "main-cf-broken": lambda seen: changed(
        seen, problem="/etc/postfix/main.cf, line 3: missing '='", services=(), tables=()
    ),
    "parameter-unused": misnamed,
    "map-missing": with_tables,
    "map-syntax": lambda seen: with_tables(seen, other_table("socketmap:inet:127.0.0.1:8461")),
    "map-type": lambda seen: with_tables(seen, other_table("inet:127.0.0.1:8461:postfix")),
    "map-wrong-address": asking("socketmap:inet:127.0.0.1:8999:postfix", "ECONNREFUSED"),
    "map-chroot-path": outside,
    "map-denied": own("EACCES"),
    "map-host-unresolvable": own("unresolvable"),
    "map-wrong-protocol": two_wires,
    "map-foreign": asking("socketmap:inet:127.0.0.1:25:postfix", "malformed"),
    "map-in-unionmap": grouped("unionmap:{static:may, *}"),
    "map-in-pipemap": grouped("pipemap:{*, inline:{a.test=may}}"),
    "table-before-fails": before("texthash:/a", error="open /a: No such file", file="/a"),
    "table-before-answers": before("static:may", answer="may"),
    "table-entry-bad": before("texthash:/a", file="/a", bad_entries=(("x.test", "no level"),)),
    "service-option": lambda seen: with_command(seen, "smtp -o smtp_tls_security_level = may"),
    "service-without-map": lambda seen: with_service(seen, "relay/unix", smtp_tls_policy_maps=""),
    "service-level": lambda seen: with_service(seen, "relay/unix", smtp_tls_security_level=""),
    "session-cache-long": lambda seen: with_parameters(
        seen,
        smtp_tls_session_cache_database="btree:/x",
        smtp_tls_session_cache_timeout="30d",
    ),
    "session-cache-type": lambda seen: with_parameters(
        seen, smtp_tls_session_cache_database="lmdb:/x"
    ),
    "loglevel-0": lambda seen: with_parameters(seen, smtp_tls_loglevel="0"),
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("id_", BROKEN)
def test_exactly_one(id_: str, version: str) -> None:
    """One fault is one finding, on each Debian; its texts and its command are one line each."""
    [finding] = judge(BROKEN[id_](good(version))).findings
    assert finding.id == id_
    for text in (finding.what, finding.why, finding.mend):
        assert text.isprintable()
    assert not finding.mend or shlex.split(finding.mend)


@pytest.mark.parametrize("version", VERSIONS)
def test_wrong_map_name(version: str) -> None:
    """The map of the other Debian is too new on the older one, and too plain on the newer."""
    snapshot = with_tables(good(version), our_table(WRONG_NAMES[version]))
    [finding] = judge(snapshot).findings
    assert finding.id == OF_WRONG_NAMES[version]
    assert f"{SERVER}{NAMES[version]}" in finding.mend
