"""What a look-up would be answered by at this moment, if it did not wait for the network.

Nothing is changed, started or noted: the functions take the same first steps as `Resolver.cached`,
`RowReader` and `Attempt`, with their own parts.
"""

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.decision import from_memory, last_step
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.lifecycle import Standing, State
from postfix_mta_sts.mtasts.verdict import is_due, is_live
from postfix_mta_sts.resolver.known import Known
from postfix_mta_sts.resolver.row_reader import servable
from postfix_mta_sts.resolver.single_flight import DEFAULT_ORDER, Flight, LookupResult
from postfix_mta_sts.resolver.sources import AttemptContext
from postfix_mta_sts.stats.labels import Source


def preview(
    domain: Domain, row: State | None, flight: Flight | None, context: AttemptContext
) -> LookupResult:
    """What a look-up of this domain knows before the network has answered.

    `row`: what the store has; `flight`: the attempt under way.
    """
    now, entry = context.sources.clock(), context.cache.get(domain)
    if entry and entry.state and context.standing(entry.state) is not Standing.UNKNOWN:
        return LookupResult(from_memory(entry.state), Source.MEMORY)
    if flight and not lifecycle.is_from_future(flight.knowledge.state, now):
        return _of_attempt(flight)
    row = context.usable(row)
    if state := servable(domain, row, context):
        return LookupResult(from_memory(state), Source.STORE)
    return _of_attempt(flight) if flight else _at_the_start(domain, row, now, context)


def _of_attempt(flight: Flight) -> LookupResult:
    """What a look-up that joins an attempt gets."""
    return LookupResult(flight.knowledge, flight.source, time_is_up=not flight.time_left)


def _at_the_start(
    domain: Domain, row: State | None, now: float, context: AttemptContext
) -> LookupResult:
    """What an attempt would know that started now, after it has read the row."""
    known = Known(domain, context.cache, Flight(DEFAULT_ORDER, 0.0), context.usable)
    known.take_cached(now)
    if not known.row_is_known:
        known.take_row(row, now)
    known.is_asking_dane = context.dane_lookup is not None and is_due(known.verdict, now)
    known.verdict_was_live = is_live(known.verdict, now)
    if known.state and lifecycle.standing(known.state, now) is Standing.FRESH:
        known.step = last_step(known.state)
    return LookupResult(known.knowledge, Source.STORE if known.state else Source.NONE)
