"""An attacker between a resolver and a name server, which changes some answers.

It forwards DNS datagrams unchanged unless their question is among the forged ones. It cannot sign.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final, Self

import dns.asyncquery
import dns.flags
import dns.message
import dns.rdatatype
import dns.rrset

from tests.support.tasks import Tasks

_TIMEOUT: Final = 5.0  # for the name server; then the query stays unanswered


class Forger(asyncio.DatagramProtocol):
    """Forwards from `host` to the name server at `real` while the context is open.

    `forged` maps `"name TYPE"` to the data that replace the right ones; the signatures stay
    unchanged. Without data the whole answer is removed, including its proof.
    """

    def __init__(self, host: str, real: str, forged: Mapping[str, Sequence[str]]) -> None:
        self._host = host
        self._real = real
        self._forged = forged
        self._tasks = Tasks()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._udp, _ = await loop.create_datagram_endpoint(lambda: self, (self._host, 53))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._udp.close()
        await self._tasks.stop()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Forward one query in a task of its own."""
        self._tasks.start(self._pass_on(data, addr), "forger")

    async def _pass_on(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        response = await dns.asyncquery.udp(query, self._real, _TIMEOUT)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        key = f"{question.name.to_text(omit_final_dot=True)} {kind}"
        if key in self._forged:
            _forge(response, question, self._forged[key])
        self._udp.sendto(response.to_wire(), addr)


def _forge(response: dns.message.Message, question: dns.rrset.RRset, data: Sequence[str]) -> None:
    if not data:
        response.answer = response.authority = []
        return
    (right,) = (each for each in response.answer if each.rdtype == question.rdtype)
    lie = dns.rrset.from_text(right.name, right.ttl, right.rdclass, right.rdtype, *data)
    response.answer[response.answer.index(right)] = lie
