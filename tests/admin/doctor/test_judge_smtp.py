"""The report of one fault of CAs, level, DANE, name servers, routing or reports: exactly that."""

from collections.abc import Callable
from dataclasses import replace as replace_field
from typing import Final

import pytest

from postfix_mta_sts.admin.doctor.judge import judge
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Snapshot
from postfix_mta_sts.config.settings import DaneSettings, Settings
from postfix_mta_sts.postfix.authorities import EMPTY, Authorities
from postfix_mta_sts.postfix.dane import status_by_mode
from postfix_mta_sts.postfix.postconf import Postfix
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    reach,
    with_parameters,
    with_status,
)

COPY: Final = "/var/spool/postfix/etc/resolv.conf"
GONE: Final = Authorities(is_loadable=False, problem="smtp_tls_CAfile /x: No such file")
Break = Callable[[Snapshot], Snapshot]


def having(**parameters: str) -> Break:
    """Return what changes main.cf."""
    return lambda seen: with_parameters(seen, **parameters)


def without_cas(seen: Snapshot) -> Snapshot:
    """No CA at all."""
    bare = with_parameters(seen, smtp_tls_CAfile="", smtp_tls_CApath="")
    return changed(bare, authorities=Authorities(problem=EMPTY))


def dane_in_daemon(seen: Snapshot) -> Snapshot:
    """`dane.mode: on`, and a Postfix without DNSSEC."""
    status = status_by_mode("on", None)
    plain = {"on": status.on, "reason": status.reason}
    return replace_field(
        with_status(seen, dane=plain), settings=Settings(dane=DaneSettings(mode="on"))
    )


def dane_in_postfix(seen: Snapshot) -> Snapshot:
    """`dane.mode: off`, and a Postfix that does DANE."""
    dane = having(smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")(seen)
    return replace_field(dane, settings=Settings(dane=DaneSettings(mode="off")))


def dane_in_both(seen: Snapshot) -> Snapshot:
    """DANE in Postfix, and a daemon that follows."""
    dane = having(smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")(seen)
    status = status_by_mode("auto", Postfix("dnssec", "dane"))
    return with_status(dane, dane={"on": status.on, "reason": status.reason})


def asking(*servers: str, silent: tuple[str, ...] = ()) -> Break:
    """Return what gives smtp(8) other name servers."""
    resolver = Resolver(COPY, servers, silent)
    return lambda seen: replace_field(seen, postfix_resolver=resolver)


def not_validating(seen: Snapshot) -> Snapshot:
    """Name servers that do not validate, in both files."""
    servers = Resolver(COPY, ("192.0.2.1:53",), not_validating=("192.0.2.1:53",))
    system = replace_field(servers, file="/etc/resolv.conf")
    both = replace_field(dane_in_both(seen), postfix_resolver=servers, daemon_resolver=system)
    return with_status(both, dane={"on": False, "reason": "", "needs_attention": True})


FAULTS: Final[tuple[tuple[str, int, Break], ...]] = (
    ("ca-none", 2, without_cas),
    ("ca-file-missing", 2, lambda seen: changed(seen, authorities=GONE)),
    ("level-none", 1, having(smtp_tls_security_level="")),
    ("level-strict", 1, having(smtp_tls_security_level="encrypt")),
    ("dane-without-dnssec", 2, having(smtp_tls_security_level="dane")),
    ("dane-daemon-only", 2, dane_in_daemon),
    ("dane-postfix-only", 2, dane_in_postfix),
    ("resolver-silent", 2, asking("127.0.0.99:53", silent=("127.0.0.99:53",))),
    ("resolv-conf-differs", 1, asking("127.0.0.2:53")),
    ("resolver-not-validating", 1, not_validating),
    ("relayhost", 1, having(relayhost="[127.0.0.11]")),
    ("default-transport", 1, having(default_transport="smtp:[127.0.0.11]")),
    ("transport-catch-all", 1, lambda seen: changed(seen, catch_all="smtp:[127.0.0.11]")),
    ("sender-relayhost", 1, having(sender_dependent_relayhost_maps="static:x")),
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("id_", "code", "fault"), FAULTS, ids=[each[0] for each in FAULTS])
def test_exactly_one(version: str, id_: str, code: int, fault: Break) -> None:
    """One fault is one finding, with its exit code and a command."""
    report = judge(fault(good(version)))
    assert [each.id for each in report.findings] == [id_]
    assert report.exit_code == code
    assert report.findings[0].mend or id_ == "dane-postfix-only"  # which takes a line of the file


@pytest.mark.parametrize("version", VERSIONS)
def test_dane_in_both(version: str) -> None:
    """DANE that both do is no fault."""
    assert judge(dane_in_both(good(version))).findings == ()


def test_reports() -> None:
    """A collector that does not run is one warning, where Postfix knows reports."""
    on = {"smtp_tlsrpt_enable": "yes", "smtp_tlsrpt_socket_name": "run/tlsrpt"}
    seen = changed(with_parameters(good(), **on), tlsrpt=reach("ENOENT"))
    assert [each.id for each in judge(seen).findings] == ["tlsrpt-socket"]
