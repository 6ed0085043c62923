"""Postfix: instances, what of them is seen, and what takes the place of what is not."""

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace as replace_field
from pathlib import Path
from typing import Any, Final

import pytest

from postfix_mta_sts.admin.doctor import collect_postfix
from postfix_mta_sts.admin.doctor.collect_postfix import look_at_postfix
from postfix_mta_sts.admin.doctor.given import Given
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.sight import Sight
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.sleeping import REASON, Sleeping
from postfix_mta_sts.postfix.installed.values import Instance, Reach, Standpoint, TableSeen
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.values import replace
from tests.support.snapshots import instance, our_table

BUDGET: Final = 60.0
"""Seconds: enough for a busy machine."""
POSTFIX: Final = Account(101, 102)
TLSRPT: Final = Reach(Standpoint.CHROOT, "ENOENT")
GIVEN: Final = Given(Settings(), Path("/a/policies.db"))


class Fakes:
    """What the functions of `postfix.installed` say; a test changes what it is about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.sight = Sight(is_root=True, budget=BUDGET)
        self.say("read_instances", (("-", "/etc/postfix"),))
        self.put("read_instance", self._instance)
        self._monkeypatch.setattr(collect_postfix, "account_of", lambda _: POSTFIX)
        self.say("read_tables_of", (our_table(),))
        self.say("reach_tlsrpt", TLSRPT)
        self.say("read_catch_all", "smtp:[relay.test]")
        self.sleeping: Sleeping = ()

    def put(self, name: str, function: Callable[..., Any]) -> None:
        """Let this function take the place of another one."""
        self._monkeypatch.setattr(collect_postfix, name, function)

    def say(self, name: str, result: object) -> None:
        """Let a function return this, or raise it."""

        async def say(*_: object, **__: object) -> object:
            if isinstance(result, Exception):
                raise result
            return result

        self.put(name, say)

    async def look(self, given: Given = GIVEN) -> tuple[Instance, ...]:
        """Look once."""
        return await look_at_postfix(self.sight, given, self._sleeping)

    async def _sleeping(self) -> Sleeping:
        return self.sleeping

    @staticmethod
    async def _instance(name: str, directory: str) -> Instance:
        return replace(instance(folder=directory, name=name), tables=())


@pytest.fixture
async def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """A machine with one instance, where all is seen."""
    return Fakes(monkeypatch)


async def test_all(fakes: Fakes) -> None:
    """An instance has its tables, its socket for reports and its transports."""
    (seen,) = await fakes.look()
    assert seen == replace(
        instance(), tables=(our_table(),), tlsrpt=TLSRPT, catch_all="smtp:[relay.test]"
    )
    assert fakes.sight.unseen == ()


async def test_several(fakes: Fakes) -> None:
    """All instances are looked at, at once."""
    met = asyncio.Barrier(2)

    async def read(name: str, directory: str) -> Instance:
        await met.wait()
        return instance(folder=directory, name=name)

    fakes.say("read_instances", (("-", "/etc/postfix"), ("out", "/etc/postfix-out")))
    fakes.put("read_instance", read)
    assert [each.name for each in await fakes.look()] == ["-", "out"]


async def test_none(fakes: Fakes) -> None:
    """A machine without Postfix."""
    fakes.say("read_instances", ())
    assert await fakes.look() == ()
    reason = "postconf was not found; name a main.cf with --main-cf"
    assert fakes.sight.unseen == (Unseen("Postfix", reason),)


async def test_postconf_fails(fakes: Fakes) -> None:
    """The reason is noted, once."""
    fakes.say("read_instances", ProgramError("postconf failed: out of memory"))
    assert await fakes.look() == ()
    reason = "postconf failed: out of memory"
    assert fakes.sight.unseen == (Unseen("the instances of Postfix", reason),)


async def test_a_main_cf_with_an_error(fakes: Fakes) -> None:
    """Nothing else is asked of such an instance."""
    broken = Instance("-", "/etc/postfix", problem="line 3: missing '='")
    fakes.say("read_instance", broken)
    fakes.say("read_tables_of", AssertionError("asked"))
    assert await fakes.look() == (broken,)


async def test_late(fakes: Fakes) -> None:
    """Tables that are late still say which of them asks the daemon, and the rest is there."""
    fakes.say("read_tables_of", TimeoutError())
    (seen,) = await fakes.look()
    (table,) = seen.tables
    assert (table.is_ours, table.map_name, table.reaches) == (True, "QUERYwithTLSRPT", ())
    assert seen.catch_all == "smtp:[relay.test]"
    (unseen,) = fakes.sight.unseen
    assert unseen.what == "the tables of smtp_tls_policy_maps"


async def test_an_instance_that_is_late(fakes: Fakes) -> None:
    """Of an instance that was not read nothing is said."""
    fakes.say("read_instance", TimeoutError())
    assert await fakes.look() == ()
    assert [each.what for each in fakes.sight.unseen] == ["Postfix in /etc/postfix"]


@pytest.mark.parametrize(
    ("is_root", "reason"),
    [
        (False, "only root may become another user; run doctor as root"),
        (True, "there is no user postfix"),
    ],
)
async def test_without_its_user(fakes: Fakes, *, is_root: bool, reason: str) -> None:
    """As a plain user, or without a user of Postfix, it is said what that means."""
    fakes.sight = Sight(is_root=is_root, budget=BUDGET)
    fakes.put("account_of", lambda _: None)
    await fakes.look()
    what = "what Postfix is answered as its own user, and in its chroot"
    assert fakes.sight.unseen == (Unseen(what, reason),)


async def test_a_user_that_is_not_found(fakes: Fakes) -> None:
    """A look-up of the user of Postfix that hangs holds nothing up, and is not an absence."""
    stuck = threading.Event()
    fakes.sight = Sight(is_root=True, budget=1.0)
    fakes.put("account_of", lambda _: stuck.wait())
    await fakes.look()
    stuck.set()
    whats = [each.what for each in fakes.sight.unseen]
    assert whats[0] == "the user postfix"
    assert "what Postfix is answered as its own user, and in its chroot" not in whats


async def test_unasked(fakes: Fakes) -> None:
    """A server that was not asked is noted."""
    reason = "this user may not connect to unix:/s"
    fakes.sight = Sight(is_root=False, budget=BUDGET)
    fakes.say("read_tables_of", (our_table(unasked=(reason,)),))
    await fakes.look()
    what = f"what {our_table().name} answers"
    assert Unseen(what, f"{reason}; run doctor as root") in fakes.sight.unseen


async def test_servers_that_sleep(fakes: Fakes) -> None:
    """The tables are told which servers not to ask; that is noted, and root sees no more."""
    fakes.sleeping = (TcpAddress("127.0.0.1", 8461),)
    told: list[object] = []

    async def read(*_: object, sleeping: Sleeping) -> tuple[TableSeen, ...]:
        told.append(sleeping)
        return (our_table(unasked=(REASON,)),)

    fakes.put("read_tables_of", read)
    await fakes.look()
    assert told == [fakes.sleeping]
    reason = f"{REASON}; start the daemon to see it"
    assert fakes.sight.unseen == (Unseen(f"what {our_table().name} answers", reason),)


class TestElsewhere:
    """`--main-cf`."""

    GIVEN: Final = Given(
        Settings(),
        Path("/a"),
        main_cf_file=Path("/b/main.cf"),
        main_cf_text=(
            "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:postfix\nrelayhost = ${a?b}\n"
            "forward_path = $home/.forward\n"
        ),
    )

    async def test_file(self, fakes: Fakes) -> None:
        """No program is run; what matters and cannot be known is noted."""
        for name in ("read_instances", "read_instance", "read_tables_of"):
            fakes.say(name, AssertionError("asked"))
        (seen,) = await fakes.look(self.GIVEN)
        assert [(each.is_ours, each.map_name) for each in seen.tables] == [(True, "postfix")]
        elsewhere = "with --main-cf it is taken to run on another machine"
        there = f"{elsewhere}; run doctor there, as root"
        first, *others = fakes.sight.unseen
        assert first.what == "relayhost in /b/main.cf"
        assert first.reason.endswith("; print it with postconf -x")
        assert others == [
            Unseen("master.cf, with options of services", there),
            Unseen("what Postfix is answered", there),
            Unseen("the files and sockets of Postfix", there),
        ]

    async def test_master_cf(self, fakes: Fakes) -> None:
        """Its services are those of the file, and what of it cannot be known is noted."""
        text = "relay unix - - y - - smtp -o smtp_tls_policy_maps= -o smtp_helo_name=$x\n"
        (seen,) = await fakes.look(replace_field(self.GIVEN, master_cf_text=text))
        assert [(each.name, each.is_chrooted) for each in seen.services] == [("relay/unix", True)]
        whats = [each.what for each in fakes.sight.unseen]
        assert whats == [
            "relayhost in /b/main.cf",
            "smtp_helo_name of relay/unix in master.cf",
            "what Postfix is answered",
            "the files and sockets of Postfix",
        ]
