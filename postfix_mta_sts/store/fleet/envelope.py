"""The signature around each record of the shared store.

A record is a header line and a body:

    mta-sts 1 KEY-ID ORDER SIGNATURE LF BODY

KEY-ID is `-` if records are not signed, and so is SIGNATURE. ORDER is a decimal number below 2**53
without leading zeros, which an engine reads from here. SIGNATURE is HMAC-SHA-256 in hexadecimal
over six lines and the body:

    mta-sts 1 LF PREFIX LF KEY-ID LF KIND LF KEY LF ORDER LF BODY

So a record counts only under its own name and in its own fleet. PREFIX is that of the fleet.

Other versions of this program may give the form another number than 1, up to 99. The rest of the
header line stays, so that the order keeps older records of any form out.
"""

import hmac
import re
from typing import Final

from postfix_mta_sts.store.fleet.engine import LIMITS, Name
from postfix_mta_sts.store.fleet.errors import ForeignKeyError, OtherFormError, RefusedRecordError
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.values import Value

ORDER_LIMIT: Final = 2**53
"""Up to here Lua and JSON count exactly; in microseconds it is the year 2255."""
HEADER_BYTES: Final = 102
"""Of the longest header line."""
_FORM: Final = "mta-sts 1"
_UNSIGNED: Final = "-"
_HEADER: Final = re.compile(
    rb"mta-sts 1 ([0-9a-f]{8}|-) (0|[1-9][0-9]{0,15}) ([0-9a-f]{64}|-)\n", re.ASCII
)
_ANY_FORM: Final = re.compile(rb"mta-sts ([1-9][0-9]?) ")
_ANY_HEADER: Final = re.compile(
    _ANY_FORM.pattern + rb"(?:[0-9a-f]{8}|-) (0|[1-9][0-9]{0,15}) (?:[0-9a-f]{64}|-)\n"
)
_NAME: Final = re.compile(r"[!-~]{1,255}")


class Opened(Value, frozen=True):
    """A record whose signature is valid."""

    order: int
    body: bytes
    key_id: str
    """Empty: records are not signed in this fleet."""


def seal(prefix: str, name: Name, order: int, body: bytes, keyring: Keyring | None) -> bytes:
    """Make a record, signed with the first key.

    Raises `RefusedRecordError` for one that no relay would open: too long, or an order or a key
    that cannot be.
    """
    if not 0 <= order < ORDER_LIMIT or not _NAME.fullmatch(name.key):
        raise RefusedRecordError(f"no record of a {name.kind} can have this key or this order")
    key_id, key = keyring.signing if keyring else (_UNSIGNED, b"")
    signature = _signature(key, prefix, key_id, name, order, body) if keyring else _UNSIGNED
    record = f"{_FORM} {key_id} {order} {signature}\n".encode() + body
    _check_length(name, record)
    return record


def open_record(prefix: str, name: Name, record: bytes, keyring: Keyring | None) -> Opened:
    """Check length, form and signature of a record. Raises `RefusedRecordError`."""
    header = _HEADER.match(record)
    order = order_of(record)
    if header is None or order is None:
        raise _of_form(record)  # before its length: another form may have more
    _check_length(name, record)
    key_id, signature = header[1].decode(), header[3].decode()
    body = record[header.end() :]
    if keyring is None:
        _require_unsigned(key_id, signature)
        return Opened(order, body, "")
    if _UNSIGNED in {key_id, signature}:
        raise RefusedRecordError("it is not signed")
    key = keyring.keys.get(key_id)
    if key is None:
        raise ForeignKeyError(f"it is signed with key {key_id}, which is not in fleet.key_file")
    if not hmac.compare_digest(signature, _signature(key, prefix, key_id, name, order, body)):
        reason = "it was changed, or put under another name"
        raise RefusedRecordError(f"its signature is wrong: {reason}")
    return Opened(order, body, key_id)


def order_of(record: bytes) -> int | None:
    """The order in a header of any form, whether or not it is signed; None: there is no header."""
    header = _ANY_HEADER.match(record)
    order = int(header[2]) if header else ORDER_LIMIT
    return order if order < ORDER_LIMIT else None


def header_of(record: bytes) -> bytes:
    """The header line of a record, or of its first bytes, whether or not it is signed; else empty.

    Of signed records only one has a header with this signature.
    """
    header = _HEADER.match(record)
    return header[0] if header else b""


def _signature(key: bytes, prefix: str, key_id: str, name: Name, order: int, body: bytes) -> str:
    head = "\n".join([_FORM, prefix, key_id, name.kind, name.key, str(order), ""])
    return hmac.digest(key, head.encode() + body, "sha256").hex()


def _check_length(name: Name, record: bytes) -> None:
    if len(record) > LIMITS[name.kind]:
        raise RefusedRecordError(f"it has more than {LIMITS[name.kind]} bytes")


def _of_form(record: bytes) -> RefusedRecordError:
    form = _ANY_FORM.match(record)
    if form and form[1] != b"1":
        number = form[1].decode()
        return OtherFormError(f"its form is number {number}, which this version does not know")
    return RefusedRecordError("it does not begin with the header of a record")


def _require_unsigned(key_id: str, signature: str) -> None:
    if (key_id, signature) != (_UNSIGNED, _UNSIGNED):
        reason = "and this relay has no fleet.key_file"
        raise RefusedRecordError(f"it is signed with key {key_id}, {reason}")
