"""What Postfix would send to a server, and what is made of its reply."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.postfix.installed.inside import DATAGRAM
from postfix_mta_sts.postfix.installed.outcome import NotAskedError, parse_output, request_for
from postfix_mta_sts.postfix.installed.values import Reach, Standpoint
from postfix_mta_sts.postfix.policy_maps import Server

HERE = Standpoint.POSTFIX
ADDRESS = TcpAddress("127.0.0.1", 8461)


def reach(data: bytes, wire: str = "socketmap") -> Reach:
    """What is made of these bytes of a server."""
    return parse_output(json.dumps({"data": data.decode("latin-1")}), wire, HERE)


def test_requests() -> None:
    """The key is an address literal, which leads to no look-up; the map is that of the table."""
    assert request_for(Server("socketmap", ADDRESS, "QUERY")) == b"17:QUERY [127.0.0.1],"
    assert request_for(Server("tcp_table", ADDRESS)) == b"get [127.0.0.1]\n"
    assert request_for(Server("socketmap", ADDRESS, "\udcff")) == b"13:\xff [127.0.0.1],"


@pytest.mark.parametrize(
    ("wire", "data", "reply"),
    [
        ("socketmap", b"9:NOTFOUND ,", None),
        ("socketmap", b"6:OK may,", "may"),
        ("tcp_table", b"500 not%20found\n", None),
        ("tcp_table", b"500 no\n500 no\n", None),
        ("socketmap", b"9:NOTFOUND ,9:NOTFOUND ,", None),
        ("tcp_table", b"200 secure%20match=x.test\n", "secure match=x.test"),
    ],
)
def test_replies(wire: str, data: bytes, reply: str | None) -> None:
    """Entries and "not found" of both protocols."""
    assert reach(data, wire) == Reach(HERE, reply=reply)


@pytest.mark.parametrize(
    ("wire", "data", "error", "reason"),
    [
        ("socketmap", b"10:TEMP later,", "try-again", "TEMP: later"),
        ("tcp_table", b"400 later\n", "try-again", "400: later"),
        ("socketmap", b"", "malformed", "closed without a reply"),
        ("tcp_table", b"", "malformed", "closed without a reply"),
        ("socketmap", b"9:NOTFOUND", "malformed", 'not a reply of socketmap: "9:NOTFOUND"'),
        ("socketmap", b"8:NOTFOUND ,", "malformed", 'not a reply of socketmap: "8:NOTFOUND ,"'),
        ("tcp_table", b"500 no", "malformed", 'not a reply of tcp_table: "500 no"'),
        ("socketmap", b"03:OK ,", "malformed", 'not a reply of socketmap: "03:OK ,"'),
        ("socketmap", b"2:OK,", "malformed", 'not a reply of socketmap: "2:OK,"'),
        (
            "socketmap",
            b"220 \x07 ESMTP\r\n",
            "malformed",
            'not a reply of socketmap: "220 \\x07 ESMTP"',
        ),
        (
            "tcp_table",
            b"this listener speaks socketmap\n",
            "malformed",
            'not a reply of tcp_table: "this listener speaks socketmap"',
        ),
    ],
)
def test_failures(wire: str, data: bytes, error: str, reason: str) -> None:
    """What is no answer has its words in the reason, as far as they can be shown."""
    assert reach(data, wire) == Reach(HERE, error, reason)


def test_no_connection() -> None:
    """The error of the system stays as it is."""
    text = json.dumps({"error": ["ECONNREFUSED", "Connection refused"]})
    assert parse_output(text, "socketmap", HERE) == Reach(
        HERE, "ECONNREFUSED", "Connection refused"
    )


def test_a_datagram_socket() -> None:
    """A connection is all that there is of it."""
    assert reach(b"", DATAGRAM) == Reach(HERE)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"unasked": "as user 1 in /q: No\\nsuch"}', r"as user 1 in /q: No\nsuch"),
        ("", "its process printed no outcome"),
        ("[]", "its process printed no outcome"),
        ('{"data": 1}', "its process printed no outcome"),
    ],
)
def test_not_asked(text: str, reason: str) -> None:
    """That the question could not be asked says nothing of the server."""
    with pytest.raises(NotAskedError) as caught:
        parse_output(text, "socketmap", HERE)
    assert str(caught.value) == reason


@given(st.binary(max_size=60), st.sampled_from(["socketmap", "tcp_table", DATAGRAM]))
def test_any_bytes(data: bytes, wire: str) -> None:
    """Whatever a server sends, it is a printable line."""
    seen = reach(data, wire)
    assert f"{seen.reason}{seen.reply or ''}".isprintable()
    assert bool(seen.error) == bool(seen.reason)


@given(st.text(max_size=60), st.sampled_from(["socketmap", "tcp_table", DATAGRAM]))
def test_any_output(text: str, wire: str) -> None:
    """Whatever the process prints, there is a result or a reason."""
    try:
        seen = parse_output(text, wire, HERE)
    except NotAskedError as error:
        assert str(error).isprintable()
    else:
        assert seen.reason.isprintable()
