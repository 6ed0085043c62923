"""What main.cf of an instance says, and what this version of Postfix makes of it (postconf(1))."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix import main_cf
from postfix_mta_sts.postfix.programs import Output, ProgramError, all_ended, run
from postfix_mta_sts.values import Value

LMTP_NAMES: Final = {
    **{
        name: f"lmtp_{name.removeprefix('smtp_')}"
        for name in main_cf.PARAMETERS
        if name.startswith("smtp_")
    },
    "smtp_helo_name": "lmtp_lhlo_name",
}
"""Parameter of smtp(8) → the one that lmtp(8) reads in its place."""

_OTHERS: Final = (
    "content_filter",
    "default_database_type",
    "mail_owner",
    "multi_instance_enable",
    "multi_instance_group",
    "multi_instance_name",
    "sender_dependent_default_transport_maps",
    "smtp_tls_connection_reuse",
    "smtp_tls_loglevel",
    "smtp_tls_session_cache_database",
    "smtp_tls_session_cache_timeout",
    "smtp_tlsrpt_enable",
    "smtp_tlsrpt_socket_name",
)
NAMES: Final = (*main_cf.PARAMETERS, *LMTP_NAMES.values(), *_OTHERS)
"""What `postconf` is asked for."""

_UNUSED: Final = re.compile(r"\S+: warning: .*/main\.cf: unused parameter: (\S+=.*)")
_VALUE_LIMIT: Final = 100_000
"""Characters of one value."""


class PostconfError(ProgramError):
    """`postconf` has ended with an error, as all programs of Postfix do that read these files."""


class Parameters(Value, frozen=True):
    """The parameters of an instance, with those that it has and does not use."""

    values: Mapping[str, str]
    """Those of `NAMES` that this version has, expanded, defaults included."""
    unused: tuple[str, ...] = ()
    """Those in main.cf that it does not know, as `name=value`, not expanded."""
    table_types: tuple[str, ...] = ()
    """The types of tables that it has; empty: not known."""


async def read_parameters(
    config_directory: str, command: Sequence[str] = ("postconf",)
) -> Parameters:
    """Ask `postconf`; raises `ProgramError`, for example because main.cf has an error."""
    values = asyncio.create_task(ask(config_directory, "-x", *NAMES, command=command))
    types = asyncio.create_task(ask(config_directory, "-m", command=command))
    await all_ended(values, types)
    output = values.result()
    return Parameters(
        # Postfix 3.10 gives its default directory if main.cf has a parameter that it does not know.
        parse_values(output.text) | {"config_directory": config_directory},
        parse_unused(output.errors),
        () if types.exception() else tuple(types.result().text.split()),
    )


async def ask(config_directory: str, *arguments: str, command: Sequence[str]) -> Output:
    """Run `postconf` for an instance; raises `PostconfError`, and `ProgramError` of `run`."""
    output = await run([*command, "-c", config_directory, *arguments])
    if output.code != 0:
        raise PostconfError(f"postconf failed: {output.reason}")
    return output


def parse_values(text: str) -> dict[str, str]:
    """The `name = value` lines of `postconf`, printable."""
    return {name: shown(value) for name, value in main_cf.parse_parameters(text).items()}


def parse_unused(errors: str) -> tuple[str, ...]:
    """The parameters that `postconf` calls unused, sorted; not those in master.cf."""
    matches = map(_UNUSED.fullmatch, errors.split("\n"))
    return tuple(sorted({shown(match[1]) for match in matches if match}))


def shown(value: str) -> str:
    """A value without control characters; letters that are not ASCII stay, for file names."""
    return value if value.isprintable() else printable(value, _VALUE_LIMIT)
