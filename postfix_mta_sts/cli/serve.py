"""`postfix-mta-sts serve`: the daemon."""

import argparse
import logging
import os
import re
import sys
from typing import Final

import uvloop

from postfix_mta_sts import logs, runtime
from postfix_mta_sts.cli.parser import DEFAULT_CONFIG, OK, Commands, add_config, load_settings
from postfix_mta_sts.config.misspelt import misspelt
from postfix_mta_sts.config.programs import program_problem
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.daemon import service
from postfix_mta_sts.daemon.service import SettingsSource
from postfix_mta_sts.logs import event

WORKERS_LIMIT: Final = 64

_log = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Add the command."""
    command = commands.add(
        "serve", _serve, "answer the look-ups of Postfix until SIGTERM or SIGINT"
    )
    text = "ignored: the daemon serves in one process; a later release refuses this option"
    command.add_argument("--workers", metavar="N", type=_workers, default=1, help=text)
    add_config(command)


def _serve(args: argparse.Namespace) -> int:
    settings = load_settings(args)
    to_journal = logs.to_journal(os.environ, sys.stderr)

    def load() -> Settings:
        settings = load_settings(args)
        _warn_of_alerts(settings)
        return settings

    def apply(settings: Settings) -> None:
        logs.set_up_service(settings.log.level, settings.log.format, sys.stderr, journal=to_journal)

    apply(settings)
    logs.log_uncaught()
    config = args.config or (DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None)
    settings_source = SettingsSource(str(config) if config else None, load, apply)
    for name, right in misspelt(os.environ):
        advice = f"write {right}"
        event(_log, logging.WARNING, "variable has no effect", name=name, advice=advice)
    _warn_of_alerts(settings)
    if args.workers != 1:
        _warn_of_workers(args.workers)
    runtime.set_up()
    try:
        uvloop.run(service.serve(settings, os.environ, settings_source))
    finally:
        logs.flush()  # an error that ends it is printed after the lines that led to it
    return OK


def _warn_of_alerts(settings: Settings) -> None:
    command = settings.alerts.command
    if command and (reason := program_problem(command[0])):
        event(_log, logging.WARNING, "alert command cannot be run", reason=reason)


def _warn_of_workers(workers: int) -> None:
    event(
        _log,
        logging.WARNING,
        "serve --workers is ignored",
        workers=workers,
        reason="the daemon serves in one process",
        advice="remove --workers from the unit",
    )


def _workers(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= WORKERS_LIMIT:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 to {WORKERS_LIMIT}")
    return int(text)
