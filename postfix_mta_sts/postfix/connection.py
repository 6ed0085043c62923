"""One connection of Postfix: replies in the order of requests, back-pressure, time limits.

This module moves bytes; `replies` decides what a request is answered. While the reply to one
request needs a look-up, later requests of the same client wait and its connection is not read any
further. That keeps the order and bounds what one client can have waiting.
"""

import asyncio
import logging
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

from postfix_mta_sts.logs import event
from postfix_mta_sts.postfix.client import Clients
from postfix_mta_sts.postfix.connections import KEPT_LIMIT, Connections
from postfix_mta_sts.postfix.probe import Place
from postfix_mta_sts.postfix.protocol.foreign import MAP_PROTOCOLS, recognize, refusal
from postfix_mta_sts.postfix.protocol.reply import TryAgain
from postfix_mta_sts.postfix.protocol.wire import Frames, WireError
from postfix_mta_sts.postfix.refusals import Refusals, hint
from postfix_mta_sts.postfix.replies import PendingReply, ReplyCache
from postfix_mta_sts.postfix.reply_cache import REQUEST_LIMIT
from postfix_mta_sts.resolver.fairness import Client
from postfix_mta_sts.resolver.single_flight import LookupResult

COPIES: Final = 3
"""A request that waits for its reply is kept as bytes, and its parts as text, up to this often."""
REQUESTS_AT_ONCE: Final = 64
"""Requests of one client that are answered before other clients have their turn."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shared:
    """What all connections of a server share."""

    connections: "Connections[PostfixConnection]"
    clients: Clients
    refusals: Refusals
    limit: int
    """Connections at once."""
    timeout: float
    """Seconds that a client may leave a request incomplete or its replies unread."""


class PostfixConnection(asyncio.Protocol):
    """One client, at the listener `place`."""

    client: Client

    def __init__(self, shared: Shared, replies: ReplyCache, place: Place) -> None:
        self.place = place
        self._shared = shared
        self._replies = replies
        self._frames = Frames(replies.wire)
        self._closes_when_idle = replies.wire.CLOSED_WHEN_IDLE
        self._may_reply = True  # no request is incomplete, waiting or held back
        self._is_full = False  # the client does not read its replies
        self._is_ending = False  # close when everything received is answered
        self._is_expendable = False  # may be closed for another client
        self._kept = 0  # bytes of requests and replies
        self._pending: PendingReply | None = None
        self._pending_size = 0  # bytes of its request, if that is a long one
        self._next_turn: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Register the client; at the limit, close one; `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self.client = self._shared.clients.identify(transport)
        if surplus := self._shared.connections.add(self):
            self._shared.refusals.full(surplus.client.owner.name, self._shared.limit)
            surplus.abort()
        self._note(is_idle=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """Drop the client; its look-up continues for others; `asyncio.BaseProtocol`."""
        self._frames.clear()
        self._cancel_timer()
        if self._pending:
            self._pending.result.cancel()
        self._replies.leave(self.client)
        self._shared.connections.remove(self)

    def data_received(self, data: bytes) -> None:
        """Answer, at once if the reply is cached; `asyncio.Protocol`."""
        if self._may_reply and (reply := self._replies.cached(data)) is not None:
            self._transport.write(reply)
        else:
            self._frames.feed(data)
            self._proceed()

    def eof_received(self) -> bool:
        """Answer the requests received before the end, then close; `asyncio.Protocol`."""
        self.finish()
        return True  # asyncio need not close

    def pause_writing(self) -> None:
        """Stop taking requests of a client that does not read; `asyncio.BaseProtocol`."""
        self._is_full = True
        self._update()

    def resume_writing(self) -> None:
        """Continue; `asyncio.BaseProtocol`."""
        self._is_full = False
        self._proceed()

    def finish(self) -> None:
        """Close as soon as all received requests are answered."""
        self._is_ending = True
        self._update()

    def abort(self) -> None:
        """Close now, without an answer to pending requests."""
        self._transport.abort()

    def _proceed(self) -> None:
        """Answer the received requests in order, until one needs a look-up."""
        if self._transport.is_closing():
            return
        request: bytes | None = None
        try:
            for _ in range(REQUESTS_AT_ONCE):
                if self._is_full or self._pending or not (request := self._frames.take()):
                    break
                self._cancel_timer()  # what follows belongs to a later request
                self._answer(request)
        except WireError as error:
            self._refuse(error, request or self._frames.head)
        else:
            self._update()

    def _answer(self, request: bytes) -> None:
        """Write the reply to the next request, or start its look-up."""
        reply = self._replies.cached(request) or self._replies.reply(request, self.client)
        if isinstance(reply, bytes):
            self._transport.write(reply)
        else:
            self._pending = reply
            self._pending_size = COPIES * len(request) if len(request) > REQUEST_LIMIT else 0
            reply.result.add_done_callback(partial(self._looked_up, reply))

    def _looked_up(self, pending: PendingReply, result: asyncio.Future[LookupResult]) -> None:
        self._pending = None
        if result.cancelled() or self._transport.is_closing():
            return
        try:
            reply = pending.reply(result.result())
        except Exception as error:  # noqa: BLE001 (the top of a callback: only this client is lost)
            event(_log, logging.ERROR, "look-up failed by an internal error", exc_info=error)
            self._transport.abort()
            return
        self._transport.write(reply)
        self._proceed()

    def _refuse(self, error: WireError, head: bytes) -> None:
        """Tell the client and the log what is wrong, and close."""
        protocol, peer = recognize(head), self._peer()
        reply = self._replies.wire.encode_reply(TryAgain(str(error)))
        if protocol is None or protocol == self.place.wire:
            self._shared.refusals.malformed(peer, self.place, error)
        else:
            self._shared.refusals.foreign(peer, self.place, protocol)
            if protocol in MAP_PROTOCOLS:
                reason = f"{hint(self.place)}: this listener speaks {self.place.wire}"
                reply = refusal(protocol, reason)
        self._frames.clear()
        self._transport.write(reply)
        self._close()

    def _close(self) -> None:
        """Close when the client has read its replies; not later than at the timeout."""
        self._transport.close()
        self._set_timer(is_running=True)

    def _peer(self) -> str:
        """The client, as the log shows it."""
        peername = self._transport.get_extra_info("peername")
        return str(peername[0]) if isinstance(peername, tuple) else self.client.owner.name

    def _update(self) -> None:
        """Read, wait or close, according to the state of the connection."""
        if self._transport.is_closing():
            return
        waiting, partial = self._frames.waiting, self._frames.partial
        idle = not (self._pending or waiting or self._is_full)
        if self._is_ending and idle:
            self._close()
            return
        self._may_reply = idle and not partial
        # Postfix sends no request before it has the reply to the last: its connections are never
        # paused, which would take two system calls per look-up.
        if idle or not (self._is_full or waiting or partial):
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
        self._set_timer(is_running=self._is_full or (idle and partial))
        if waiting:
            self._plan_next_turn()
        self._note(is_idle=idle)

    def _plan_next_turn(self) -> None:
        """Let other clients be answered before more requests of this one are."""
        if not (self._is_full or self._pending or self._next_turn):
            self._next_turn = asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        self._next_turn = None
        self._proceed()

    def _note(self, *, is_idle: bool) -> None:
        """Tell the server, after a change, if this connection may be closed, and what is kept."""
        is_expendable = is_idle and self._closes_when_idle
        if is_expendable is not self._is_expendable:
            self._is_expendable = is_expendable
            self._shared.connections.set_expendable(self, is_expendable=is_expendable)
        kept = self._frames.size + (self._pending_size if self._pending else 0)
        if self._is_full:
            kept += self._transport.get_write_buffer_size()
        if kept != self._kept:
            self._kept = kept
            self._keep(kept)

    def _keep(self, number: int) -> None:
        if not self._shared.connections.keep(self, number):
            self._shared.refusals.flooded(self._peer(), KEPT_LIMIT)
            self.abort()

    def _set_timer(self, *, is_running: bool) -> None:
        if is_running and self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._shared.timeout, self.abort)
        elif self._timer and not is_running:
            self._cancel_timer()

    def _cancel_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
