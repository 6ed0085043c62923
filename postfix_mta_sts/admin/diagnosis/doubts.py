"""Say why the verdict may not be that of the mail that waits.

Pure.
"""

from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import DaemonState, Source
from postfix_mta_sts.mtasts.errors import printable

_KEPT: Final = "the daemon may keep another policy than the one that is published now"
_RELAYHOST: Final = (
    "relayhost is set in main.cf: mail that transport_maps does not send elsewhere goes there, so "
    "ask for it: postfix-mta-sts query '{}'"
)


def doubts(evidence: Evidence) -> Iterator[str]:
    """Yield what to do first."""
    here, daemon = evidence.postfix, evidence.daemon
    if here and here.map_name and daemon and evidence.source is Source.NETWORK:
        if daemon.state is DaemonState.DENIED:
            yield f"run this command as root: {_KEPT}"
        elif daemon.state is DaemonState.FAILED:
            yield f"{_KEPT}: {daemon.reason}"
    if here and here.version is None and here.notes:
        yield f"{here.notes[0]}: correct that first, for its settings are not known"
    relayhost = evidence.main_cf.relayhost
    if relayhost and relayhost != evidence.next_hop.text:
        yield _RELAYHOST.format(printable(relayhost))
