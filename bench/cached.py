"""Shapes in which all replies come from memory: 50 clients, one client, tcp_table.

There are few keys, and each was looked up before the measurement. The floor's reply is as long as
the daemon's.
"""

import contextlib
from collections.abc import Iterator
from typing import Final

from bench.load import ABSENCE, POLICY, Load
from bench.servers import DAEMON, FLOOR, PEER, RunningServer, Servers
from bench.shape import CPU, P50, P99, Bench, Shape, progress
from bench.sheet import Cell, Line, Mark

KEYS: Final = 1_000
_WARMING: Final = 0.2
"""Seconds for which the same load runs before each measurement."""

_KINDS = {"policy": POLICY, "absence": ABSENCE}
_FLOOR_REPLIES = {
    "policy": "OK secure match=mx1.d500.bench.test:mx2.d500.bench.test servername=hostname",
    "absence": "NOTFOUND ",
}
TRANSPORTS: Final = ("TCP", "UNIX")


def warm(server: RunningServer, key: str, numbers: int) -> None:
    """Look up each of the keys once, at each address of the server."""
    for address in server.at.values():
        wire = "tcp_table" if address is server.at.get("tcp_table") else "socketmap"
        Load(key, count=numbers, wire=wire).run(address)


@contextlib.contextmanager
def _warmed(servers: Servers, keys: int, *, sqlite: bool = False) -> Iterator[list[RunningServer]]:
    """Run this daemon, and a peer for each transport, with all keys in memory."""
    with contextlib.ExitStack() as stack:
        warmed = [stack.enter_context(servers.daemon())]
        warmed += [stack.enter_context(servers.peer(transport)) for transport in TRANSPORTS]
        if sqlite:
            warmed.append(stack.enter_context(servers.peer(sqlite=True)))
        for server in warmed:
            for key in _KINDS.values():
                warm(server, key, keys)
        yield warmed


def _compare(bench: Bench, name: str, clients: int, kinds: tuple[str, ...]) -> None:
    """Measure each server over each transport, in turns, round after round."""
    keys = bench.scaled(KEYS)
    with contextlib.ExitStack() as stack:
        servers = stack.enter_context(_warmed(bench.servers, keys, sqlite=clients > 1))
        floors = {k: stack.enter_context(bench.servers.floor(_FLOOR_REPLIES[k])) for k in kinds}
        for round_ in range(bench.rounds):
            progress(f"{name}: round {round_ + 1}")
            for kind in kinds:
                for transport in TRANSPORTS:
                    for server in (floors[kind], *servers):
                        if address := server.at.get(transport):
                            load = Load(
                                _KINDS[kind],
                                numbers=keys,
                                clients=clients,
                                seconds=bench.seconds,
                            )
                            warm_up(load, server, transport)
                            bench.measure(_shape(name, kind, transport), server, address, load)


def warm_up(load: Load, server: RunningServer, transport: str) -> None:
    """Run the load for a short time before it is measured."""
    Load(
        load.key,
        numbers=load.numbers,
        clients=load.clients,
        seconds=_WARMING,
    ).run(server.at[transport])


def _many_clients(bench: Bench) -> None:
    _compare(bench, "50 clients", clients=50, kinds=("policy", "absence"))


def _one_client(bench: Bench) -> None:
    _compare(bench, "1 client", clients=1, kinds=("policy",))


def _tcp_table(bench: Bench) -> None:
    keys = bench.scaled(KEYS)
    with bench.servers.daemon() as server:
        warm(server, POLICY, keys)
        for round_ in range(bench.rounds):
            progress(f"tcp_table: round {round_ + 1}")
            for wire, address in (("socketmap", "TCP"), ("tcp_table", "tcp_table")):
                load = Load(POLICY, numbers=keys, seconds=bench.seconds, wire=wire)
                bench.measure(f"{wire}, 50 clients", server, server.at[address], load)


def _shape(name: str, kind: str, transport: str) -> str:
    return f"cached {kind}, {name}, {transport}"


def _of_floor(shape: str, figure: str, factor: float) -> Mark:
    return Mark(factor, Cell(shape, figure, FLOOR), FLOOR)


def _many_clients_lines() -> Iterator[Line]:
    for kind in _KINDS:
        for transport in TRANSPORTS:
            shape = _shape("50 clients", kind, transport)
            of_peer = Mark(0.25, Cell(shape, CPU, PEER), PEER)
            yield Line(shape, CPU, (_of_floor(shape, CPU, 2.0), of_peer), go="20.8")
            yield Line(shape, P50)
            yield Line(shape, P99, (_of_floor(shape, P99, 2.0),), go="5,100")


def _one_client_lines() -> Iterator[Line]:
    for transport in TRANSPORTS:
        shape = _shape("1 client", "policy", transport)
        yield Line(shape, P50, (_of_floor(shape, P50, 2.0),))
        yield Line(shape, CPU, go="26.3")


_SOCKETMAP = Cell("socketmap, 50 clients", CPU, DAEMON)

SHAPES: Final = (
    Shape("cached", _many_clients, tuple(_many_clients_lines())),
    Shape("alone", _one_client, tuple(_one_client_lines())),
    Shape(
        "tcp_table",
        _tcp_table,
        (
            Line("socketmap, 50 clients", CPU),
            Line("tcp_table, 50 clients", CPU, (Mark(1.2, _SOCKETMAP, "socketmap"),)),
        ),
    ),
)
