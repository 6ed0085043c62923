"""With `--main-cf`, a value that depends on what was not seen is judged by no rule."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace as replace_field
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.judge import judge
from postfix_mta_sts.admin.doctor.report import Finding
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.postfix.installed.elsewhere import instance_of
from postfix_mta_sts.postfix.installed.unasked import unasked_tables
from postfix_mta_sts.values import replace
from tests.support.snapshots import good

TABLE: Final = "socketmap:inet:127.0.0.1:8461:postfix"
MAP: Final = "smtp_tls_policy_maps"
LEVEL: Final = "smtp_tls_security_level"
GOOD: Final = {
    MAP: TABLE,
    LEVEL: "may",
    "smtp_tls_loglevel": "1",
    "smtp_tls_CAfile": "/etc/ssl/certs/ca-certificates.crt",
    "sts": "yes",
    "port": "8461",
}
SMTP: Final = "smtp unix - - n - - smtp\n"


def findings(parameters: dict[str, str], master_cf: str | None = None) -> Sequence[Finding]:
    """Return what doctor finds in a main.cf with these parameters, and in a master.cf."""
    text = "".join(f"{name} = {value}\n" for name, value in {**GOOD, **parameters}.items())
    instance, *_ = instance_of(text, master_cf)
    tables = asyncio.run(unasked_tables(instance, Settings().listen))
    instances = (replace(instance, tables=tables),)
    return judge(replace_field(good(), main_cf_file="/b/main.cf", instances=instances)).findings


def ids(parameters: dict[str, str], master_cf: str | None = None) -> list[str]:
    """Return the ids of these findings."""
    return [each.id for each in findings(parameters, master_cf)]


def test_good() -> None:
    """What the other tests change has no fault."""
    assert ids({}) == ids({}, SMTP) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (MAP, f"${{sts?{{{TABLE}}}}}"),
        (MAP, "socketmap:inet:127.0.0.1:${sts?{8461}}:postfix"),
        (MAP, "socketmap:${sts?{inet:127.0.0.1:8461}}:postfix"),
        (MAP, "$policy_table"),
        (LEVEL, "${sts?{may}}"),
        (LEVEL, "${sts?{dane}:{may}}"),
        ("relayhost", "${sts?{}}"),
        ("default_transport", "${sts?{smtp}}"),
        ("default_transport", "$nobody"),
        ("sender_dependent_relayhost_maps", "${other?{hash:/a}}"),
        ("sender_dependent_default_transport_maps", "${other?{hash:/a}}"),
        ("smtp_tls_loglevel", "${sts?{1}}"),
        ("smtp_tls_CAfile", "${sts?{/etc/ssl/ca.pem}}"),
        ("smtp_tls_session_cache_timeout", "${sts?{30d}}"),
    ],
)
def test_main_cf(name: str, value: str) -> None:
    """Neither with a master.cf, nor without."""
    assert ids({name: value}) == []
    assert ids({name: value}, SMTP) == []


@pytest.mark.parametrize(
    "option",
    [
        f"{MAP}=${{sts?{{{TABLE}}}}}",
        f"{MAP}=socketmap:${{sts?{{inet:127.0.0.1:8461}}}}:postfix",
        f"{LEVEL}=${{sts?{{may}}}}",
        f"{LEVEL}=dane -o smtp_dns_support_level=${{sts?{{dnssec}}}}",
        "smtp_tls_CAfile=${sts?{/etc/ssl/ca.pem}}",
        f"{MAP}= -o disable_dns_lookups=${{sts?{{yes}}}}",
    ],
)
def test_option(option: str) -> None:
    """Nor in an option of a service."""
    assert ids({}, f"{SMTP}relay unix - - n - - smtp -o {option}\n") == []


def test_level_of_old_parameters() -> None:
    """An empty level is that of the parameters before it."""
    assert ids({LEVEL: "", "smtp_use_tls": "${sts?{yes}}"}) == []
    assert ids({LEVEL: ""}) == ["level-none"]


def test_dane_without_dnssec() -> None:
    """Whether Postfix asks for DNSSEC is not known."""
    assert ids({LEVEL: "dane", "smtp_dns_support_level": "${sts?{dnssec}}"}) == []


def test_what_is_known_counts() -> None:
    """An option that is known hides a parameter that is not, and others are judged as before."""
    unknown = {MAP: f"${{sts?{{{TABLE}}}}}"}
    asking = f"{SMTP.strip()} -o {MAP}={TABLE}\n"
    [found] = findings(unknown, f"{asking}relay unix - - n - - smtp -o {MAP}=\n")
    assert (found.id, found.services, found.mend) == ("service-without-map", ("relay/unix",), "")
    assert ids(unknown, f"{asking}relay unix - - n - - smtp\n") == []
    [found] = findings({}, f"{SMTP}relay unix - - n - - smtp -o {MAP}= -o a=${{sts?b}}\n")
    assert (found.id, found.services) == ("service-without-map", ("relay/unix",))


def test_no_table_in_main_cf() -> None:
    """One service that may ask the daemon does not make up for those that do not."""
    option = f"relay unix - - n - - smtp -o {MAP}=${{sts?{{{TABLE}}}}}\n"
    assert ids({MAP: ""}, f"{SMTP}{option}") == ["map-missing"]
    assert ids({MAP: ""}, option) == []


def test_content_filter() -> None:
    """Each service may be the way to a filter whose name is not known."""
    option = f"relay unix - - n - - smtp -o {MAP}=\n"
    assert ids({"content_filter": "${sts?{relay:[127.0.0.1]:10024}}"}, f"{SMTP}{option}") == []


def test_session_cache() -> None:
    """A name of a table is not empty, wherever its file is."""
    month = {"smtp_tls_session_cache_timeout": "30d"}
    name = "smtp_tls_session_cache_database"
    assert ids({**month, name: "btree:${data_directory}/x"}) == ["session-cache-long"]
    assert ids({**month, name: "${sts?{btree:/x}}"}) == []
