"""Convert what the shared store says to plain data for JSON. Pure."""

from typing import Any, Final

from postfix_mta_sts.admin.serialize import JsonObject
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.sharing import SharedPolicy, adopted
from postfix_mta_sts.stats import FleetNumbers
from postfix_mta_sts.store.fleet.requests import Relay, Relays, Seen

SILENT: Final = 30.0
"""Seconds after which a relay counts as silent: it says that it is there every ten."""


def fleet_to_json(numbers: FleetNumbers, name: str, url: str) -> JsonObject:
    """Convert what this relay has to do with the shared store."""
    return {
        "name": name,
        "url": url,
        "ok": not numbers.problem,
        "reason": numbers.problem or None,
        "since": None if numbers.since is None else round(numbers.since),
        "breaker_open": not numbers.is_asked,
        "too_slow": numbers.is_slow,
        "waiting": numbers.waiting,
        "exceptions_version": numbers.exceptions_version,
    }


def relays_to_json(told: Relays, here: str, now: float) -> JsonObject:
    """Convert what the relays say of themselves; `here`: the name of this one."""
    latest = max((each.report.exceptions_version for each in told.relays), default=0)
    relays = [_relay_to_json(each, here, latest, now) for each in told.relays]
    return {"relays": relays, "refused": told.refused, "problem": None}


def _relay_to_json(relay: Relay, here: str, latest: int, now: float) -> dict[str, Any]:
    return {
        "name": relay.name,
        "here": relay.name == here,
        "version": relay.report.version,
        "seen_at": round(now - relay.seen_ago),
        "silent": relay.seen_ago > SILENT,
        "policies": relay.report.policies,
        "waiting": relay.report.waiting,
        "exceptions_version": relay.report.exceptions_version,
        "exceptions_behind": latest - relay.report.exceptions_version,
    }


def seen_to_json(seen: Seen, known: State | None, now: float) -> JsonObject:
    """Convert what the store has of a domain of which this relay knows `known`.

    `state`: `same`: as here; `none`; `refused`: the record is not valid; `newer`: it would be taken
    if the TXT record of the domain names it; `not-used`: it would not be. `reason` says why.
    """
    shared = seen.policy
    if shared is None:
        return {"state": "refused" if seen.refused else "none", "reason": seen.refused or None} | {
            "policy": None
        }
    state, reason = _use(shared, known, now)
    return {"state": state, "reason": reason, "policy": _policy_to_json(shared, now)}


def _use(shared: SharedPolicy, known: State | None, now: float) -> tuple[str, str | None]:
    if known and known.policy == shared.policy and known.policy_id == shared.policy_id:
        return "same", None
    taken = adopted(shared, known, shared.policy_id, now, 0.0)
    return ("not-used", taken) if isinstance(taken, str) else ("newer", None)


def _policy_to_json(shared: SharedPolicy, now: float) -> dict[str, Any]:
    fetched_at = now - shared.age
    return {
        "id": shared.policy_id,
        "mode": shared.policy.mode,
        "fetched_at": round(fetched_at),
        "fetched_by": shared.fetched_by,
        "given_by": shared.given_by,
        "expires_at": round(fetched_at + shared.policy.max_age),
    }
