"""Read the text of a master.cf (master(5)) of another machine; pure.

`services` makes `Service`s of it, as it does of what postconf(1) prints.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.installed.daemon_options import options_of, written_commands
from postfix_mta_sts.postfix.installed.main_cf_file import (
    Room,
    assignment,
    expanded,
    logical_lines,
)
from postfix_mta_sts.postfix.installed.parameters import NAMES
from postfix_mta_sts.postfix.installed.services import LMTP, SMTP, MasterCf
from postfix_mta_sts.postfix.policy_maps import split_words

UNSEEN_LIMIT: Final = 20
"""Lines and options that are named as not known; a file of another kind has thousands."""
_COLUMNS: Final = 8
"""Name, type, private, unprivileged, chroot, wakeup, limit of processes, command."""
_YES_OR_NO: Final = {"private": 2, "unprivileged": 3, "chroot": 4}


def parse_master_cf(text: str, main_cf: Mapping[str, str]) -> tuple[MasterCf, Mapping[str, str]]:
    """The services that send mail, and what of them matters and is not known, with the reasons.

    `main_cf` has the parameters as they are written. It raises nothing.
    """
    columns: dict[str, Mapping[str, str]] = {}
    options: dict[str, Mapping[str, str]] = {}
    unknown: dict[str, frozenset[str]] = {}
    unseen: dict[str, str] = {}
    base, room = dict(main_cf), Room()
    for number, line in logical_lines(text):
        words = split_words(line)
        if len(words) < _COLUMNS:
            unseen[f"line {number}"] = f"it has fewer than {_COLUMNS} words: {printable(line)}"
        elif words[1] == "unix" and words[7] in {SMTP, LMTP}:
            service = f"{words[0]}/unix"
            columns[service] = {"command": words[7], "chroot": words[4]}
            base |= {"service_name": words[0], "process_name": words[7]}  # of each service
            options[service], missed = expanded(_options(words[7:]), base, room)
            unknown[service] = frozenset(missed)
            unseen |= {
                f"{name} of {printable(service)}": reason
                for name, reason in missed.items()
                if name in NAMES
            }
    return MasterCf(columns, options, written_commands(text), unknown), _limited(unseen)


def refused_column(text: str) -> str:
    """The first line with a word that Postfix refuses, and the reason; printable; empty: none."""
    for number, line in logical_lines(text):
        words = split_words(line)
        columns = _YES_OR_NO.items() if len(words) >= _COLUMNS else ()
        for name, at in columns:
            if words[at] not in {"y", "n", "-"}:
                what = f"{name} is {printable(words[at])}, which is neither y, n nor -"
                return f"master.cf, line {number}: {what}"
    return ""


def _limited(unseen: Mapping[str, str]) -> Mapping[str, str]:
    """The first of them, and how many more there are."""
    named = dict(islice(unseen.items(), UNSEEN_LIMIT))
    more = len(unseen) - len(named)
    return named | ({"the rest": f"{more} more lines or options are not known"} if more else {})


def _options(words: tuple[str, ...]) -> dict[str, str]:
    """The `-o` options of a command: `-o name=value`, `-oname=value` or `-o { name = value }`."""
    return dict(filter(None, map(assignment, options_of(words))))
