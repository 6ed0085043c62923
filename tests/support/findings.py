"""What the rules about main.cf and its tables find in a snapshot, all of them together."""

from typing import Final

from postfix_mta_sts.admin.doctor.report import Finding
from postfix_mta_sts.admin.doctor.rules import main_cf, maps, servers, services, tables
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from tests.support import judged

RULES: Final = (
    *main_cf.RULES,
    *maps.RULES,
    *servers.RULES,
    *tables.RULES,
    *services.RULES,
)


def findings(snapshot: Snapshot) -> list[Finding]:
    """Return all that these rules find."""
    return judged.found(RULES, snapshot)


def only(snapshot: Snapshot) -> Finding:
    """Return the one finding; there must be no other."""
    return judged.only(RULES, snapshot)
