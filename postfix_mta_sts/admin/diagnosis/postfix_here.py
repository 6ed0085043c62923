"""Read what the Postfix of this machine would do: main.cf, and the tables for TLS policies."""

import asyncio
import errno
import os
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.setup import RECOMMENDED, describe, of_the_system
from postfix_mta_sts.admin.diagnosis.values import PostfixHere
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix import probe
from postfix_mta_sts.postfix.authorities import Authorities, read_authorities
from postfix_mta_sts.postfix.main_cf import read_main_cf
from postfix_mta_sts.postfix.maps import served_name
from postfix_mta_sts.postfix.policy_maps import read_tables
from postfix_mta_sts.postfix.probe import Place, ProbeError
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.postfix.smtp_client.next_hop import policy_keys
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

_LISTENER_TIMEOUT: Final = 5.0
"""Seconds for a reply that depends on no network."""


async def look_here(evidence: Evidence, settings: Settings) -> Authorities:
    """Fill in what this machine's Postfix is set up for; return the CAs that it trusts."""
    try:
        main_cf = await read_main_cf()
    except ProgramError as error:
        main_cf = None
        evidence.postfix = PostfixHere(None, "may", None, notes=(str(error),))
    if main_cf is None:
        evidence.main_cf = RECOMMENDED
        evidence.postfix = evidence.postfix or PostfixHere(None, "may", None)
        return of_the_system()
    authorities = await asyncio.to_thread(read_authorities, main_cf)
    main_cf = replace(main_cf, tls_is_available=authorities.is_loadable)
    evidence.main_cf = main_cf
    checked = await read_tables(main_cf, settings.listen, policy_keys(evidence.next_hop))
    own = next((own for _, own in checked if own), None)
    evidence.postfix = PostfixHere(
        version=".".join(map(str, main_cf.version)),
        level=main_cf.smtp_tls_security_level,
        map_name=served_name(own.listener, own.map_name) if own else None,
        listener_problem=await _ask(own.listener) if own else None,
        tables=tuple(table for table, _ in checked),
        ca=describe(authorities),
        notes=(*filter(None, [authorities.problem]), *_notes(main_cf)),
    )
    return authorities


async def _ask(listener: ListenerSettings) -> str | None:
    """Why a listener does not answer; empty if it does, None if this user may not ask it."""
    try:
        place = Place(listener.wire, listener.address)
        await probe.ask(place, timeout=_LISTENER_TIMEOUT)
    except ValueError:  # any free port: it is not known which
        return None
    except ProbeError as error:
        reason = str(error)
        return None if reason == os.strerror(errno.EACCES) else f"{listener.address}: {reason}"
    return ""


def _notes(main_cf: MainCf) -> Iterator[str]:
    """Why the policies of recipients' domains may not apply to all mail (postconf(5))."""
    for name in ("relayhost", "transport_maps", "sender_dependent_relayhost_maps"):
        value = getattr(main_cf, name)
        if value:
            yield f"{name} = {value}: mail that takes this way follows the policy of that host"
    if main_cf.default_transport.partition(":")[0] != "smtp":
        yield f"default_transport = {main_cf.default_transport}: mail does not leave by smtp"
