"""Every input of `decide`, with the names that docs/answers.md gives them."""

from itertools import product
from typing import Final, get_args

from postfix_mta_sts.mtasts.decision import (
    DaneAnswer,
    DaneFinding,
    KnownPolicy,
    KnownVerdict,
    PolicyStep,
    Rules,
)
from postfix_mta_sts.mtasts.policy import Mode

POLICIES: Final = {
    "enforce": KnownPolicy(Mode.ENFORCE, PolicyStep.ANSWERED),
    "testing": KnownPolicy(Mode.TESTING, PolicyStep.ANSWERED),
    "none": KnownPolicy(Mode.NONE, PolicyStep.ANSWERED),
    "no TXT record": KnownPolicy(None, PolicyStep.ANSWERED),
    "fetch failed": KnownPolicy(None, PolicyStep.FETCH_FAILED),
    "DNS failed": KnownPolicy(None, PolicyStep.DNS_FAILED),
    "own fault": KnownPolicy(None, PolicyStep.OWN_FAULT),
    "store not read": KnownPolicy(None, PolicyStep.UNREAD),
    "TXT not answered": KnownPolicy(None, PolicyStep.TXT_PENDING),
    "addresses not answered": KnownPolicy(None, PolicyStep.ADDRESSES_PENDING),
    "GET not answered": KnownPolicy(None, PolicyStep.GET_PENDING),
}
"""What is known of the policy, without an older one that is in force."""

VERDICTS: Final = {
    "off, or not applicable": KnownVerdict(DaneFinding.NOT_APPLICABLE),
    "all": KnownVerdict(DaneFinding.ALL),
    "some": KnownVerdict(DaneFinding.SOME),
    "some failed": KnownVerdict(DaneFinding.SOME_FAILED),
    "unusable": KnownVerdict(DaneFinding.UNUSABLE),
    "none": KnownVerdict(DaneFinding.NONE),
    "insecure": KnownVerdict(DaneFinding.INSECURE),
    "all hosts failed": KnownVerdict(DaneFinding.HOSTS_FAILED),
    "MX failed": KnownVerdict(DaneFinding.UNKNOWN),
    "own fault": KnownVerdict(DaneFinding.UNKNOWN),
    "MX not answered": KnownVerdict(DaneFinding.UNKNOWN, is_pending=True),
    "hosts not answered": KnownVerdict(DaneFinding.HOSTS_FAILED, is_pending=True),
    "usable, others not answered": KnownVerdict(DaneFinding.SOME, is_pending=True),
    "absent, others not answered": KnownVerdict(DaneFinding.SOME_FAILED, is_pending=True),
}
"""What is known of the verdict."""

RULES: Final = [
    Rules(answer, dane_defers, dns_defers, testing)
    for answer, dane_defers, dns_defers, testing in product(
        get_args(DaneAnswer), [True, False], [True, False], [True, False]
    )
]
"""All settings."""
