"""Rules for main.cf: whether it can be read, unknown parameters, the session cache, the log."""

from dataclasses import replace as replace_field

import pytest

from postfix_mta_sts.admin.doctor.misspelt import meant
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.postfix.installed.values import Instance
from tests.support.findings import findings, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    our_table,
    with_parameters,
    with_tables,
)

every_version = pytest.mark.parametrize("version", VERSIONS)
REST, MORE = "/^[^[:space:]]/", "/^[[:space:]]/"
MAP = "socketmap:inet:127.0.0.1:8461:postfix"


@every_version
def test_good(version: str) -> None:
    """A machine that is set up as README says has no finding."""
    assert findings(good(version)) == []


def test_no_postfix() -> None:
    """Neither has one without a Postfix."""
    assert findings(replace_field(good(), instances=())) == []


@pytest.mark.parametrize(
    ("problem", "mend"),
    [
        (
            "postconf failed: fatal: /etc/postfix/main.cf, line 12: missing '=' after name: foo",
            f"sed -i '12,{REST}{{12d;{MORE}d;}}' /etc/postfix/main.cf && postfix reload",
        ),
        ("postconf failed: fatal: /etc/postfix/main.cf, lines 3-5: missing '='", ""),
        ("postconf failed: fatal: /etc/postfix/master.cf, line 5: bad transport", ""),
        ("postconf failed: fatal: open /etc/postfix/main.cf: Permission denied", ""),
    ],
)
def test_broken(problem: str, mend: str) -> None:
    """`main-cf-broken`: the line that Postfix names can be removed."""
    snapshot = replace_field(good(), instances=(Instance("-", "/etc/postfix", problem=problem),))
    found = only(snapshot)
    assert (found.id, found.effect) == ("main-cf-broken", Effect.HELD)
    assert found.what == f"main.cf of Postfix cannot be read: {problem}"
    assert found.why == "No program of Postfix starts with it"
    assert found.mend == mend


def test_broken_elsewhere() -> None:
    """Text of the line that has the error cannot name another file for the command."""
    problem = "postconf failed: fatal: missing '=' after name: x /root/main.cf, line 1:"
    snapshot = replace_field(good(), instances=(Instance("-", "/etc/postfix", problem=problem),))
    assert only(snapshot).mend == ""


def test_many_unused() -> None:
    """Twenty are named, that which was to be the map among them, and the others counted."""
    unused = (*(f"nonsense_{i:04}=1" for i in range(3_000)), f"smtp_tls_policy_map={MAP}")
    found = findings(changed(with_tables(good()), unused=unused))
    assert len(found) == 21
    assert found[0].what.startswith("main.cf has smtp_tls_policy_map, ")
    assert found[-1].what == "main.cf has 2981 more parameters that Postfix 3.10.13 does not know"
    assert found[-1].why == "They have no effect"
    assert {each.id for each in found} == {"parameter-unused"}


@pytest.mark.parametrize(
    ("unused", "mend"),
    [
        ("smtp_tls_loglev?l=2", ""),
        ("smtp_tls_loglevl=2?", ""),
        ("wishful=2?", "postconf -X wishful && postfix reload"),
        ("-wishful=2", "postconf -X -- -wishful && postfix reload"),
    ],
)
def test_unused_and_unprintable(unused: str, mend: str) -> None:
    """`?` may stand for a character that cannot be shown, and so cannot be written again."""
    assert only(changed(good(), unused=(unused,))).mend == mend


@every_version
def test_unused(version: str) -> None:
    """`parameter-unused`: a name that is like no other is removed."""
    found = only(changed(good(version), unused=("smtp_tls_wishful=yes",)))
    assert (found.id, found.effect) == ("parameter-unused", Effect.NONE)
    assert found.what == f"main.cf has smtp_tls_wishful, which Postfix {version} does not know"
    assert found.why == "It has no effect"
    assert found.mend == "postconf -X smtp_tls_wishful && postfix reload"


def test_unused_like_another() -> None:
    """A name that is nearly another one gets its value to that."""
    found = only(changed(good(), unused=("smtp_tls_loglevl = 2",)))
    assert found.what.endswith("does not know; perhaps smtp_tls_loglevel is meant")
    assert found.mend == (
        "postconf -X smtp_tls_loglevl && postconf -e 'smtp_tls_loglevel = 2' && postfix reload"
    )


@every_version
def test_unused_map(version: str) -> None:
    """If the daemon's table has a wrong name, no policy is enforced, and one finding says so."""
    found = only(changed(with_tables(good(version)), unused=(f"smtp_tls_policy_map={MAP}",)))
    assert (found.id, found.effect) == ("parameter-unused", Effect.UNPROTECTED)
    assert found.why == (
        "It has no effect; Postfix does not ask the daemon, and no policy is enforced"
    )
    assert found.mend == (
        "postconf -X smtp_tls_policy_map && "
        f"postconf -e 'smtp_tls_policy_maps = {MAP}' && postfix reload"
    )


def test_unused_map_beside_the_right_one() -> None:
    """The table that works stays as it is."""
    found = only(changed(good(), unused=("smtp_tls_policy_map=socketmap:inet:1.2.3.4:1:x",)))
    assert found.effect is Effect.NONE
    assert found.mend == "postconf -X smtp_tls_policy_map && postfix reload"


def test_unused_twice() -> None:
    """Each parameter has its own finding."""
    found = findings(changed(good(), unused=("a_b_c=1", "d_e_f=2")))
    assert [each.mend for each in found] == [
        "postconf -X a_b_c && postfix reload",
        "postconf -X d_e_f && postfix reload",
    ]


def test_unused_unknown_version() -> None:
    """Without a version the sentence has none."""
    snapshot = changed(good(), unused=("a_b_c=1",), services=())
    assert only(snapshot).what == "main.cf has a_b_c, which Postfix does not know"


@pytest.mark.parametrize("timeout", ["30d", "2w", "90000s", "90000", "1441m", "25h"])
def test_session_cache_long(timeout: str) -> None:
    """`session-cache-long`: more than a day, in each unit."""
    found = only(
        with_parameters(
            good(),
            smtp_tls_session_cache_database="btree:/var/lib/postfix/smtp_scache",
            smtp_tls_session_cache_timeout=timeout,
        )
    )
    assert (found.id, found.effect) == ("session-cache-long", Effect.NONE)
    assert found.what == f"smtp_tls_session_cache_timeout is {timeout}, more than a day"
    assert found.mend == "postconf -X smtp_tls_session_cache_timeout && postfix reload"


@pytest.mark.parametrize(
    ("database", "timeout"),
    [("", "30d"), ("btree:/x", "1d"), ("btree:/x", "24h"), ("btree:/x", "soon"), ("btree:/x", "")],
)
def test_session_cache_short(database: str, timeout: str) -> None:
    """Without a cache, or up to a day, it is as it should be."""
    snapshot = with_parameters(
        good(),
        smtp_tls_session_cache_database=database,
        smtp_tls_session_cache_timeout=timeout,
    )
    assert findings(snapshot) == []


def test_session_cache_type() -> None:
    """`session-cache-type`: a type that this Postfix does not have."""
    database = "lmdb:/var/lib/postfix/smtp_scache"
    snapshot = with_parameters(good(), smtp_tls_session_cache_database=database)
    found = only(snapshot)
    assert (found.id, found.effect) == ("session-cache-type", Effect.NONE)
    assert found.what == (
        f"smtp_tls_session_cache_database is {database}, and this Postfix has no tables of type "
        "lmdb"
    )
    assert found.mend == "postconf -e 'smtp_tls_session_cache_database =' && postfix reload"
    assert findings(changed(snapshot, table_types=())) == []


@every_version
def test_log_level(version: str) -> None:
    """`loglevel-0`: the default."""
    found = only(with_parameters(good(version), smtp_tls_loglevel="0"))
    assert (found.id, found.effect) == ("loglevel-0", Effect.NONE)
    assert found.what == "smtp_tls_loglevel is 0"
    assert found.why == "The mail log does not say whether a TLS connection was verified"
    assert found.mend == "postconf -e 'smtp_tls_loglevel = 1' && postfix reload"


def test_another_instance() -> None:
    """A finding names its instance, and its command the folder."""
    snapshot = with_parameters(good(), smtp_tls_loglevel="0")
    snapshot = changed(snapshot, name="postfix-out", config_directory="/etc/postfix-out")
    found = only(snapshot)
    assert found.instance == "postfix-out"
    assert found.mend == (
        "postconf -c /etc/postfix-out -e 'smtp_tls_loglevel = 1' && "
        "postfix -c /etc/postfix-out reload"
    )


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("smtp_tls_policy_map", "smtp_tls_policy_maps"),
        ("smtp_tls_polcy_mapz", "smtp_tls_policy_maps"),
        ("smtp_tls_policymap", "smtp_tls_policy_maps"),
        ("smtp_tls_policy", ""),
        ("smtpd_tls_policy_maps", "smtp_tls_policy_maps"),
        ("", ""),
    ],
)
def test_meant(name: str, right: str) -> None:
    """Two letters may be wrong, missing or too many; then the nearest name counts."""
    assert meant(name, ["smtp_tls_policy_maps", "relayhost"]) == right


def test_unused_map_of_another_table() -> None:
    """A wrong name with a table of another type does not explain that the daemon is not asked."""
    snapshot = changed(with_tables(good()), unused=("smtp_tls_policy_map=hash:/etc/postfix/tls",))
    assert [each.id for each in findings(snapshot)] == ["parameter-unused", "map-missing"]


def test_unused_map_while_another_leads_here() -> None:
    """A service that asks the daemon does not make a wrong name in main.cf worse than it is."""
    snapshot = changed(good(), tables=(our_table(),), unused=("smtp_tls_policy_map=tcp:a:1",))
    assert only(snapshot).effect is Effect.NONE
