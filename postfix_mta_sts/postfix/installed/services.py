"""Which services of master.cf run smtp(8) or lmtp(8), and with which parameters (master(5))."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from postfix_mta_sts.postfix import main_cf
from postfix_mta_sts.postfix.installed.daemon_options import written_commands
from postfix_mta_sts.postfix.installed.parameters import LMTP_NAMES, ask, shown
from postfix_mta_sts.postfix.installed.values import Service
from postfix_mta_sts.postfix.programs import all_ended
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import Value, replace

SMTP: Final = "smtp"
LMTP: Final = "lmtp"

_COLUMNS: Final = ("*/unix/command", "*/unix/chroot")

ByService: TypeAlias = Mapping[str, Mapping[str, str]]
"""Name → value for each service, such as `smtp/unix`, in the order of master.cf."""


class MasterCf(Value, frozen=True):
    """The services of an instance that other programs of Postfix can connect to."""

    columns: ByService
    """The columns `command` and `chroot`, as they are written."""
    options: ByService
    """The `-o` options, expanded."""
    written: Mapping[str, str] = {}
    """The command of each service as the file has it (`daemon_options.written_commands`)."""
    unknown: Mapping[str, frozenset[str]] = {}
    """The `-o` options of each service whose values are not known."""


async def read_master_cf(config_directory: str, command: Sequence[str] = ("postconf",)) -> MasterCf:
    """Ask `postconf`; raises `ProgramError`, for example because there is no master.cf."""
    questions = (("-F", *_COLUMNS), ("-Px",))
    asked = (ask(config_directory, *each, command=command) for each in questions)
    tasks = [asyncio.create_task(each) for each in asked]
    await all_ended(*tasks)
    columns, options = (_parse(task.result().text) for task in tasks)
    text = await asyncio.to_thread(_text_of, Path(config_directory, "master.cf"))
    return MasterCf(columns, options, written_commands(text))


def services_of(
    master_cf: MasterCf, values: Mapping[str, str], unknown: frozenset[str] = frozenset()
) -> tuple[Service, ...]:
    """The services that run smtp(8) or lmtp(8); `values` are the parameters of main.cf.

    `unknown` are those whose values are not known.
    """
    return tuple(
        replace(
            _service(name, columns, master_cf.options.get(name, {}), values),
            written=shown(master_cf.written.get(name, "")),
            unknown=_unknown(name, _program(columns), master_cf, unknown),
        )
        for name, columns in master_cf.columns.items()
        if _program(columns) in {SMTP, LMTP}
    )


def as_lmtp_reads(values: Mapping[str, str]) -> dict[str, str]:
    """The parameters of lmtp(8), such as lmtp_tls_policy_maps, under the names of smtp(8)."""
    others = {name: value for name, value in values.items() if name not in LMTP_NAMES}
    own = {name: values[lmtp] for name, lmtp in LMTP_NAMES.items() if lmtp in values}
    return others | own


def _service(
    name: str, columns: Mapping[str, str], options: Mapping[str, str], values: Mapping[str, str]
) -> Service:
    program = _program(columns)
    own = _main_cf(program, columns, options, values)
    return Service(name, program, own.smtp_is_chrooted, own, options)


def _main_cf(
    program: str, columns: Mapping[str, str], options: Mapping[str, str], values: Mapping[str, str]
) -> MainCf:
    if program == LMTP:
        values, options = as_lmtp_reads(values), as_lmtp_reads(options)
    return main_cf.of_service(values, options, columns)


def _unknown(
    name: str, program: str, master_cf: MasterCf, unknown: frozenset[str]
) -> frozenset[str]:
    """What is not known of a service: an option hides a parameter of main.cf."""
    of_main_cf = unknown.difference(master_cf.options.get(name, {}))
    every = of_main_cf | master_cf.unknown.get(name, frozenset())
    return frozenset(as_lmtp_reads(dict.fromkeys(every, ""))) if program == LMTP else every


def _text_of(file: Path) -> str:
    """The text of a file; empty: this user may not read it."""
    try:
        return file.read_text("utf-8", "replace")
    except OSError:
        return ""


def _program(columns: Mapping[str, str]) -> str:
    """The first word of the command; its options follow."""
    return next(iter(columns.get("command", "").split()), "")


def _parse(text: str) -> ByService:
    services = main_cf.parse_services(text)
    return {
        shown(service): {name: shown(value) for name, value in values.items()}
        for service, values in services.items()
    }
