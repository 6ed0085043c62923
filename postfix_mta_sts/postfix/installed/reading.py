"""Reads one instance of Postfix: its parameters, its services, its CAs, and whether it runs.

What its tables have, and what it can connect to, is found out by other modules.
"""

import asyncio
import fcntl
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.authorities import read_authorities
from postfix_mta_sts.postfix.installed.parameters import (
    Parameters,
    PostconfError,
    read_parameters,
)
from postfix_mta_sts.postfix.installed.services import (
    SMTP,
    MasterCf,
    read_master_cf,
    services_of,
)
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.main_cf import to_main_cf
from postfix_mta_sts.postfix.programs import MissingProgramError, all_ended
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

_PROBLEM_LIMIT: Final = 1000
"""Characters of the reason for which main.cf cannot be read: it has a path and a line."""


async def read_instance(
    name: str, config_directory: str, command: Sequence[str] = ("postconf",)
) -> Instance:
    """What can be told of an instance by reading; takes some seconds at most.

    Raises `ProgramError` if `postconf` does not end, or prints too much: main.cf has no error then.
    """
    main_cf = asyncio.create_task(read_parameters(config_directory, command))
    master_cf = asyncio.create_task(read_master_cf(config_directory, command))
    await all_ended(main_cf, master_cf)
    try:
        parameters, services = main_cf.result(), master_cf.result()
    except (PostconfError, MissingProgramError) as error:
        problem = printable(str(error), _PROBLEM_LIMIT)
        return Instance(name, config_directory, problem=problem)
    return await asyncio.to_thread(_instance, name, config_directory, parameters, services)


def is_running(queue_directory: Path) -> bool | None:
    """Whether master(8) has the lock that it holds while it runs; None: this user cannot tell.

    The same test as that of `postfix status`, with a shared lock in place of an exclusive one.
    """
    try:
        descriptor = os.open(queue_directory / "pid/master.pid", os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return False
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if isinstance(error, BlockingIOError) else None
    finally:
        os.close(descriptor)
    return False


def _instance(
    name: str, config_directory: str, parameters: Parameters, master_cf: MasterCf
) -> Instance:
    """The instance with what files say; it may block."""
    services = _with_authorities(services_of(master_cf, parameters.values))
    of_smtp = (each.authorities for each in services if each.command == SMTP)
    main_cf = to_main_cf(parameters.values)
    return Instance(
        name,
        config_directory,
        parameters.values,
        services,
        authorities=next(of_smtp, None) or read_authorities(main_cf),
        unused=parameters.unused,
        table_types=parameters.table_types,
        is_running=is_running(Path(main_cf.queue_directory)),
    )


def _with_authorities(services: Sequence[Service]) -> tuple[Service, ...]:
    """The services with their CAs; those of several services are read once, which takes 0.1 s."""
    read = functools.cache(read_authorities)
    found = [(each, read(_files_of(each.main_cf))) for each in services]
    return tuple(
        replace(
            each,
            main_cf=replace(each.main_cf, tls_is_available=authorities.is_loadable),
            authorities=authorities,
        )
        for each, authorities in found
    )


def _files_of(main_cf: MainCf) -> MainCf:
    """The parameters that `read_authorities` looks at; the others have their defaults."""
    return MainCf(
        queue_directory=main_cf.queue_directory,
        smtp_is_chrooted=main_cf.smtp_is_chrooted,
        smtp_tls_CAfile=main_cf.smtp_tls_CAfile,
        smtp_tls_CApath=main_cf.smtp_tls_CApath,
        tls_append_default_CA=main_cf.tls_append_default_CA,
    )
