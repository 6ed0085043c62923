"""Say if an exception of the daemon decides about mail, and not what the domain publishes.

Pure.
"""

import shlex
from typing import Final

from postfix_mta_sts.admin.diagnosis.evidence import Evidence
from postfix_mta_sts.admin.diagnosis.values import UNPROTECTED, Fault, Flow, Source, Verdict
from postfix_mta_sts.admin.diagnosis.words import subject
from postfix_mta_sts.admin.times import moment
from postfix_mta_sts.mtasts.exceptions import PolicyException, Use
from postfix_mta_sts.mtasts.policy import Mode
from postfix_mta_sts.postfix.smtp_client.values import Level, TlsPolicy

_LEVELS: Final = {Use.MAY: Level.MAY, Use.ENCRYPT: Level.ENCRYPT, Use.PIN: Level.SECURE}


def deciding(evidence: Evidence) -> PolicyException | None:
    """Return the exception that decides; None: the policy, DANE or another table does."""
    exception = evidence.exception
    if exception is None or not evidence.is_decided:
        return None
    if evidence.source not in {Source.DAEMON, Source.NETWORK}:
        return None
    mode = evidence.in_force.mode if evidence.in_force else None
    policy = evidence.tls_policy
    level = policy.level if isinstance(policy, TlsPolicy) else None
    match exception.use:
        case Use.IGNORE:
            decides = policy is None and mode is Mode.ENFORCE
        case Use.ENFORCE:
            decides = level is Level.SECURE and mode is Mode.TESTING
        case _:
            decides = level is _LEVELS[exception.use]
    return exception if decides else None


def unprotected(evidence: Evidence, exception: PolicyException) -> Verdict:
    """The verdict for mail that is delivered by an exception that demands no verification."""
    how = "unverified" if exception.use is Use.ENCRYPT else "without protection"
    reason = f"the exception {named(exception)} says so"
    sentence = f"{subject(evidence)} is delivered {how}: {reason}"
    return Verdict(Flow.UNPROTECTED, sentence, Fault.NOBODY, "exception", (), UNPROTECTED)


def named(exception: PolicyException) -> str:
    """Name an exception in a sentence."""
    end = "forever" if exception.until is None else f"until {moment(exception.until)}"
    return f"{exception.scope} ({exception.use}, {end})"


def advice(exception: PolicyException) -> str:
    """Say how its effect ends now."""
    if exception.added_at is None:
        return "once it is not needed, remove the exception from the configuration, and reload"
    scope = shlex.quote(exception.scope)
    return f"once it is not needed: postfix-mta-sts exception remove {scope}"
