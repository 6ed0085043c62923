"""Ask the Postfix of this machine, with `postconf`, whether it does DANE.

`postconf` reports the values of main.cf; it does not see `-o` options in master.cf.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from postfix_mta_sts.postfix.programs import TIMEOUT, ProgramError, run

_DNS_SUPPORT: Final = "smtp_dns_support_level"
_TLS_LEVEL: Final = "smtp_tls_security_level"
_LINE = re.compile(r"(\w+) *= *([ -~]{0,200}?) *")


@dataclass(frozen=True, slots=True)
class Postfix:
    """Values of main.cf, defaults included, as postconf(1) writes them."""

    dns_support_level: str
    tls_security_level: str

    @property
    def does_dane(self) -> bool:
        """Whether it asks for DNSSEC; without, `dane-only` defers all mail (postconf(5))."""
        return self.dns_support_level == "dnssec"


async def ask(command: Sequence[str] = ("postconf",), timeout: float = TIMEOUT) -> Postfix | None:  # noqa: ASYNC109 (the program's time, not the caller's)
    """The settings of the local Postfix; None if there is none, or it does not answer."""
    try:
        output = await run([*command, "-x", _DNS_SUPPORT, _TLS_LEVEL], timeout=timeout)
    except ProgramError:
        return None
    return _parse(output.text) if output.code == 0 else None


def _parse(output: str) -> Postfix | None:
    """The two values by name, because a shell may print more lines."""
    matches = map(_LINE.fullmatch, output.splitlines())
    values = {match[1]: match[2] for match in matches if match}
    if not values.keys() >= {_DNS_SUPPORT, _TLS_LEVEL}:
        return None
    return Postfix(values[_DNS_SUPPORT], values[_TLS_LEVEL])
