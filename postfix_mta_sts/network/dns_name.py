r"""Domain names in DNS messages, and as text.

As text, names are lower case and printable ASCII: any octet that is not a letter, a digit, `-` or
`_` is written as `\DDD` (RFC 4343 §2.1). They have no final dot; the root is `.`.
"""

import re
from collections.abc import Sequence
from typing import Final

POINTER: Final = 0xC0
"""The two highest bits of a length octet that begins a pointer (RFC 1035 §4.1.4)."""

_MAX_LABEL: Final = 63  # octets (RFC 1035 §2.3.4)
_MAX_NAME: Final = 255  # octets, with the lengths of the labels and the root
_PLAIN = re.compile(rb"[a-z0-9_.-]+")  # nothing to escape, if each dot is between two labels
_ESCAPED = re.compile(rb"[^a-z0-9_-]")
_LABEL = re.compile(r"(?:[^.\\]|\\[0-9]{3}|\\[^0-9])+")
_ESCAPE = re.compile(r"\\(?:([0-9]{3})|(.))")


class MalformedError(ValueError):
    """The bytes are not a DNS message, or do not answer the question."""


class NameTooLongError(ValueError):
    """The name is too long for a DNS message (RFC 1035 §2.3.4)."""


def encode_name(text: str) -> bytes:
    """Encode a name for a message, without compression; raises `NameTooLongError`."""
    labels = [] if text == "." else _split(text)
    if labels and not 0 < min(map(len, labels)) <= max(map(len, labels)) <= _MAX_LABEL:
        raise NameTooLongError("a label is too long or empty")
    wire = b"".join([b"%c%b" % (len(label), label) for label in labels]) + b"\0"
    if len(wire) > _MAX_NAME:
        raise NameTooLongError("the name is too long")
    return wire


def decode_name(wire: bytes, at: int) -> tuple[str, int]:
    """Decode the name that begins at `at`; return it and the offset behind it.

    Each pointer leads to an earlier place than the one before, and what it leads to ends before
    the place where that was read, so no octet is read twice. Raises `MalformedError`, or
    `IndexError` if the message ends within the name.
    """
    labels: list[bytes] = []
    size, end, start, stop = 0, 0, at, len(wire)
    while length := wire[at]:
        after = at + 2 if length >= POINTER else at + 1 + length
        if after > stop:
            raise MalformedError("a name that runs into itself, or out of the message")
        if length >= POINTER:
            target = (length - POINTER) << 8 | wire[at + 1]
            end = end or after
            if target >= start:
                raise MalformedError("a pointer that does not lead back")
            at, start, stop = target, target, start
            continue
        size += length + 1
        if length > _MAX_LABEL or size >= _MAX_NAME:
            raise MalformedError("a name that is too long")
        labels.append(wire[at + 1 : after])
        at = after
    if at >= stop:
        raise MalformedError("a name that runs into itself")
    return _text(labels), end or at + 1


def parents(name: str) -> list[str]:
    """The name itself and those above it, down to the root."""
    labels = name.split(".") if name != "." else []
    return [".".join(labels[n:]) or "." for n in range(len(labels) + 1)]


def _text(labels: Sequence[bytes]) -> str:
    joined = b".".join(labels).lower()
    if _PLAIN.fullmatch(joined) and joined.count(b".") == len(labels) - 1:
        return joined.decode("ascii")
    return ".".join(map(_label_text, labels)) or "."


def _label_text(label: bytes) -> str:
    return _ESCAPED.sub(lambda m: b"\\%03d" % m[0][0], label.lower()).decode("ascii")


def _split(text: str) -> list[bytes]:
    if "\\" not in text:
        return text.encode("ascii").split(b".")
    return [_unescaped(label) for label in _LABEL.findall(text)]


def _unescaped(label: str) -> bytes:
    text = _ESCAPE.sub(lambda m: chr(int(m[1])) if m[1] else m[2], label)
    return text.encode("latin-1")
