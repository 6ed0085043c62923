"""What the Postfix of this machine is set up for, as far as a check of mail servers needs it.

`postfix_here` reads the same for `query`, and the tables for TLS policies as well.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from postfix_mta_sts.network.authorities import system_paths
from postfix_mta_sts.network.smtp.values import TrustFiles
from postfix_mta_sts.postfix.authorities import Authorities, read_authorities
from postfix_mta_sts.postfix.main_cf import read_main_cf
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value, replace

RECOMMENDED: Final = MainCf(smtp_tls_security_level="may")
"""Without a Postfix on this machine: the settings that the README has."""
NO_CAS: Final = "none"


class SmtpSetup(Value, frozen=True):
    """The parameters of smtp(8), and the CAs that it trusts."""

    main_cf: MainCf
    trust: TrustFiles
    ca: str
    """The same for people; `NO_CAS`: none."""
    problem: str = ""
    """Why these are defaults, and not what Postfix says; empty: they are not."""


async def read_setup(
    read: Callable[[], Awaitable[MainCf | None]] = read_main_cf,
) -> SmtpSetup:
    """Ask postconf(1), and look for the CA certificates; takes some seconds at most.

    Without a Postfix here, as in a container, these are the settings that the README recommends,
    and the CAs of the system. It does not block the event loop, and raises nothing.
    """
    try:
        main_cf, problem = await read(), "postconf was not found"
    except ProgramError as error:
        main_cf, problem = None, str(error)
    if main_cf is None:
        authorities = await asyncio.to_thread(of_the_system)
        return SmtpSetup(RECOMMENDED, trust_of(authorities), describe(authorities), problem)
    authorities = await asyncio.to_thread(read_authorities, main_cf)
    main_cf = replace(main_cf, tls_is_available=authorities.is_loadable)
    return SmtpSetup(main_cf, trust_of(authorities), describe(authorities))


def of_the_system() -> Authorities:
    """The CA certificates that OpenSSL uses by default."""
    file, folder = system_paths()
    return Authorities(file if file.is_file() else None, folder, append_default=True)


def trust_of(authorities: Authorities) -> TrustFiles:
    """The files that a probe trusts, as smtp(8) does."""
    return TrustFiles(
        str(authorities.ca_file or "") if authorities.is_loadable else "",
        str(authorities.ca_path or ""),
        authorities.append_default,
    )


def describe(authorities: Authorities) -> str:
    """Where the CA certificates come from, for people."""
    default = "those of the system" if authorities.append_default else ""
    places = map(str, filter(None, (authorities.ca_file, authorities.ca_path, default)))
    return ", ".join(places) or NO_CAS
