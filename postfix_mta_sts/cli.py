"""The commands. Border: arguments in, text and an exit code out; what they do is done below."""

import argparse
import asyncio
import gc
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import uvloop

from postfix_mta_sts import __version__, config, daemon, logs, report
from postfix_mta_sts.config import ConfigError, Settings
from postfix_mta_sts.explain import Explanation, explain
from postfix_mta_sts.listening import ListenError
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import InvalidDomainError
from postfix_mta_sts.shared import serve_together

_Command: TypeAlias = argparse.ArgumentParser

DEFAULT_CONFIG: Final = Path("/etc/postfix-mta-sts.yml")

WORKERS_MOST: Final = 64
GC_THRESHOLDS: Final = (20_000, 50, 1_000)
"""With Python's own, the collector took 6 % of a look-up of a new domain (`gc.set_threshold`)."""

OK, NO_POLICY, FAILURE = 0, 1, 2
"""Exit codes; argparse leaves with 2 on a typing error too."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; the process's exit code."""
    args = _parser().parse_args(argv)
    try:
        command: int = args.command(args)
    except (ConfigError, ListenError, InvalidDomainError) as error:
        print(f"postfix-mta-sts: {error}", file=sys.stderr)
        return FAILURE
    except BrokenPipeError:  # the reader, `head` or a pager, has seen enough
        sys.stdout = None  # nothing is left to flush at exit
        return FAILURE
    return command


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="postfix-mta-sts", description="MTA-STS (RFC 8461) for Postfix.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"postfix-mta-sts {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, run: Callable[[argparse.Namespace], int], text: str) -> _Command:
        command = commands.add_parser(name, help=text, allow_abbrev=False)
        command.set_defaults(command=run)
        return command

    serve = add("serve", _serve, "answer Postfix's look-ups until told to stop")
    text = "serve in N processes, should one core not be enough (default: 1)"
    serve.add_argument("--workers", metavar="N", type=_count, default=1, help=text)
    _add_config(serve)
    query = add("query", _query, "ask the network about a domain now, and print each step")
    query.add_argument("domain", metavar="DOMAIN")
    query.add_argument("--json", action="store_true", help="print one JSON object")
    _add_config(query)
    check = add("check-config", _check_config, "say what is wrong with a configuration")
    check.add_argument("file", metavar="FILE", type=Path)
    add("version", _version, "print the version")
    return parser


def _add_config(command: _Command) -> None:
    text = f"the configuration (default: {DEFAULT_CONFIG} if it exists, else built-in defaults)"
    command.add_argument("--config", metavar="FILE", type=Path, help=text)


def _settings(args: argparse.Namespace) -> Settings:
    path: Path | None = args.config
    if path is None and not DEFAULT_CONFIG.exists():
        return Settings()
    return config.load(path or DEFAULT_CONFIG)


def _serve(args: argparse.Namespace) -> int:
    settings = _settings(args)
    journal = logs.to_journal(os.environ, sys.stderr)
    logs.set_up(settings.log.level, settings.log.format, sys.stderr, journal=journal)
    gc.freeze()  # what was imported stays, and need not be looked at again
    gc.set_threshold(*GC_THRESHOLDS)
    if args.workers == 1:
        uvloop.run(daemon.serve(settings, os.environ))
    else:
        serve_together(settings, os.environ, args.workers, uvloop.run)
    return OK


def _count(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", text) or not 1 <= int(text) <= WORKERS_MOST:
        raise argparse.ArgumentTypeError(f"not a whole number from 1 to {WORKERS_MOST}")
    return int(text)


def _check_config(args: argparse.Namespace) -> int:
    config.load(args.file)
    print(f"{args.file}: valid")
    return OK


def _version(_: argparse.Namespace) -> int:
    print(f"postfix-mta-sts {__version__}")
    return OK


def _query(args: argparse.Namespace) -> int:
    domain = parse_domain(args.domain)
    seen = asyncio.run(_explained(domain, _settings(args)))
    if args.json:
        print(json.dumps(report.as_dict(seen), indent=2))
    else:
        print("\n".join(report.as_lines(seen)))
    if seen.policy:
        return OK
    return NO_POLICY if seen.unprotected else FAILURE


async def _explained(domain: Domain, settings: Settings) -> Explanation:
    async with daemon.network(settings) as (dns, fetcher):
        return await explain(domain, dns.txt, fetcher.body)
