"""Have the daemon refresh many domains, several at once.

The daemon answers each request when the attempt has ended, a minute later if a Policy Host is
silent. So there is a thread for each request under way; they are daemon threads, so that Ctrl-C
ends the command at once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeAlias

from postfix_mta_sts.admin.client import ControlClient, ControlError
from postfix_mta_sts.cli.live import INTERVAL

CONCURRENCY: Final = 16
"""Requests under way at once; the daemon has room for 64."""

_Result: TypeAlias = tuple[str, Mapping[str, Any] | ControlError]


def refresh_all(
    client: ControlClient, domains: Sequence[str], waiting: Callable[[], None]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Refresh each domain; yield it and the answer of the daemon when its attempt has ended.

    Until then `waiting` is called every 0.1 s. Raises `ControlError` at the first request that
    fails.
    """
    todo: SimpleQueue[str] = SimpleQueue()
    results: SimpleQueue[_Result] = SimpleQueue()
    for domain in domains:
        todo.put(domain)
    for _ in range(min(CONCURRENCY, len(domains))):
        Thread(target=_work, args=(client, todo, results), daemon=True).start()
    for _ in domains:
        domain, answer = _next(results, waiting)
        if isinstance(answer, ControlError):
            raise answer
        yield domain, answer


def _next(results: SimpleQueue[_Result], waiting: Callable[[], None]) -> _Result:
    while True:
        waiting()
        with suppress(Empty):
            return results.get(timeout=INTERVAL)


def _work(client: ControlClient, todo: SimpleQueue[str], results: SimpleQueue[_Result]) -> None:
    while True:
        try:
            domain = todo.get_nowait()
        except Empty:
            return
        results.put((domain, _ask(client, domain)))


def _ask(client: ControlClient, domain: str) -> Mapping[str, Any] | ControlError:
    try:
        answer: Mapping[str, Any] = client.ask("POST", "policies", domain, "refresh")
    except ControlError as error:
        return error
    return answer
