"""The signature: what was sealed is opened under its own name, and nothing else is."""

import hashlib
import hmac

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postfix_mta_sts.store.fleet.engine import LIMITS, Kind, Name
from postfix_mta_sts.store.fleet.envelope import ORDER_LIMIT, Opened, open_record, order_of, seal
from postfix_mta_sts.store.fleet.errors import RefusedRecordError
from postfix_mta_sts.store.fleet.keys import Keyring, key_id

PREFIX = "mta_sts"
NAME = Name(Kind.POLICY, "good.test")


def ring(*seeds: int) -> Keyring:
    """A keyring of keys that are as different as their seeds."""
    keys = [bytes([seed]) * 32 for seed in seeds]
    return Keyring({key_id(key): key for key in keys})


RING = ring(1)
RECORD = seal(PREFIX, NAME, 1700, b"body", RING)

KINDS = st.sampled_from(Kind)
KEYS = st.from_regex(r"[a-z0-9][a-z0-9.-]{0,60}", fullmatch=True)
NAMES = st.builds(Name, KINDS, KEYS)
ORDERS = st.integers(0, ORDER_LIMIT - 1)
RINGS = st.sampled_from([None, ring(1), ring(1, 2)])


@settings(max_examples=40)
@given(NAMES, ORDERS, st.binary(max_size=300), RINGS)
def test_round_trip(name: Name, order: int, body: bytes, keyring: Keyring | None) -> None:
    """A record that was sealed is opened to its order and its body."""
    record = seal(PREFIX, name, order, body, keyring)
    expected = Opened(order, body, keyring.signing[0] if keyring else "")
    assert open_record(PREFIX, name, record, keyring) == expected
    assert order_of(record) == order


def test_form() -> None:
    """The header is a line of five words, which engines read, too."""
    *words, signature = RECORD.partition(b"\n")[0].split(b" ")
    assert words == [b"mta-sts", b"1", RING.signing[0].encode(), b"1700"]
    assert len(bytes.fromhex(signature.decode())) == 32
    assert seal(PREFIX, NAME, 0, b"", None) == b"mta-sts 1 - 0 -\n"


def test_the_signature_is_the_documented_one() -> None:
    """Another program, or the next version, makes the same signature from the same lines."""
    [(key_id_, key)] = RING.keys.items()
    lines = f"mta-sts 1\nmta_sts\n{key_id_}\npolicy\ngood.test\n1700\nbody"
    signature = hmac.new(key, lines.encode(), hashlib.sha256).hexdigest()
    assert f"mta-sts 1 {key_id_} 1700 {signature}\nbody".encode() == RECORD
    assert key_id_ == hashlib.sha256(key).hexdigest()[:8]


def test_two_keys_with_one_id() -> None:
    """An id alone opens nothing: the key must be the one that signed."""
    other = Keyring({RING.signing[0]: b"another key" * 3})
    with pytest.raises(RefusedRecordError, match="its signature is wrong"):
        open_record(PREFIX, NAME, RECORD, other)


def test_rotation() -> None:
    """After a rotation, records of the old key are opened, and the new key signs."""
    old, both, new = ring(1), ring(2, 1), ring(2)
    record = seal(PREFIX, NAME, 1, b"", old)
    assert open_record(PREFIX, NAME, record, both).key_id == old.signing[0]
    record = seal(PREFIX, NAME, 1, b"", both)
    assert open_record(PREFIX, NAME, record, new).key_id == new.signing[0]


@pytest.mark.parametrize(
    ("record", "keyring", "reason"),
    [
        (b"", RING, "it does not begin with the header"),
        (b"\0" * 100, RING, "it does not begin with the header"),
        (RECORD.replace(b"\n", b"\r\n", 1), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1700 ", b" 01700 "), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1700 ", b" -1700 "), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1700 ", b" 9007199254740992 "), RING, "it does not begin with the"),
        (RECORD.upper(), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1 ", b" 0 ", 1), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1 ", b" 100 ", 1), RING, "it does not begin with the header"),
        (RECORD.replace(b" 1 ", b" 2 ", 1), RING, "its form is number 2, which this version"),
        (RECORD.replace(b" 1 ", b" 99 ", 1), RING, "its form is number 99, which this version"),
        (RECORD.replace(b" 1700 ", b" 1701 "), RING, "its signature is wrong"),
        (RECORD + b"\n", RING, "its signature is wrong"),
        (RECORD.replace(b"body", b"Body"), RING, "its signature is wrong"),
        (seal(PREFIX, NAME, 1700, b"body", None), RING, "it is not signed"),
        (RECORD, ring(2), f"it is signed with key {RING.signing[0]}, which is not in"),
        (RECORD, None, f"signed with key {RING.signing[0]}, and this relay has no fleet.key_file"),
        (b"mta-sts 1 - 1 " + b"0" * 64 + b"\n", RING, "it is not signed"),
        (f"mta-sts 1 {RING.signing[0]} 1 -\n".encode(), RING, "it is not signed"),
        (
            RECORD.replace(b" 1 ", b" 2 ", 1) + b" " * LIMITS[Kind.POLICY],
            RING,
            "its form is number 2",
        ),
        (RECORD + b" " * LIMITS[Kind.POLICY], RING, "it has more than 81920 bytes"),
    ],
)
def test_forged(record: bytes, keyring: Keyring | None, reason: str) -> None:
    """What no relay of this fleet has written under this name is refused, and says why."""
    with pytest.raises(RefusedRecordError, match=reason):
        open_record(PREFIX, NAME, record, keyring)


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        (PREFIX, Name(Kind.POLICY, "other.test")),
        (PREFIX, Name(Kind.HISTORY, "good.test")),
        ("mta_sts2", NAME),
    ],
)
def test_moved_to_another_name(prefix: str, name: Name) -> None:
    """A record that is copied to another domain, kind or fleet is refused."""
    with pytest.raises(RefusedRecordError, match="put under another name"):
        open_record(prefix, name, RECORD, RING)


@given(st.integers(0, len(RECORD) - 1), st.integers(1, 255))
def test_any_changed_byte(at: int, change: int) -> None:
    """No byte of a record can be changed."""
    record = bytearray(RECORD)
    record[at] ^= change
    with pytest.raises(RefusedRecordError):
        open_record(PREFIX, NAME, bytes(record), RING)


@given(st.binary(max_size=200), RINGS)
@example(b"mta-sts 1 - 9999999999999999 -\n", None)
@example(b"mta-sts 99999999999999999999 ", None)
def test_garbage(record: bytes, keyring: Keyring | None) -> None:
    """Bytes of any kind are opened or refused with one printable line, and have an order or not."""
    try:
        opened = open_record(PREFIX, NAME, record, keyring)
    except RefusedRecordError as error:
        assert str(error).isprintable()
    else:
        assert keyring is None
        assert order_of(record) == opened.order


@pytest.mark.parametrize(
    ("key", "order", "body"),
    [
        ("good.test", -1, b""),
        ("good.test", ORDER_LIMIT, b""),
        ("", 1, b""),
        ("two\nlines", 1, b""),
        ("a b", 1, b""),
        ("good.test", 1, b"x" * LIMITS[Kind.POLICY]),
    ],
)
def test_nothing_is_sealed_that_cannot_be_opened(key: str, order: int, body: bytes) -> None:
    """A record that would be refused is not written."""
    with pytest.raises(RefusedRecordError):
        seal(PREFIX, Name(Kind.POLICY, key), order, body, RING)
