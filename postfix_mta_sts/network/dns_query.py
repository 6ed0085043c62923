"""One query, tried at several name servers in turn until one of them answers.

Theory of operation
-------------------
A query is a future with an outcome, and the `Exchange`s that may bring it. It costs no task: each
new policy needs three queries. The next try begins when one has failed, or is silent for too long;
a silent one goes on beside it, because a busy server, or a busy machine, may answer late. The first
answer is the outcome. The outcome is a failure when the time ends, or when the last try has failed.

A try after a silence goes without EDNS: some firewalls drop it, or the answers above 512 octets
that it allows. Not for DNSSEC: some servers say only with EDNS that an answer is proven.

A second try at a server that cannot be reached waits as if the server were silent: it may be about
to start again.

The caller may cancel the future at any time: that closes the sockets.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.mtasts.errors import DiscoveryError, DnsFailureError
from postfix_mta_sts.network.dns_exchange import Exchange, Outcome
from postfix_mta_sts.network.dns_message import (
    FORMERR,
    NOERROR,
    NOTIMP,
    NXDOMAIN,
    DnsResponse,
    Question,
)
from postfix_mta_sts.network.own_faults import late_fault

TRIES: Final = 2
"""Tries of one query at each server, whatever it answers, or does not; resolv.conf may say more."""
FIRST_TRY: Final = 0.2
"""The share of the timeout after which the second try begins; the time to each further try is twice
as long. All tries go on until the timeout."""
MAX_OPEN: Final = 2
"""Tries of one query under way at once; the oldest ends for one more."""

_RCODES: Final = {FORMERR: "FORMERR", 2: "SERVFAIL", NOTIMP: "NOTIMP", 5: "REFUSED"}
_NO_EDNS: Final = frozenset({FORMERR, NOTIMP})
"""What servers that do not know EDNS answer to it (RFC 6891 §7; older ones by RFC 2671 §5.3)."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How queries are sent. `timeout` limits one query in seconds, all tries included."""

    timeout: float
    tries: int = TRIES
    """At each server."""
    patience: float | None = None
    """Seconds until the second try; None: `FIRST_TRY` of the timeout."""
    tcp: bool = False
    """Over TCP from the start."""


class Observer(Protocol):
    """Learns what the tries say of the servers."""

    def on_response(self, server: TcpAddress, /) -> None:
        """The server has sent a response, whatever that says."""

    def on_silence(self, server: TcpAddress, began: float, /) -> None:
        """A try that began then (seconds by the clock of the event loop) has no response yet."""


class Query:
    """Asks `servers` in turn, each as often and all as long as `manner` says."""

    __slots__ = (
        "_deadline",
        "_edns",
        "_failure",
        "_left",
        "_loop",
        "_manner",
        "_observer",
        "_patience",
        "_question",
        "_servers",
        "_timer",
        "_tries",
        "outcome",
    )

    def __init__(
        self,
        question: Question,
        servers: Sequence[TcpAddress],
        manner: Manner,
        observer: Observer,
    ) -> None:
        self._loop = loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Outcome] = loop.create_future()
        """A response with rcode NOERROR or NXDOMAIN, or the reason why there is none. It raises any
        other exception, which is a bug of this program."""
        self.outcome.add_done_callback(self._close)
        self._question = question
        self._observer = observer
        self._edns = True
        self._failure: DiscoveryError = DnsFailureError("no name server")
        self._tries: list[Exchange] = []  # under way
        self._left = deque([*servers] * manner.tries)
        self._servers = len(servers)
        self._manner = manner
        self._patience = manner.patience or manner.timeout * FIRST_TRY
        self._deadline = loop.call_later(manner.timeout, self._time_out)
        self._timer: asyncio.TimerHandle | None = None
        self._try_next()

    def _try_next(self) -> None:
        """Begin the next try, if there is one; fail if none is under way either."""
        self._stop_timer()
        if self.outcome.done():
            return
        if self._left:
            self._try(self._left.popleft())
        elif not self._tries:
            self._end(self._failure)

    def _try(self, server: TcpAddress) -> None:
        if len(self._tries) == MAX_OPEN:
            self._tries.pop(0).close()
        edns, tcp = self._edns, self._manner.tcp
        self._tries.append(Exchange(self._question, server, self._on_end, edns=edns, tcp=tcp))
        if self._left:
            began = self._loop.time()
            self._timer = self._loop.call_later(self._patience, self._lose_patience, server, began)

    def _lose_patience(self, server: TcpAddress, began: float) -> None:
        self._patience *= 2
        self._observer.on_silence(server, began)
        if not self._question.dnssec:
            self._edns = False
        self._try_next()

    def _on_end(self, ended: Exchange, outcome: DnsResponse | Exception) -> None:
        self._tries.remove(ended)
        match outcome:
            case DnsResponse():
                self._observer.on_response(ended.server)
                self._take(outcome, ended.server)
            case ConnectionError():
                self._failure = DnsFailureError(str(outcome))
                self._try_reachable()
            case DiscoveryError():
                self._failure = outcome
                self._try_next()
            case _ if not self.outcome.done():
                self.outcome.set_exception(outcome)

    def _try_reachable(self) -> None:
        """Begin the next try; one at a server that was tried before waits."""
        first_round_is_over = len(self._left) <= self._servers * (self._manner.tries - 1)
        if self._left and first_round_is_over and not self.outcome.done():
            self._stop_timer()
            self._timer = self._loop.call_later(self._patience, self._try_next)
        else:
            self._try_next()

    def _take(self, response: DnsResponse, server: TcpAddress) -> None:
        """End with this response, or try again if it is an error."""
        if response.rcode in {NOERROR, NXDOMAIN}:
            self._end(response)
            return
        self._failure = DnsFailureError(f"{_rcode(response)} from the name server")
        if self._edns and response.rcode in _NO_EDNS:
            self._edns = False
            if self._manner.tries == 1:  # a query with EDNS was none for this server
                self._left.appendleft(server)
        self._try_next()

    def _time_out(self) -> None:
        for each in list(self._tries):
            each.look()  # this process may have been stopped for longer than the timeout
        way = next((each.way for each in self._tries if each.way), "")
        silence = DnsFailureError(f"no answer within {self._manner.timeout:g} s{way}")
        self._end(late_fault(self._deadline.when()) or silence)

    def _end(self, outcome: Outcome) -> None:
        if not self.outcome.done():  # cancelled a moment ago
            self.outcome.set_result(outcome)

    def _close(self, _: object) -> None:
        self._deadline.cancel()
        self._stop_timer()
        for each in self._tries:
            each.close()
        self._tries.clear()  # each refers to this query

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()


def _rcode(response: DnsResponse) -> str:
    return _RCODES.get(response.rcode, f"rcode {response.rcode}")
