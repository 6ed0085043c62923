"""`postfix-mta-sts serve`: the daemon itself."""

import argparse
import os
import re
import sys
from typing import Final

import uvloop

from postfix_mta_sts import logs, runtime
from postfix_mta_sts.cli.parser import DEFAULT_CONFIG, OK, Commands, add_config, settings
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import service
from postfix_mta_sts.daemon.multiprocess import serve_together
from postfix_mta_sts.daemon.service import SettingsSource

WORKERS_MOST: Final = 64


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add("serve", _serve, "answer Postfix's look-ups until told to stop")
    text = "serve in N processes, should one core not be enough (default: 1)"
    command.add_argument("--workers", metavar="N", type=_count, default=1, help=text)
    add_config(command)


def _serve(args: argparse.Namespace) -> int:
    chosen = settings(args)
    journal = logs.to_journal(os.environ, sys.stderr)

    def load() -> Settings:
        return settings(args)

    def apply(chosen: Settings) -> None:
        logs.set_up(chosen.log.level, chosen.log.format, sys.stderr, journal=journal)

    apply(chosen)
    config = args.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    settings_source = SettingsSource(str(config) if config else None, load, apply)
    runtime.set_up()
    if args.workers == 1:
        uvloop.run(service.serve(chosen, os.environ, settings_source))
    else:
        serve_together(chosen, os.environ, settings_source, args.workers, uvloop.run)
    return OK


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= WORKERS_MOST:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 to {WORKERS_MOST}")
    return int(text)
