"""Rules for services of master.cf with options that take the protection of policies away."""

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.values import replace
from tests.support.findings import findings, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    other_table,
    our_table,
    with_command,
    with_parameters,
    with_service,
    with_tables,
)
from tests.support.stock_postfix import SERVER

every_version = pytest.mark.parametrize("version", VERSIONS)


def test_option() -> None:
    """`service-option`: spaces around `=` are taken away."""
    found = only(with_command(good(), "smtp -v -o smtp_tls_security_level = may -o a=b"))
    assert (found.id, found.effect) == ("service-option", Effect.HELD)
    assert found.what == (
        "service relay/unix has -o smtp_tls_security_level, which is not of the form "
        "-o name=value, without spaces"
    )
    assert found.why == "smtp(8) ends at its start, so that Postfix holds the mail of this service"
    assert found.mend == (
        "postconf -Fe 'relay/unix/command=smtp -v -o smtp_tls_security_level=may -o a=b' "
        "&& postfix reload"
    )
    assert found.services == ("relay/unix",)


def test_option_that_was_escaped() -> None:
    """A command that could only be shown is not written to the file."""
    assert only(with_command(good(), r"smtp -o smtp_helo_name = \x07")).mend == ""


def test_option_that_is_right() -> None:
    """Neither braces nor a missing space are a fault."""
    assert findings(with_command(good(), "smtp -osyslog_name=out -o { a = b }")) == []


@every_version
@pytest.mark.parametrize("value", ["", "hash:/etc/postfix/tls"])
def test_without_map(version: str, value: str) -> None:
    """`service-without-map`: the option is removed, so that main.cf counts."""
    snapshot = with_service(good(version), "relay/unix", smtp_tls_policy_maps=value)
    own = [other_table(value)] if value else []
    found = only(changed(snapshot, tables=(*snapshot.instances[0].tables, *own)))
    assert (found.id, found.effect) == ("service-without-map", Effect.UNPROTECTED)
    assert found.what == (
        f"service relay/unix does not ask the daemon (-o smtp_tls_policy_maps={value})"
    )
    assert found.why == "No policy is enforced for the mail that it sends"
    assert found.mend == "postconf -PX relay/unix/smtp_tls_policy_maps && postfix reload"
    assert found.services == ("relay/unix",)


def test_main_cf_without_map() -> None:
    """If only a service asks the daemon, main.cf gets its table for the others."""
    snapshot = with_service(with_tables(good()), "smtp/unix", smtp_tls_policy_maps=our_table().name)
    found = only(changed(snapshot, tables=(our_table(),)))
    assert (found.id, found.services) == ("service-without-map", ("relay/unix",))
    assert found.what == "service relay/unix does not ask the daemon"
    assert found.mend == (
        f"postconf -e 'smtp_tls_policy_maps = {SERVER}QUERYwithTLSRPT' && postfix reload"
    )


def test_other_ways_to_the_daemon() -> None:
    """A service may ask another map."""
    snapshot = with_service(good(), "relay/unix", smtp_tls_policy_maps=f"{SERVER}mine")
    settings_name = our_table("QUERYwithTLSRPT", name=f"{SERVER}mine")
    assert findings(changed(snapshot, tables=(our_table(), settings_name))) == []


@every_version
@pytest.mark.parametrize("level", ["", "none"])
def test_level(version: str, level: str) -> None:
    """`service-level`: the option is removed."""
    found = only(with_service(good(version), "relay/unix", smtp_tls_security_level=level))
    assert (found.id, found.effect) == ("service-level", Effect.UNPROTECTED)
    assert found.what == (
        f"service relay/unix does without TLS (-o smtp_tls_security_level={level})"
    )
    assert found.why == (
        "It sends mail to domains without a policy in plain text, although main.cf wants TLS"
    )
    assert found.mend == "postconf -PX relay/unix/smtp_tls_security_level && postfix reload"
    assert found.services == ("relay/unix",)


@pytest.mark.parametrize("level", ["may", "encrypt", "dane"])
def test_level_with_tls(level: str) -> None:
    """A service may have another level."""
    assert findings(with_service(good(), "relay/unix", smtp_tls_security_level=level)) == []


def test_level_like_main_cf() -> None:
    """If main.cf does without TLS, the rule for main.cf says so."""
    snapshot = with_parameters(good(), smtp_tls_security_level="")
    assert findings(with_service(snapshot, "relay/unix", smtp_tls_security_level="none")) == []


@pytest.mark.parametrize(
    "option",
    [
        {"disable_dns_lookups": "yes"},
        {"smtp_send_xforward_command": "yes"},
        {"smtp_dns_support_level": "disabled"},
        {"smtp_host_lookup": "native"},
    ],
)
def test_way_to_a_filter(option: dict[str, str]) -> None:
    """A service that has one destination sends to no other domain."""
    without = {"smtp_tls_policy_maps": "", "smtp_tls_security_level": "none"}
    assert findings(with_service(good(), "relay/unix", **without, **option)) == []


def test_content_filter() -> None:
    """Nor does the transport of content_filter."""
    without = {"smtp_tls_policy_maps": "", "smtp_tls_security_level": "none"}
    snapshot = with_parameters(good(), content_filter="relay:[127.0.0.1]:10024")
    assert findings(with_service(snapshot, "relay/unix", **without)) == []


def test_lmtp() -> None:
    """lmtp(8) has parameters of its own, and delivers to this machine."""
    snapshot = with_service(good(), "lmtp/unix", smtp_tls_policy_maps="")
    assert findings(with_service(snapshot, "lmtp/unix", smtp_tls_security_level="")) == []


def test_several() -> None:
    """Each service has its own finding."""
    snapshot = with_service(good(), "relay/unix", smtp_tls_policy_maps="")
    third = replace(snapshot.instances[0].services[1], name="slow/unix")
    snapshot = changed(snapshot, services=(*snapshot.instances[0].services, third))
    assert [each.services for each in findings(snapshot)] == [("relay/unix",), ("slow/unix",)]
