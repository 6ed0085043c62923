"""Reads the parameters of smtp(8) from the Postfix of this machine, as `MainCf`.

`postconf` reports main.cf, and `-o` options of the service `smtp/unix` in master.cf, which win. A
parameter that this version of Postfix does not have keeps the default of `MainCf`.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.postfix.own_addresses import find_own
from postfix_mta_sts.postfix.programs import (
    MissingProgramError,
    Output,
    ProgramError,
    all_ended,
    run,
)
from postfix_mta_sts.postfix.smtp_client.values import Level, MainCf
from postfix_mta_sts.values import replace

FindOwn: TypeAlias = Callable[[str, str, str], Awaitable[tuple[str, ...]]]

_SERVICE: Final = "smtp/unix"
_NOT_PARAMETERS: Final = frozenset(
    {"version", "smtp_is_chrooted", "tls_is_available", "own_addresses"}
)
_FIELDS: Final = tuple(each for each in MainCf.__struct_fields__ if each not in _NOT_PARAMETERS)
_NAMES: Final = {"smtp_tls_insecure_mx_policy": "smtp_tls_dane_insecure_mx_policy"}
"""Field → parameter, where they differ."""
_OTHERS: Final = (
    "mail_version",
    "compatibility_level",
    "inet_interfaces",
    "proxy_interfaces",
    "smtp_use_tls",
    "smtp_enforce_tls",
    "smtp_tls_enforce_peername",
)
PARAMETERS: Final = (*(_NAMES.get(each, each) for each in _FIELDS), *_OTHERS)
"""What `postconf` is asked for."""

_PARAMETER = re.compile(r"(?:([^\s=]+)/)?(\w+) *=(?: +(.*))?")
_VERSION = re.compile(r"(\d{1,4}(?:\.\d{1,4}){1,3})(?:-.*)?")  # 3.10.13, 3.12-20260821
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)


async def read_main_cf(
    command: Sequence[str] = ("postconf",), *, own_addresses: FindOwn = find_own
) -> MainCf | None:
    """The parameters; None if there is no Postfix here.

    Raises `ProgramError` if `postconf` fails, for example because main.cf has an error.
    """
    try:
        questions = (("-x", *PARAMETERS), ("-Px", _SERVICE), ("-F", f"{_SERVICE}/chroot"))
        tasks = [asyncio.create_task(_ask(command, *each)) for each in questions]
        await all_ended(*tasks)
        main, service, chroot = (task.result() for task in tasks)
    except MissingProgramError:
        return None
    if main.code != 0:
        raise ProgramError(f"postconf failed: {main.reason}")
    # Without a service smtp/unix, or in a Postfix before 3.0, the other two say nothing.
    values = parse_parameters(main.text)
    options = parse_services(service.text).get(_SERVICE, {})
    columns = parse_services(chroot.text).get(_SERVICE, {})
    own = values | options
    return replace(
        of_service(values, options, columns),
        own_addresses=await own_addresses(
            own.get("inet_interfaces", "all"),
            own.get("proxy_interfaces", ""),
            own.get("inet_protocols", "all"),
        ),
    )


def parse_parameters(text: str) -> dict[str, str]:
    """The `name = value` lines of `postconf`; other lines are left out."""
    return parse_services(text).get("", {})


def parse_services(text: str) -> dict[str, dict[str, str]]:
    """The `service/name = value` lines of `postconf -F` and `-P`, by service (`smtp/unix`)."""
    services: dict[str, dict[str, str]] = {}
    for match in filter(None, map(_PARAMETER.fullmatch, text.split("\n"))):
        services.setdefault(match[1] or "", {})[match[2]] = (match[3] or "").rstrip(" ")
    return services


def of_service(
    values: Mapping[str, str], options: Mapping[str, str], columns: Mapping[str, str]
) -> MainCf:
    """The parameters of a service of master.cf: those of main.cf, and its own, which win."""
    compatibility_level = values.get("compatibility_level", "")
    return replace(
        to_main_cf({**values, **options}),
        smtp_is_chrooted=is_chrooted(columns.get("chroot"), compatibility_level),
    )


def to_main_cf(values: Mapping[str, str]) -> MainCf:
    """The values as `MainCf`; one that is missing, or not of its type, keeps the default."""
    defaults = MainCf()
    known = {
        field: _typed(values[name], getattr(defaults, field))
        for field in _FIELDS
        if (name := _NAMES.get(field, field)) in values
    }
    version = parse_version(values.get("mail_version", ""))
    return replace(
        defaults, **known | {"version": version, "smtp_tls_security_level": level(values)}
    )


def parse_version(text: str) -> tuple[int, ...]:
    """The numbers of a version: `3.10.13` → (3, 10, 13), `3.12-20260821` → (3, 12)."""
    match = _VERSION.fullmatch(text)
    return tuple(map(int, match[1].split("."))) if match else ()


def level(values: Mapping[str, str]) -> str:
    """The TLS level; if smtp_tls_security_level is empty, that of the parameters before it.

    postconf(5), smtp_use_tls, smtp_enforce_tls and smtp_tls_enforce_peername. Empty: no TLS.
    """
    if given := values.get("smtp_tls_security_level", ""):
        return given
    if _is_yes(values, "smtp_enforce_tls"):
        return Level.VERIFY if _is_yes(values, "smtp_tls_enforce_peername") else Level.ENCRYPT
    return Level.MAY if _is_yes(values, "smtp_use_tls") else ""


def is_chrooted(column: str | None, compatibility_level: str) -> bool:
    """Column `chroot` of master.cf; its default was `y` at compatibility level 0 (master(5))."""
    if column == "-":
        return not re.match(r"[1-9]", compatibility_level)
    return column == "y"


def _typed(text: str, default: object) -> object:
    """The value in the type of its default."""
    if isinstance(default, bool):
        return {"yes": True, "no": False}.get(text.lower(), default)
    if isinstance(default, int):
        return int(text) if _NUMBER.fullmatch(text) else default
    return text


def _is_yes(values: Mapping[str, str], name: str) -> bool:
    return values.get(name, "").lower() == "yes"


async def _ask(command: Sequence[str], *arguments: str) -> Output:
    return await run([*command, *arguments])
