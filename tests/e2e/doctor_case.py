"""What a machine with one fault is, for the tests of `doctor`.

The commands are for `Stage.shell`, which explains `$MAP`, `$NAME` and `$OTHER`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

HELD: Final = 2
"""The exit code if mail is held, or sent without protection."""
WARNING: Final = 1
MAPS: Final = "smtp_tls_policy_maps"
QUEUE: Final = "/var/spool/postfix"
CONFIG: Final = "/etc/postfix-mta-sts.yml"
UNIT: Final = "postfix-mta-sts.service"
SOCKET: Final = "postfix-mta-sts.socket"
PROGRAM: Final = "/opt/postfix-mta-sts/lib/python3.*/site-packages/postfix_mta_sts/__init__.py"
DROP_IN: Final = f"/etc/systemd/system/{UNIT}.d"


@dataclass(frozen=True, slots=True)
class Expected:
    """What `doctor` must say."""

    code: int
    ids: frozenset[str]


def expect(code: int, *ids: str) -> Expected:
    """What `doctor` must say: its exit code, and the ids of all findings."""
    return Expected(code, frozenset(ids))


@dataclass(frozen=True, slots=True)
class Case:
    """A machine with one fault."""

    name: str
    broken_by: str
    """Shell commands that a good machine needs to have this fault."""
    expected: Expected
    elsewhere: Mapping[str, Expected] = field(default_factory=dict)
    """The same for a version of Postfix that differs."""
    undo: str = ""
    """Shell commands that undo what `Stage.put_back` does not."""
    instance: str = ""
    """The instance of Postfix that the finding names, where there are several."""
    sendmail: str = "sendmail"
    """The program that takes the message which must arrive in the end."""

    def expected_on(self, version: str) -> Expected:
        """What `doctor` must say on a version of Postfix."""
        return self.elsewhere.get(version, self.expected)


def main_cf(name: str, setting: str, expected: Expected) -> Case:
    """A setting of main.cf that is wrong."""
    return Case(name, f"postconf -e '{setting}'\npostfix reload", expected)
