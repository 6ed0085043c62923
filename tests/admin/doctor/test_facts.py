"""What is shown whether or not something is wrong."""

from dataclasses import replace

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.doctor.facts import facts
from postfix_mta_sts.admin.doctor.judge import judge
from postfix_mta_sts.admin.doctor.snapshot import Daemon, DaemonState, Resolver, Snapshot
from postfix_mta_sts.postfix.installed.sleeping import REASON
from postfix_mta_sts.values import replace as replace_value
from tests.support.snapshots import (
    changed,
    good,
    instance,
    our_table,
    with_parameters,
    with_status,
    with_tables,
)
from tests.support.stock_postfix import BUNDLE


def shown(snapshot: Snapshot) -> dict[str, str]:
    """The facts by label; fails if one has two."""
    every = list(facts(snapshot))
    by_label = {each.label: each.text for each in every}
    assert len(by_label) == len(every)
    return by_label


def test_good() -> None:
    """A good setup in a dozen lines."""
    assert shown(good("3.10.13")) == {
        "daemon": f"answers, version {__version__}, pid 100",
        "configuration": "/etc/postfix-mta-sts.yml",
        "listeners": "socketmap 127.0.0.1:8461",
        "Postfix": "3.10.13, /etc/postfix",
        "services": "smtp/unix (chroot), relay/unix (chroot), lmtp/unix (chroot)",
        "policy map": "socketmap:inet:127.0.0.1:8461:QUERYwithTLSRPT",
        "TLS level": "may",
        "CA certificates": BUNDLE,
        "DANE": "off: smtp_dns_support_level is not set in Postfix",
        "name servers": "127.0.0.1:53, by /etc/resolv.conf",
        "name servers of smtp(8)": "127.0.0.1:53, by /var/spool/postfix/etc/resolv.conf",
        "waiting mail": "none because of a policy",
    }


def test_little_seen() -> None:
    """What was not seen is not there, and defaults are named."""
    seen = replace(
        good(),
        daemon=Daemon(DaemonState.DENIED),
        config_file="",
        daemon_resolver=Resolver("", ()),
        postfix_resolver=None,
        waiting=None,
    )
    bare = with_parameters(seen, smtp_tls_policy_maps="", smtp_tls_security_level="")
    bare = changed(bare, services=(), authorities=None)
    assert shown(bare) == {
        "daemon": "was not asked",
        "configuration": "defaults, no file",
        "Postfix": "of unknown version, /etc/postfix",
        "services": "none that sends mail",
        "policy map": "none",
        "TLS level": "none",
        "name servers": "none, by dns.nameservers",
    }


def test_no_chroot() -> None:
    """Only a service in a chroot is marked."""
    services = tuple(
        replace_value(each, is_chrooted=each.name == "smtp/unix")
        for each in good().instances[0].services
    )
    text = shown(changed(good(), services=services))["services"]
    assert text == "smtp/unix (chroot), relay/unix, lmtp/unix"


def test_several_instances() -> None:
    """Each instance has facts of its own, and one that cannot be read says why."""
    second = replace_value(instance(name="out"), problem="main.cf, line 3: bad")
    seen = replace(good(), instances=(*good().instances, second), daemon_resolver=None)
    labels = shown(seen)
    assert labels["Postfix (-)"] == "3.10.13, /etc/postfix"
    assert labels["Postfix (out)"] == "main.cf, line 3: bad"
    assert "services (out)" not in labels


@pytest.mark.parametrize(
    ("count", "text"), [(1, "1 message waits because"), (3, "3 messages wait because")]
)
def test_waiting(count: int, text: str) -> None:
    """Mail that waits can be tried again at once."""
    found = shown(replace(good(), waiting=count))["waiting mail"]
    assert found.startswith(text)
    assert "postqueue -f" in found


@pytest.mark.parametrize(
    ("sandbox", "text"),
    [
        ({"files": False, "missing": ["network.sandbox is off"]},
         "not confined; network.sandbox is off"),
        ({"ports": [25, 53, 443], "processes": True}, "kept from other ports, other processes"),
        ({"files": True}, "kept from files that it does not need"),
        ({"unix_sockets": True, "missing": ["files: Linux is too old"]},
         "kept from sockets of other programs; files: Linux is too old"),
    ],
)  # fmt: skip
def test_sandbox(sandbox: dict[str, object], text: str) -> None:
    """What the network process may not do, as the daemon says."""
    assert shown(with_status(good(), sandbox=sandbox))["network process"] == text


def test_started_by_the_next_look_up() -> None:
    """A daemon that systemd starts when it is needed does not run, and that is no fault."""
    unit = good().unit
    assert unit
    unit = replace(unit, is_active=False, sockets=("a.socket", "b.socket"))
    seen = replace(good(), daemon=Daemon(DaemonState.NOT_RUNNING), unit=unit)
    seen = with_tables(seen, our_table(reaches=(), unasked=(REASON,)))
    text = "does not run; the next look-up starts it, by a.socket and b.socket"
    assert shown(seen)["daemon"] == text
    assert judge(seen).exit_code == 0
    without = replace(seen, unit=replace(unit, sockets=()))
    assert shown(without)["daemon"] == "does not run"
