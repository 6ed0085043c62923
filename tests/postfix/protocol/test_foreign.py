"""Clients of other protocols, by their first bytes, and what they are answered."""

import pytest

from postfix_mta_sts.postfix.protocol.foreign import recognize, refusal


@pytest.mark.parametrize(
    ("head", "protocol"),
    [
        (b"17:postfix good.test,", "socketmap"),
        (b"17:", "socketmap"),
        (b"get good.test\n", "tcp_table"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n", "HTTP"),
        (b"EHLO mail.test\r\n", "SMTP"),
        (b"helo\r\n", "SMTP"),
        (b"17", None),
        (b"get\n", None),
        (b"GETTER", None),
        (b"\x16\x02", None),
        (b"EHLOX", None),
        (b"", None),
    ],
)
def test_the_protocol_of_first_bytes(head: bytes, protocol: str | None) -> None:
    """A protocol is named only if the bytes can be nothing else."""
    assert recognize(head) == protocol


def test_a_refusal_in_the_protocol_of_the_client() -> None:
    """Postfix logs the reason after TEMP, and a tcp_table line that has no status."""
    assert refusal("socketmap", "no") == b"7:TEMP no,"
    assert refusal("tcp_table", "no") == b"no\n"
