"""Rules for the daemon's table: whether there is one, its form, its type, and its map name."""

from dataclasses import replace as replace_field

import pytest

from postfix_mta_sts.admin.doctor.own_tables import is_malformed
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import ListenerSettings, MapSettings, Settings
from postfix_mta_sts.postfix.installed.values import TableSeen
from postfix_mta_sts.values import replace
from tests.support.findings import findings, only
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
)
from tests.support.stock_postfix import SERVER

NAMES = dict(zip(VERSIONS, ("postfix", "QUERYwithTLSRPT"), strict=True))
HELD = "Each look-up fails, so that Postfix holds all mail that it sends by SMTP"

every_version = pytest.mark.parametrize("version", VERSIONS)


def mends(value: str) -> str:
    """Return the command that gives smtp_tls_policy_maps a value."""
    return f"postconf -e 'smtp_tls_policy_maps = {value}' && postfix reload"


@every_version
def test_missing(version: str) -> None:
    """`map-missing`: other tables stay."""
    for tables in ([], [other_table("hash:/a")]):
        found = only(with_tables(good(version), *tables))
        assert (found.id, found.effect) == ("map-missing", Effect.UNPROTECTED)
        assert found.what == "smtp_tls_policy_maps has no table that asks the daemon"
        assert found.why == "No policy is enforced"
        right = ", ".join((*(each.name for each in tables), f"{SERVER}{NAMES[version]}"))
        assert found.mend == mends(right)


def test_missing_in_another_instance() -> None:
    """The finding names the instance, and the command its folder."""
    snapshot = with_tables(good())
    bad = replace(snapshot.instances[0], name="postfix-out", config_directory="/etc/postfix-out")
    found = only(replace_field(snapshot, instances=(good().instances[0], bad)))
    assert found.instance == "postfix-out"
    assert found.mend.startswith("postconf -c /etc/postfix-out -e ")


def test_not_missing() -> None:
    """A smarthost, tables that were not looked at, and another way to the daemon are no faults."""
    nothing = with_tables(good())
    assert findings(with_parameters(nothing, relayhost="[mx.x.test]")) == []
    assert findings(changed(good(), tables=())) == []
    assert findings(changed(nothing, services=(), problem="broken"))[0].id == "main-cf-broken"


def test_missing_without_services() -> None:
    """Where master.cf was not read, main.cf alone counts."""
    assert only(changed(with_tables(good()), services=())).id == "map-missing"


@every_version
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("socketmap:inet:127.0.0.1:8461", "garbage after numerical service"),
        ("socketmap:inet:127.0.0.1:8461", ""),
        ("socketmap:inett:127.0.0.1:8461:postfix", "invalid transport name: inett"),
        ("socketmap:inet:localhost:8461", ""),
        ("tcp:127.0.0.1", ""),
        ("127.0.0.1", "not of the form type:name"),
    ],
)
def test_syntax(version: str, name: str, error: str) -> None:
    """`map-syntax`: a table that names no server, or is none."""
    found = only(with_tables(good(version), other_table(name, error=error)))
    assert (found.id, found.effect, found.why) == ("map-syntax", Effect.HELD, HELD)
    because = f": {error}" if error else ""
    assert found.what == f"smtp_tls_policy_maps has {name}, which is not a table{because}"
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


def test_syntax_is_well() -> None:
    """A port may have a name of services(5), which only Postfix looks up."""
    names = ("socketmap:inet:h.test:submission:x", "tcp:h.test:submission")
    tables = [other_table(each) for each in names]
    assert findings(with_tables(good(), our_table(), *tables)) == []


@every_version
@pytest.mark.parametrize("name", ["inet:127.0.0.1:8461:postfix", "unix:/run/x:postfix", "x:y"])
def test_type(version: str, name: str) -> None:
    """`map-type`: such as a table without the word socketmap."""
    snapshot = with_tables(good(version), other_table(name, error="unsupported dictionary type"))
    types = tuple(each for each in snapshot.instances[0].table_types if each != "unix")
    found = only(changed(snapshot, table_types=types))
    assert (found.id, found.effect, found.why) == ("map-type", Effect.HELD, HELD)
    kind = name.partition(":")[0]
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, and this Postfix has no tables of type {kind}"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


@every_version
def test_type_of_a_package(version: str) -> None:
    """A package may add the type; the table stays."""
    tables = (other_table("proxy:pcre:/a", error="unsupported"), our_table(NAMES[version]))
    found = only(with_tables(good(version), *tables))
    assert found.id == "map-type"
    assert found.mend == "apt-get install -y postfix-pcre && postfix reload"


def test_type_of_a_package_beside_nothing() -> None:
    """Such a table is not taken for the daemon's."""
    found = findings(with_tables(good(), other_table("ldap:/a")))
    assert [each.id for each in found] == ["map-missing", "map-type"]


def test_types_unknown() -> None:
    """If Postfix does not say which types it has, none is missing."""
    snapshot = with_tables(good(), our_table(), other_table("pcre:/a"))
    assert findings(changed(snapshot, table_types=())) == []


@every_version
@pytest.mark.parametrize("form", ["SOCKETMAP:inet:{}", "{{ socketmap:inet:{} }}", "inet:{}"])
def test_type_of_no_postfix(version: str, form: str) -> None:
    """Without its types, as with `--main-cf`, what no Postfix has is missing all the same."""
    name = form.format(f"127.0.0.1:8461:{NAMES[version]}")
    snapshot = changed(with_tables(good(version), other_table(name)), table_types=())
    found = only(replace_field(snapshot, main_cf_file="main.cf"))
    assert (found.id, found.effect) == ("map-type", Effect.HELD)
    kind = name.partition(":")[0]
    assert (
        found.what == f"smtp_tls_policy_maps has {name}, and Postfix has no tables of type {kind}"
    )
    assert found.mend == mends(f"{SERVER}{NAMES[version]}")


def test_type_of_a_reference() -> None:
    """A type that a parameter has, which is not known, may be any."""
    snapshot = with_tables(good(), our_table(), other_table("${indexed}tls"), other_table("$a:/b"))
    assert findings(changed(snapshot, table_types=())) == []


def test_too_new() -> None:
    """`map-name-too-new`: 3.7 does not know the attributes for TLS reports."""
    found = only(with_tables(good("3.7.11"), our_table("QUERYwithTLSRPT")))
    assert (found.id, found.effect) == ("map-name-too-new", Effect.HELD)
    assert found.what == (
        "the map QUERYwithTLSRPT answers with policy_type, which Postfix 3.7.11 does not know"
    )
    assert found.why == "Postfix holds mail to each domain with a policy"
    assert found.mend == mends(f"{SERVER}postfix")


def test_too_new_for_an_old_one() -> None:
    """Before 3.4 it is servername, and a map without that is the right one."""
    settings = Settings(maps={**Settings().maps, "old": MapSettings(servername=False)})
    snapshot = replace_field(good("3.3.22"), settings=settings)
    found = only(with_tables(snapshot, our_table("postfix")))
    assert (
        found.what == "the map postfix answers with servername, which Postfix 3.3.22 does not know"
    )
    assert found.mend == mends(f"{SERVER}old")
    assert findings(with_tables(snapshot, our_table("old"))) == []


def test_too_new_over_tcp_table() -> None:
    """The protocol tcp_table has no map names: another listener is asked."""
    reporting = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462), tlsrpt=True)
    settings = Settings(listen=(reporting, *Settings().listen))
    table = server_table("tcp:127.0.0.1:8462", reach(), is_ours=True, map_name="tcp_table")
    found = only(with_tables(replace_field(good("3.7.11"), settings=settings), table))
    assert found.id == "map-name-too-new"
    assert found.what.startswith("the listener of tcp:127.0.0.1:8462 answers with policy_type")
    assert found.mend == mends(f"{SERVER}postfix")


@pytest.mark.parametrize("name", ["postfix", "QUERY", "of_nobody"])
def test_plain(name: str) -> None:
    """`map-name-plain`: 3.10 compares MX hosts if it is told the patterns."""
    found = only(with_tables(good("3.10.13"), our_table(name)))
    assert (found.id, found.effect) == ("map-name-plain", Effect.NONE)
    assert found.what == (
        f"the map {name} answers without the attributes for TLS reports, which Postfix 3.10.13 "
        "knows"
    )
    assert found.why == (
        "Postfix does not compare the names of MX hosts with the policy (RFC 8461, 4.1; from "
        "3.10.5 on), and TLS reports do not name the policy"
    )
    assert found.mend == mends(f"{SERVER}QUERYwithTLSRPT")


def test_plain_is_right() -> None:
    """Before 3.10 it is the right map, and without a version nobody knows."""
    assert findings(with_tables(good("3.9.2"), our_table("postfix"))) == []
    unknown = with_parameters(with_tables(good(), our_table("postfix")), mail_version="")
    assert findings(unknown) == []


def test_plain_and_strict() -> None:
    """No command takes the enforcing of mode testing away."""
    strict = {"strict": MapSettings(enforce_testing=True)}
    reports = {"reports": MapSettings(enforce_testing=True, tlsrpt=True)}
    snapshot = with_tables(good(), our_table("strict"))
    alone = replace_field(snapshot, settings=Settings(maps={**Settings().maps, **strict}))
    assert only(alone).mend == ""
    maps = {**Settings().maps, **strict, **reports}
    assert only(replace_field(snapshot, settings=Settings(maps=maps))).mend == mends(
        f"{SERVER}reports"
    )


def test_plain_on_trial() -> None:
    """No command ends a trial."""
    maps = {**Settings().maps, "try": MapSettings(trial=True)}
    snapshot = with_tables(good(), our_table("try"))
    assert only(replace_field(snapshot, settings=Settings(maps=maps))).mend == ""


def test_name_of_a_map_that_fails() -> None:
    """A map that cannot be asked has one finding, not two."""
    table = our_table("postfix", reaches=(reach("ECONNREFUSED"),))
    assert [each.id for each in findings(with_tables(good(), table))] == ["map-wrong-address"]


def test_in_a_service() -> None:
    """A table that only one service has: its option is removed, and the finding names it."""
    bad = other_table("socketmap:inet:127.0.0.1:8461")
    snapshot = with_service(good(), "relay/unix", smtp_tls_policy_maps=bad.name)
    found = only(changed(snapshot, tables=(our_table(), bad)))
    assert (found.id, found.services) == ("map-syntax", ("relay/unix",))
    assert found.mend == "postconf -PX relay/unix/smtp_tls_policy_maps && postfix reload"


def test_in_a_service_and_main_cf() -> None:
    """If main.cf is not right either, the command mends both."""
    bad = other_table("socketmap:inet:127.0.0.1:8461")
    snapshot = with_service(with_tables(good(), bad), "relay/unix", smtp_tls_policy_maps=bad.name)
    found = only(snapshot)
    assert found.services == ()
    right = mends(f"{SERVER}QUERYwithTLSRPT")
    assert found.mend == f"postconf -PX relay/unix/smtp_tls_policy_maps && {right}"


def test_reference_that_is_not_known() -> None:
    """With `--main-cf` a parameter may stand for tables; that is no error of syntax."""
    assert not is_malformed(TableSeen("$tables"))
    assert is_malformed(TableSeen("tables"))
