"""MX hosts to which Postfix does not connect at all."""

import pytest

from postfix_mta_sts.admin.diagnosis import nowhere
from postfix_mta_sts.admin.diagnosis.build import build
from postfix_mta_sts.admin.diagnosis.conclude import conclude
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.letter import letter
from postfix_mta_sts.admin.diagnosis.values import Fault, Flow
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.postfix.smtp_client.delivery import predict
from postfix_mta_sts.postfix.smtp_client.values import NextHop
from postfix_mta_sts.values import replace
from tests.support.evidence import NO_RECORD, evidence
from tests.support.smtp_client import NAME, NEW


def unasked(address: str, **main_cf: object) -> Evidence:
    """Return evidence of an MX host with an address that Postfix leaves out."""
    found = evidence(hosts=MailHosts((MxHost(NAME, 10, (address,)),)), error=NO_RECORD)
    found.main_cf = replace(NEW, **main_cf)
    assert found.mail_hosts
    found.delivery = predict(found.next_hop, found.mail_hosts, None, (), found.main_cf)
    return found


@pytest.mark.parametrize(
    ("address", "fault", "words"),
    [
        ("192.0.2.1", Fault.YOURS, f"its MX host {NAME} is this machine"),
        ("127.0.0.1", Fault.THEIRS, "the address of each machine for itself"),
    ],
)
def test_loop(address: str, fault: Fault, words: str) -> None:
    """An MX host that is this machine is told from one that is localhost everywhere."""
    verdict = conclude(unasked(address, own_addresses=(address,)))
    assert (verdict.flow, verdict.fault, verdict.cause) == (Flow.BOUNCED, fault, "loop")
    assert words in verdict.sentence


def test_family() -> None:
    """A Postfix without IPv6 returns mail to hosts that have nothing else."""
    verdict = conclude(unasked("2001:db8::1", inet_protocols="ipv4"))
    assert (verdict.fault, verdict.cause) == (Fault.YOURS, "address-family")
    assert verdict.sentence.endswith("only IPv6 addresses, and inet_protocols is ipv4")


def test_no_address() -> None:
    """An MX record with a name that does not exist is no misspelt address of a recipient."""
    gone = MxHost(NAME, 10, problem=DnsProblem.NO_SUCH_NAME, reason="NXDOMAIN")
    found = evidence(hosts=MailHosts((gone,)), error=NO_RECORD)
    verdict = conclude(found)
    assert (verdict.flow, verdict.fault, verdict.cause) == (
        Flow.BOUNCED,
        Fault.THEIRS,
        "no-mail-host",
    )
    assert verdict.sentence.endswith(f"its MX host {NAME} does not exist")
    text = letter(build(found))
    assert "Subject: Mail to x.test: it cannot be delivered" in text
    assert "RFC 8461" not in text


def test_all_sentences_are_ascii() -> None:
    """A next-hop in U-labels is escaped, as in each other sentence."""
    evidence = Evidence.of(NextHop("bücher.test", "xn--bcher-kva.test"), 1_800_000_000.0)
    assert nowhere.dns_is_silent(evidence, "SERVFAIL").sentence.isascii()
