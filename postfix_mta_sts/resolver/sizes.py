"""Estimate how many bytes of memory a cached state takes.

An estimate counts each object once, as CPython allocates it: strings by their size, all other
objects by constants. It is within a factor of 1.5 of what `tracemalloc` shows for states of any
size (`tests/resolver/test_sizes.py`).
"""

from collections.abc import Iterable
from sys import getsizeof
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import State
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.mtasts.verdict import Verdict

SLOT: Final = 56
"""A key of a dict: 24 to 68 bytes, depending on when the dict last grew."""

# With the numbers and tuples that belong to them; malloc rounds each object up to 16 bytes.
_STATE: Final = 290  # and the cache entry
_POLICY: Final = 200  # and its id
_PATTERN: Final = 16  # beside the text
_FAILURE: Final = 64
_BACKOFF: Final = 140
_VERDICT: Final = 240
_HOST: Final = 64


def state_size(domain: Domain, state: State) -> int:
    """Return the bytes that a cache entry takes, with its domain and its state."""
    size = _STATE + SLOT + getsizeof(domain)
    if policy := state.policy:
        size += _policy_size(policy)
    if failure := state.failure:
        size += _FAILURE + getsizeof(failure.reason)
    if state.dane:
        size += _verdict_size(state.dane)
    return size + _BACKOFF * len(state.backoffs)


def _policy_size(policy: Policy) -> int:
    return _POLICY + getsizeof(policy.text) + _texts_size(policy.mx) + _PATTERN * len(policy.mx)


def _verdict_size(verdict: Verdict) -> int:
    outcome = verdict.outcome
    texts = [text for host in outcome.hosts for text in (host.name, host.step)]
    return _VERDICT + getsizeof(outcome.step) + _texts_size(texts) + _HOST * len(outcome.hosts)


def _texts_size(texts: Iterable[str]) -> int:
    return sum(map(getsizeof, texts))
