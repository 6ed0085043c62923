"""Why mail is held, or why that cannot be told."""

from postfix_mta_sts.admin.diagnosis import held
from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.postfix.smtp_client.values import NextHop


def test_all_sentences_are_ascii() -> None:
    """A next-hop in U-labels is escaped, as in each other sentence."""
    evidence = Evidence.of(NextHop("bücher.test", "xn--bcher-kva.test"), 1_800_000_000.0)
    assert held.dns_is_silent(evidence, "SERVFAIL").sentence.isascii()
