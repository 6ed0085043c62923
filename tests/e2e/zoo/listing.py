"""All domains of the zoo, and the ten of one run of `make e2e`."""

import itertools
from collections.abc import Sequence
from typing import Final

from tests.e2e.zoo import mail_hosts, parameters, policies, signed_zones, zones
from tests.e2e.zoo.animal import Animal

FEW: Final = 10
"""Domains in one run of `make e2e`, or one more."""

ANIMALS: Final = tuple(
    itertools.chain(
        mail_hosts.certificates(),
        mail_hosts.sessions(),
        mail_hosts.names(),
        mail_hosts.several(),
        zones.dns(),
        zones.odd_names(),
        policies.policies(),
        signed_zones.dane(),
        signed_zones.dns_of_dane(),
        signed_zones.no_dane(),
        zones.next_hops(),
        parameters.levels(),
        parameters.limits(),
        parameters.tables(),
    )
)
"""All domains, in the order of the table in docs/diagnosis.md."""


def rotate(turn: int) -> Sequence[Animal]:
    """Return a few domains of all kinds; successive turns give each domain its turn."""
    step = len(ANIMALS) // FEW
    return ANIMALS[turn % step :: step]
