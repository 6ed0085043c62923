"""The operations on exceptions over the control socket, and what is refused."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.client import ControlClient, ControlError
from postfix_mta_sts.admin.exceptions.operations import ExceptionOperations
from postfix_mta_sts.admin.exceptions.routes import BODY_LIMIT, routes
from postfix_mta_sts.admin.exceptions.views import parse_add_request
from postfix_mta_sts.admin.http_server import serving
from postfix_mta_sts.config.dates import LONGEST
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import InvalidExceptionError, PolicyException, Scope, Use
from tests.support.clients import connected
from tests.support.exceptions import DAY, HOUR, Kept, configured, exception
from tests.support.fleets import AWAY, Fleet, Member, started
from tests.support.surroundings import GOOD, START

VALID = {"scope": "good.test", "use": "ignore", "reason": "ticket", "seconds": 3 * DAY}
CONFIG = "/etc/test.yml"


class Asker:
    """Sends requests from a thread, while this event loop answers them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._client = ControlClient(path)

    async def add(self, **fields: object) -> Any:  # noqa: ANN401 (what JSON can be)
        """Send the request that adds an exception."""
        return await asyncio.to_thread(self._client.send, {**VALID, **fields}, "exceptions")

    async def remove(self, scope: str) -> Any:  # noqa: ANN401 (what JSON can be)
        """Send the request that removes one."""
        return await asyncio.to_thread(self._client.ask, "POST", "exceptions", scope, "remove")

    async def list(self) -> Any:  # noqa: ANN401 (what JSON can be)
        """Ask for all."""
        return await asyncio.to_thread(self._client.ask, "GET", "exceptions")


@asynccontextmanager
async def asked(kept: Kept, folder: Path, *written: PolicyException) -> AsyncIterator[Asker]:
    """Serve the exceptions of a keeper on a control socket."""
    await kept.keeper.start(configured(*written))
    path = folder / "control.sock"
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    clock = lambda: kept.time.now  # noqa: E731 (one value)
    operations = ExceptionOperations(kept.keeper, kept.records, clock, CONFIG)
    async with serving(sock, routes(operations)):
        yield Asker(path)


async def test_add(tmp_path: Path) -> None:
    """The answer has the exception as it is in force, with the user of the socket's peer."""
    kept = Kept()
    async with asked(kept, tmp_path) as ask:
        answer = await ask.add(scope="GOOD.test.", mx=["MX.good.test"], use="pin")
        assert answer["exception"] == {
            "scope": "good.test",
            "use": "pin",
            "reason": "ticket",
            "until": START + 3 * DAY,
            "mx": ["mx.good.test"],
            "ignores_dane": False,
            "source": "command",
            "added_at": START,
            "uid": os.getuid(),
            "relay": None,
            "ended": False,
        }
        assert answer["replaced"] is None
        assert kept.used[-1].in_force(GOOD, START)
        again = await ask.add(forever=True, seconds=None)
        assert again["replaced"]["use"] == "pin"
        assert again["exception"]["until"] is None


async def test_covered_by_the_configuration(tmp_path: Path) -> None:
    """Of two exceptions with one scope that of the configuration counts, and answers say so."""
    written = exception(added_at=None)
    kept = Kept(exception(use=Use.MAY))
    async with asked(kept, tmp_path, written) as ask:
        with pytest.raises(ControlError, match=f"{CONFIG} has an exception good.test .use ignore"):
            await ask.add(use="encrypt")
        assert kept.records.kept[Scope("good.test")].use is Use.MAY
        listed = (await ask.list())["exceptions"]
        assert [(e["source"], e["covered"]) for e in listed] == [
            ("config", False),
            ("command", True),
        ]
        removed = await ask.remove("good.test")
        assert removed["removed"]["use"] == "may"
        assert removed["in_force"]["source"] == "config"
        with pytest.raises(ControlError, match=f"written in {CONFIG}: remove it there"):
            await ask.remove("good.test")


async def test_lapsed_in_the_configuration(tmp_path: Path) -> None:
    """One of the configuration that has ended does not hinder a command."""
    async with asked(Kept(), tmp_path, exception(lasts=-HOUR, added_at=None)) as ask:
        assert (await ask.add())["replaced"] is None


async def test_remove(tmp_path: Path) -> None:
    """The answer has what was removed, and the wider exception that is in force after it."""
    kept = Kept(exception("a.good.test"), exception("*.good.test"))
    async with asked(kept, tmp_path) as ask:
        answer = await ask.remove("A.good.test")
        assert answer["removed"]["scope"] == "a.good.test"
        assert answer["in_force"]["scope"] == "*.good.test"
        assert (await ask.remove("a.good.test"))["removed"] is None
        assert (await ask.remove("*.good.test"))["in_force"] is None


async def test_list(tmp_path: Path) -> None:
    """The list is ordered by domain, has those that ended lately, and the last check of each."""
    kept = Kept(exception("b.test", lasts=HOUR), exception("*.a.test"), exception("a.test"))
    kept.records.known_checks[GOOD] = Check(
        GOOD, CheckResult.DELIVERED, "It flows.", "", "", "1", START, START - DAY
    )
    kept.time.pass_by(2 * HOUR)
    async with asked(kept, tmp_path, exception(added_at=None)) as ask:
        answer = await ask.list()
    assert answer["problem"] is None
    listed = answer["exceptions"]
    assert [e["scope"] for e in listed] == ["*.a.test", "a.test", "b.test", "good.test"]
    assert [e["ended"] for e in listed] == [False, False, True, False]
    assert listed[3]["check"] == {
        "result": "delivered",
        "sentence": "It flows.",
        "checked_at": START,
        "since": START - DAY,
    }


async def test_a_check_of_the_exception_itself(tmp_path: Path) -> None:
    """On trial a pin is checked, and a policy that an exception enforces: that says nothing."""
    pin = exception("pin.test", use=Use.PIN, mx=("mx.test",))
    strict = exception("strict.test", use=Use.ENFORCE)
    kept = Kept(pin, strict)
    for scope, policy_id in ((pin.scope, ""), (strict.scope, "1")):
        domain = Domain(scope)
        kept.records.known_checks[domain] = Check(
            domain, CheckResult.HELD, "It is held.", "", "", policy_id, START, START
        )
    async with asked(kept, tmp_path) as ask:
        listed = (await ask.list())["exceptions"]
    assert [each["check"] for each in listed] == [None, None]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"scope": "1.2.3.4"}, "write example.com"),
        ({"scope": "*.test"}, "whole top-level domain"),
        ({"scope": "test"}, "one label"),
        ({"scope": "a\r\nb.test"}, "write example.com"),
        ({"scope": 7}, "not a valid request"),
        ({"use": "off"}, "not a valid request"),
        ({"use": "pin"}, "pin needs mx"),
        ({"mx": ["mx.test"]}, "mx is for pin"),
        ({"use": "pin", "mx": ["-"]}, "no mx pattern"),
        ({"use": "pin", "mx": [f"mx{n}.test" for n in range(21)]}, "more than 20"),
        ({"ignores_dane": True}, "cannot ignore DANE"),
        ({"reason": " \n "}, "a reason is needed"),
        ({"seconds": None}, "write one end"),
        ({"forever": True}, "write one end"),
        ({"seconds": 0}, "not in the future"),
        ({"seconds": -1}, "not in the future"),
        ({"seconds": None, "until": START}, "not in the future"),
        ({"seconds": LONGEST + 1}, "ten years"),
        ({"seconds": 1e308}, "ten years"),
        ({"uid": 0}, "not a valid request"),
    ],
)
async def test_refused(tmp_path: Path, fields: dict[str, object], reason: str) -> None:
    """What a client sends is checked again; the answer says in one line what is wrong."""
    kept = Kept()
    async with asked(kept, tmp_path) as ask:
        with pytest.raises(ControlError, match=reason) as refused:
            await ask.add(**fields)
    assert str(refused.value).isprintable()
    assert kept.records.kept == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 9_000, b'{"scope": 1e999}'])
async def test_no_request(tmp_path: Path, body: bytes) -> None:
    """A body that is no request is refused with 400."""
    async with asked(Kept(), tmp_path) as ask:
        assert await post(ask.path, body) == 400


async def test_a_body_without_end(tmp_path: Path) -> None:
    """A body that is longer than any request is refused before all of it is read."""
    async with asked(Kept(), tmp_path) as ask:
        assert await post(ask.path, b" " * BODY_LIMIT + b"x") == 413
        assert await post(ask.path, json.dumps(VALID).encode().ljust(BODY_LIMIT)) == 200


async def test_store_that_cannot_write(tmp_path: Path) -> None:
    """If the store cannot write, the command fails with the reason; nothing has changed."""
    kept = Kept(exception("a.test"))
    async with asked(kept, tmp_path) as ask:
        kept.records.problem = "disk full"
        for change in (ask.add(), ask.remove("a.test")):
            with pytest.raises(ControlError, match=r"nothing has changed: .* disk full"):
                await change
        assert [e["scope"] for e in (await ask.list())["exceptions"]] == ["a.test"]


async def test_get_changes_nothing(tmp_path: Path) -> None:
    """Operations that change something cannot be reached with GET."""
    kept = Kept(exception())
    async with asked(kept, tmp_path) as ask:
        assert await exchange(ask.path, b"GET /exceptions/good.test/remove HTTP/1.1\r\n") == 405
    assert kept.records.kept


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*VALID, "until", "forever", "mx", "anyway"]), JSON))
def test_any_request(fields: dict[str, object]) -> None:
    """Any request is refused in one printable line, or makes an exception that has not ended."""
    try:
        made = parse_add_request(json.dumps({**VALID, **fields}).encode(), START, 0)
    except InvalidExceptionError as error:
        assert str(error).isprintable()
    else:
        assert made.is_in_force(START)
        assert made.reason.isascii()
        assert made.reason.isprintable()


async def post(path: Path, body: bytes) -> int:
    """Send a body; return the status."""
    head = f"POST /exceptions HTTP/1.1\r\nContent-Length: {len(body)}\r\n".encode()
    return await exchange(path, head, body)


async def exchange(path: Path, head: bytes, body: bytes = b"") -> int:
    """Send a request; return the status."""
    async with connected(path) as client:
        client.send(head + b"Host: x\r\nConnection: close\r\n\r\n" + body)
        line = await client.reader.readline()
    return int(line.split()[1])


class TestFleet:
    """With a fleet, answers say which relay added an exception, and whether all have it."""

    async def test_add(self, tmp_path: Path) -> None:
        """The exception has the name of the relay; the answer says that the fleet has it."""
        member = Member(Fleet(), "mx1")
        async with asked(member, tmp_path) as ask:
            answer = await ask.add()
            assert answer["exception"]["relay"] == "mx1"
            assert answer["fleet"] == {"relay": "mx1", "problem": None}

    async def test_store_away(self, tmp_path: Path) -> None:
        """If the store does not answer, each answer says why."""
        member = Member(fleet := Fleet(), "mx1")
        async with asked(member, tmp_path) as ask:
            fleet.is_away = True
            assert (await ask.add())["fleet"] == {"relay": "mx1", "problem": AWAY}
            assert (await ask.list())["fleet"] == {"relay": "mx1", "problem": AWAY}
            assert (await ask.remove("good.test"))["fleet"] == {"relay": "mx1", "problem": AWAY}

    async def test_of_another_relay(self, tmp_path: Path) -> None:
        """One that another relay has added just now can be removed at once, and listed."""
        member, (other,) = Member(fleet := Fleet(), "mx1"), await started(fleet, "mx2")
        async with asked(member, tmp_path) as ask:
            await other.keeper.add(exception("a.test", relay="mx2", uid=7))
            await other.keeper.add(exception("b.test", relay="mx2"))
            removed = await ask.remove("a.test")
            assert (removed["removed"]["relay"], removed["removed"]["uid"]) == ("mx2", 7)
            [listed] = (await ask.list())["exceptions"]
            assert (listed["scope"], listed["relay"]) == ("b.test", "mx2")

    async def test_without_a_fleet(self, tmp_path: Path) -> None:
        """Then there is nothing to say."""
        async with asked(Kept(), tmp_path) as ask:
            assert (await ask.add())["fleet"] is None
            assert (await ask.list())["fleet"] is None


async def test_long_ended(tmp_path: Path) -> None:
    """The list leaves out what has ended long ago, which a fleet may keep for longer."""
    kept = Kept(exception("old.test", lasts=HOUR), exception("new.test", lasts=DAY))
    written = exception("lapsed.test", lasts=HOUR, added_at=None)
    async with asked(kept, tmp_path, written) as ask:
        kept.time.pass_by(30 * DAY + 2 * HOUR)
        assert [e["scope"] for e in (await ask.list())["exceptions"]] == ["lapsed.test", "new.test"]
