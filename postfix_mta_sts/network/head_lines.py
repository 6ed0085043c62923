"""Put field lines right that HTTP allows, or that browsers take, and that llhttp refuses.

It works on bytes before llhttp parses them. With one response on a connection, nothing that is put
right here can lead to another response.
"""

import re
from typing import Final

_SPACE_BEFORE_COLON: Final = re.compile(rb"(?m)^([!#$%&'*+.^_`|~0-9A-Za-z-]++)[ \t]++:")
# Letters in both cases and a line feed first: the flag IGNORECASE and `^` take ten times as long.
_LENGTH: Final = re.compile(
    rb"\n[Cc][Oo][Nn][Tt][Ee][Nn][Tt]-[Ll][Ee][Nn][Gg][Tt][Hh]:([^\r\n]*)\r?(?=\n)"
)


def whole_lines(data: bytearray) -> int:
    """The length of the lines at the start of `data`: to the end of a head, or as far as known."""
    for blank in (b"\r\n", b"\n"):
        if data.startswith(blank):
            return len(blank)
    ends = [at + len(end) for end in (b"\n\r\n", b"\n\n") if (at := data.find(end)) >= 0]
    return min(ends, default=data.rfind(b"\n") + 1)


class HeadLines:
    """Corrects the lines of one head; `corrected` takes them in pieces of whole lines."""

    def __init__(self) -> None:
        self._length: bytes | None = None

    def corrected(self, lines: bytes) -> bytes:
        """The lines without spaces before a colon, and with one Content-Length."""
        if b" :" in lines or b"\t:" in lines:
            lines = _SPACE_BEFORE_COLON.sub(rb"\1:", lines)  # RFC 9112 §5.1: proxies must do that
        return _LENGTH.sub(self._corrected_length, b"\n" + lines)[1:]

    def _corrected_length(self, field: re.Match[bytes]) -> bytes:
        """One value if all are the same (RFC 9112 §6.3); otherwise the line, which is refused."""
        values = {value.strip(b" \t") for value in field[1].split(b",")} - {b""}
        if len(values) != 1 or self._length not in {None, *values}:
            return field[0]
        is_repeated = self._length is not None
        (self._length,) = values
        return b"" if is_repeated else b"\nContent-Length: %s\r" % self._length
