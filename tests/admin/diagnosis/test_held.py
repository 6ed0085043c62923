"""Why mail is held, or why that cannot be told."""

from postfix_mta_sts.admin.diagnosis import held
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import Fault
from postfix_mta_sts.network.mail_hosts_values import DnsProblem, MailHosts, MxHost
from postfix_mta_sts.postfix.smtp_client.values import NextHop


def test_all_sentences_are_ascii() -> None:
    """A next-hop in U-labels is escaped, as in each other sentence."""
    evidence = Evidence.of(NextHop("bücher.test", "xn--bcher-kva.test"), 1_800_000_000.0)
    assert held.dns_is_silent(evidence, "SERVFAIL").sentence.isascii()


def without_address(*problems: DnsProblem) -> Evidence:
    """Evidence of a domain whose MX hosts have these problems."""
    found = Evidence.of(NextHop("good.test", "good.test"), 1_800_000_000.0)
    hosts = (MxHost(f"mx{n}.good.test", n, (), (), each, each) for n, each in enumerate(problems))
    found.mail_hosts = MailHosts(tuple(hosts))
    return found


def test_mx_hosts_that_do_not_exist() -> None:
    """An MX record that leads nowhere is the fault of the domain, which exists."""
    found = without_address(DnsProblem.NO_SUCH_NAME)
    verdict = held.without_hosts(found, DnsProblem.NO_SUCH_NAME)
    assert verdict.sentence.endswith("its MX host mx0.good.test has no address")
    assert (verdict.fault, verdict.cause) == (Fault.THEIRS, "mx-without-address")


def test_one_mx_host_is_not_known() -> None:
    """If one MX host does not exist and the DNS does not answer for another one, who knows."""
    found = without_address(DnsProblem.NO_SUCH_NAME, DnsProblem.FAILURE)
    assert found.mail_hosts
    assert held.problem_of(found.mail_hosts) is DnsProblem.FAILURE
    assert held.without_hosts(found, DnsProblem.FAILURE).sentence.endswith("failure")
