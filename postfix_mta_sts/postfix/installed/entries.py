"""The entries of a table that this version of Postfix cannot use."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.postmap import LISTED, Postmap
from postfix_mta_sts.postfix.programs import ProgramError, lines, start
from postfix_mta_sts.postfix.smtp_client.tls_policy import parse_tls_policy
from postfix_mta_sts.postfix.smtp_client.values import InvalidTlsPolicy, MainCf

ENTRIES_LIMIT: Final = 10_000
"""Entries of one table that are looked at."""
BAD_LIMIT: Final = 10
"""Entries of one table that are named."""
TIMEOUT: Final = 1.0
"""Seconds for one table; what was read until then counts."""


async def read_bad_entries(
    table: str, main_cf: MainCf, postmap: Postmap
) -> tuple[tuple[str, str], ...]:
    """Keys of entries that are no TLS policy, each with the reason, both printable.

    None if the type cannot be listed, or the table cannot be read. `main_cf` says which version of
    Postfix reads the entries.
    """
    found: list[tuple[str, str]] = []
    if table.partition(":")[0] in LISTED:
        with suppress(ProgramError, TimeoutError):
            async with asyncio.timeout(TIMEOUT):
                await _read(table, main_cf, postmap, found)
    return tuple(found[:BAD_LIMIT])


def bad_entries(entries: Iterable[bytes], main_cf: MainCf) -> Iterator[tuple[str, str]]:
    """Those of the lines `key TAB entry` of postmap(1) that are no TLS policy."""
    for line in entries:
        key, _, text = line.decode("utf-8", "replace").partition("\t")
        policy = parse_tls_policy(text, main_cf)
        if isinstance(policy, InvalidTlsPolicy):
            yield printable(key), printable(policy.reason)


async def _read(
    table: str, main_cf: MainCf, postmap: Postmap, found: list[tuple[str, str]]
) -> None:
    """Add bad entries to `found` until these, or all entries, are enough."""
    command, left = [*postmap.command, "-s", table], ENTRIES_LIMIT
    async with start(command, folder=Path(postmap.queue_directory)) as process:
        async for some in lines(process.stdout):
            found += bad_entries(some[:left], main_cf)
            left -= len(some)
            if left <= 0 or len(found) >= BAD_LIMIT:
                return
