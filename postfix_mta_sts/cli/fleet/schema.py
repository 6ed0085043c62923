"""`postfix-mta-sts fleet schema`: print the tables of a fleet on PostgreSQL, for `psql`."""

import argparse
import re

from postfix_mta_sts.cli.parser import OK, CommandError, load_settings
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.store.fleet.postgresql.schema import schema_sql

_ROLE = re.compile("[a-z_][a-z0-9_-]{0,62}")
"""As `createuser` and most administrators write one; it is quoted all the same."""


def schema(args: argparse.Namespace) -> int:
    """Print one transaction."""
    if args.role is not None and not _ROLE.fullmatch(args.role):
        allowed = "lower-case letters, digits, _ and -, 63 at most"
        raise CommandError(f"--role: found {args.role!r}; allowed: {allowed}")
    fleet = load_settings(args).fleet
    if fleet.url is not None and fleet.url.engine is not EngineName.POSTGRESQL:
        raise CommandError(f"{fleet.url.shown} needs no tables; docs/fleet.md has its ACL line")
    print(schema_sql(fleet.prefix, args.role), end="")
    return OK
