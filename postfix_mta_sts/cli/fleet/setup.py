"""What the commands on a shared store start with: its settings, and a way to it."""

import argparse
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from postfix_mta_sts.admin.diagnosis.unjoined import do_not_join
from postfix_mta_sts.cli.parser import CommandError, load_settings
from postfix_mta_sts.store.fleet.engine import Engine
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings

Connect: TypeAlias = Callable[[SharedStoreSettings], Awaitable[Engine]]
"""Makes the engine of a store; another one is for tests."""


def fleet_settings(args: argparse.Namespace) -> SharedStoreSettings:
    """Read the configuration, and the files of keys and passwords. Raises `UserError`."""
    settings = SharedStoreSettings.of(load_settings(args))
    if settings is None:
        advice = "docs/fleet.md says how to begin"
        raise CommandError(f"fleet.url is not set, so that this relay shares nothing; {advice}")
    return settings


async def opened(settings: SharedStoreSettings) -> Engine:
    """Make the engine; the command waits for none of its name look-ups. Raises `FleetError`."""
    do_not_join()
    return open_engine(settings)
