"""Ask the running daemon what Postfix is told for a key, and what it knows of the domain.

The daemon answers from what it has: it asks neither the network nor the domain. The client blocks,
so call it in a thread.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from postfix_mta_sts.admin.client import (
    ControlClient,
    ControlDeniedError,
    ControlError,
    NotRunningError,
)
from postfix_mta_sts.admin.diagnosis.values import DaemonAnswer, DaemonState
from postfix_mta_sts.admin.exceptions.views import exception_of_json
from postfix_mta_sts.mtasts.dane import DaneKind
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.mtasts.policy import Policy, parse_stored_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.answers import OTHER
from postfix_mta_sts.values import replace


@dataclass(frozen=True, slots=True)
class Said:
    """What the daemon said."""

    answer: DaemonAnswer
    replies: Mapping[str, str | None]
    """Map name → what Postfix is told in it; None: the next look-up asks the network. `OTHER` has
    what it is told in a map that the settings do not name."""
    policy: Policy | None = None
    """The policy in force."""


def ask(client: ControlClient, key: str, domain: Domain | None) -> Said:
    """Ask for the domain that a key names, and for the key.

    An older daemon knows its policies, and not what it would answer: then its policy counts.
    """
    try:
        known = client.ask("GET", "policies", domain) if domain else {}
    except ControlError as error:
        return Said(DaemonAnswer(_state(error), str(error)), {})
    policy = _policy(known)
    answer = _answer(known, policy)
    try:
        answers = client.ask("GET", "answers", key=key)
    except ControlError as error:
        return Said(replace(answer, state=_state(error), reason=str(error)), {}, policy)
    replies = {each["map"]: each["reply"] for each in answers["replies"]}
    replies[OTHER.name] = answers.get("other")  # a daemon of an earlier version does not say it
    return Said(answer, replies, policy)


def _state(error: ControlError) -> DaemonState:
    match error:
        case NotRunningError():
            return DaemonState.NOT_RUNNING
        case ControlDeniedError():
            return DaemonState.DENIED
    return DaemonState.FAILED


def _policy(known: Mapping[str, Any]) -> Policy | None:
    if not known.get("in_force"):
        return None
    try:
        return parse_stored_policy(known["policy"]["text"].encode())
    except InvalidPolicyError:  # of a newer version, which accepts more
        return None


def _answer(known: Mapping[str, Any], policy: Policy | None) -> DaemonAnswer:
    failure, verdict = known.get("failure"), known.get("dane")
    return DaemonAnswer(
        DaemonState.ANSWERED,
        in_force=policy is not None,
        mode=policy.mode if policy else None,
        policy_id=PolicyId(known["policy"]["id"]) if policy else None,
        mx=policy.mx if policy else (),
        fetched_at=known["fetched_at"] if policy else None,
        expires_at=known["expires_at"] if policy else None,
        failure=failure["reason"] if failure else None,
        dane=DaneKind(verdict["kind"]) if verdict else None,
        asked_at=known.get("asked_at"),
        asked_count=known.get("asked_count"),
        exception=_exception(known),
    )


def _exception(known: Mapping[str, Any]) -> PolicyException | None:
    """The exception in force; None also if it is of a kind that a newer version knows."""
    with suppress(LookupError, ValueError):
        return exception_of_json(known["exception"]) if known["exception"] else None
    return None
