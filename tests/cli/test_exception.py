"""`postfix-mta-sts exception …`, against a daemon in this process."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import REASON_LIMIT
from postfix_mta_sts.store.sqlite.store import SqliteStore
from tests.support.commands import Commands, Done
from tests.support.daemons import NOT_FOUND, RunningDaemon, daemon, secure
from tests.support.internet import Internet
from tests.support.postfix_programs import PostfixPrograms, hide_postfix
from tests.support.terminals import COLUMNS, on_terminal

WHY = "ticket 4711: their certificate expired"
WRITTEN = {
    "written.test": {"use": "encrypt", "forever": True, "reason": "internal"},
    "*.wild.test": {"use": "may", "forever": True, "reason": "the net of Jo", "dane": "ignore"},
    "lapsed.test": {"use": "may", "until": "2026-01-01", "reason": "over"},
}


class Office:
    """Runs `exception` with the configuration of the daemon in a folder."""

    def __init__(self, net: Internet, folder: Path, commands: Commands) -> None:
        self.net, self.folder = net, folder
        self._commands = commands

    async def run(self, *words: str) -> Done:
        """Run a command in a thread, while this event loop answers it."""
        config = self.net.config(self.folder, {"exceptions": WRITTEN})
        return await asyncio.to_thread(self._commands.run, *words, "--config", config)

    async def add(self, domain: str, *words: str, use: str = "ignore") -> Done:
        """Add an exception for three days."""
        end = () if "--forever" in words or "--until" in words else ("--for", "3d")
        return await self.run(
            "exception", "add", domain, "--use", use, "--reason", WHY, *end, *words
        )


@pytest.fixture
def office(net: Internet, tmp_path: Path, commands: Commands) -> Office:
    """Commands of an administrator."""
    net.publish("good.test")
    return Office(net, tmp_path, commands)


@pytest.fixture
async def running(office: Office) -> AsyncIterator[RunningDaemon]:
    """The daemon, with some exceptions in its configuration."""
    async with daemon(office.net, office.folder, changes={"exceptions": WRITTEN}) as served:
        yield served


@pytest.fixture(autouse=True)
def postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PostfixPrograms:
    """A Postfix with two messages for good.test in its queue."""
    made = PostfixPrograms(tmp_path / "bin")
    made.queue(*({"arrival_time": 1, "recipients": [{"address": "a@good.test"}]},) * 2)
    made.use(monkeypatch)
    return made


async def test_life(office: Office, running: RunningDaemon) -> None:
    """From `add` to `remove` the daemon answers by the exception, and after that by the policy."""
    assert await running.ask("good.test") == secure("good.test")
    done = await office.add("GOOD.test.")
    assert (done.code, done.err) == (0, "")
    first, *lines = done.lines
    assert first.startswith("good.test: ignore, until 2")
    assert [line.split(maxsplit=1) for line in lines[:3]] == [
        ["reason", WHY],
        ["answer", "not found: an exception of this daemon says so"],
        [
            "main.cf",
            "smtp_tls_security_level = may: TLS if the server offers it, else in the clear",
        ],
    ]
    assert lines[3].startswith("  waiting   2 messages, the oldest for ")
    assert "postqueue -f" in lines[4]
    assert await running.ask("good.test") == NOT_FOUND
    again = await office.add("good.test", "--forever", use="may")
    assert again.steps("replaces")[0].endswith(f"by uid {os.getuid()}: {WHY}")
    assert await running.ask("good.test") == b"OK may"
    removed = await office.run("exception", "remove", "good.test")
    assert (removed.code, removed.lines) == (
        0,
        [f"good.test: removed may, forever: {WHY}", "  answer    secure"],
    )
    assert await running.ask("good.test") == secure("good.test")
    removed = await office.run("exception", "remove", "good.test")
    assert removed.code == 1
    assert "there is no exception" in removed.out


async def test_seen_everywhere(office: Office, running: RunningDaemon) -> None:
    """`status`, `policy show` and `policy list` name the exception."""
    await running.ask("good.test")
    await office.add("*.test", "--anyway", use="encrypt")
    status = await office.run("status")
    row = ["exceptions", "may", "1,", "encrypt", "2;", "the", "next", "end", "is", "in"]
    assert row in [line.split()[:10] for line in status.lines]
    shown = await office.run("policy", "show", "good.test")
    assert "answer      encrypt: an exception of this daemon says so\n" in shown.out
    assert "exception   encrypt, until 2" in shown.out
    assert "it is for *.test" in shown.out
    unknown = await office.run("policy", "show", "x.wild.test")
    assert unknown.code == 1
    assert "exception  may, dane: ignore, forever, by the configuration: the net" in unknown.out
    listed = await office.run("policy", "list")
    assert listed.lines[1].split()[:3] == ["good.test", "encrypt", "(exception)"]
    entry = json.loads((await office.run("policy", "list", "--json")).out)
    assert (entry["answer"], entry["exception"]["scope"]) == ("encrypt", "*.test")


async def test_list(office: Office, running: RunningDaemon) -> None:
    """The list has all, with those of the configuration, and what the daily check found."""
    at = time.time() - 3.1 * 86_400
    delivered = Check(Domain("good.test"), CheckResult.DELIVERED, "It flows.", "", "", "1", at, at)
    held = Check(Domain("written.test"), CheckResult.HELD, "Held.", "", "", "1", at, at)
    store = await SqliteStore.open(running.store)
    await store.put_check(delivered)
    await store.put_check(held)
    await store.close()
    await office.add("good.test", "--mx", "MX1.good.test", use="pin")
    done = await office.run("exception", "list")
    assert (done.code, done.err) == (0, "")
    rows = [line.split() for line in done.lines]
    assert rows[0] == ["DOMAIN", "USE", "ENDS", "BY", "REASON"]
    assert rows[1][:3] == ["good.test", "pin", "in"]
    assert done.lines[1].endswith(f"uid {os.getuid()}   {WHY} (mx mx1.good.test)")
    assert rows[2][:3] == ["lapsed.test", "may", "ended"]
    assert rows[3][:4] == ["*.wild.test", "may", "never", "config"]
    weekday = time.strftime("%A", time.gmtime(at))
    assert done.lines[6:] == [
        "last check, without the exception:",
        f"good.test     would verify again since {weekday}; checked 3d 2h ago",
        "written.test  still needed: Held.; checked 3d 2h ago",
    ]
    entries = json.loads((await office.run("exception", "list", "--json")).out)["exceptions"]
    assert [entry["source"] for entry in entries] == ["command", "config", "config", "config"]
    await office.run("exception", "remove", "good.test")


async def test_list_on_a_terminal(office: Office, running: RunningDaemon) -> None:
    """In 80 columns a long name hides no end and no author, and each reason is whole."""
    await office.add(f"{'a' * 60}.{'b' * 40}.test")
    await office.add("good.test", "--mx", "mx1.good.test", "--mx", "*.backup.good.test", use="pin")
    config = running.folder / "config.yml"
    with on_terminal("exception", "list", "--config", config) as terminal:
        assert await asyncio.to_thread(terminal.end) == 0
    lines = terminal.screen
    assert max(map(len, lines)) <= COLUMNS
    assert [lines[0].split(), lines[1].split()[1:3]] == [
        ["DOMAIN", "USE", "ENDS", "BY"],
        ["ignore", "in"],
    ]
    assert " ".join(" ".join(lines).split()).count(WHY) == 2
    assert "(mx mx1.good.test *.backup.good.test)" in " ".join(" ".join(lines).split())


async def test_one_check_for_each_domain(office: Office) -> None:
    """A domain with an exception of a command and one of the configuration has one last check."""
    async with daemon(office.net, office.folder) as running:
        await office.add("written.test")
        store = await SqliteStore.open(running.store)
        held = Check(Domain("written.test"), CheckResult.HELD, "Held.", "", "", "1", 1.0, 1.0)
        await store.put_check(held)
        await store.close()
    async with daemon(office.net, office.folder, changes={"exceptions": WRITTEN}):
        done = await office.run("exception", "list")
    assert [line.split()[:1] for line in done.lines].count(["written.test"]) == 2 + 1


async def test_survives_a_restart(office: Office) -> None:
    """What a command added is in force from the first look-up of the next daemon on."""
    async with daemon(office.net, office.folder):
        await office.add("good.test", use="may")
    office.net.vanish()
    async with daemon(office.net, office.folder) as running:
        assert await running.ask("good.test") == b"OK may"


REFUSED: Final = (
    ("written.test", (), "has an exception written.test (use encrypt), which counts"),
    ("*.test", (), "add --anyway if that is meant"),
    ("joe@good.test", (), "not a domain name: 'joe@good.test'; write good.test"),
    ("test", (), "has one label"),
    ("[mx.good.test]:587", (), "write mx.good.test"),
    ("good.test", ("--mx", "mx.good.test"), "mx is for pin"),
    ("good.test", ("--dane", "ignore"), "ignore cannot ignore DANE"),
    ("good.test", ("--reason", " \n"), "a reason is needed"),
    ("good.test", ("--reason", "x" * (REASON_LIMIT + 1)), "201 characters, and at most 200 are"),
    ("good.test", ("--reason", "\xe9" * 51), "204 characters, escapes like \\xe9 included, and"),
    ("good.test", ("--until", "2026-01-01"), "its end is not in the future"),
    ("good.test", ("--until", "9998-01-01"), "more than ten years away"),
)


async def test_refused(office: Office, running: RunningDaemon) -> None:
    """One line says what is wrong, and nothing is added."""
    for domain, words, reason in REFUSED:
        done = await office.add(domain, *words)
        assert (done.code, done.out) == (2, "")
        assert reason in done.err
        assert len(done.err.splitlines()) == 1
    assert await running.ask("good.test") == secure("good.test")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--for", "3"), "write a number and its unit"),
        (("--for", "0d"), "it must be from 1s"),
        (("--until", "tomorrow"), "a date like 2026-12-31"),
        (("--until", "31.12.2026"), "write 2026-12-31"),
        (("--for", "3d", "--forever"), "not allowed with"),
        ((), "one of the arguments --for --until --forever is required"),
    ],
)
async def test_usage(office: Office, words: tuple[str, ...], reason: str) -> None:
    """A wrong end is refused before the daemon is asked."""
    fixed = ("exception", "add", "good.test", "--use", "may", "--reason", "x")
    done = await office.run(*fixed, *words)
    assert done.code == 2
    assert reason in " ".join(done.err.split())


@pytest.mark.usefixtures("running")
async def test_of_the_configuration(office: Office) -> None:
    """No command removes what the configuration has; one that lapsed there hinders none."""
    done = await office.run("exception", "remove", "written.test")
    assert done.code == 2
    assert "remove it there, then reload the daemon" in done.err
    assert (await office.add("lapsed.test")).code == 0


async def test_without_a_daemon(office: Office) -> None:
    """Without a daemon nothing can be added, listed or removed; each says what to do."""
    for words, advice in (
        (
            ("add", "good.test", "--use", "may", "--for", "1d", "--reason", "x"),
            "start it, or write",
        ),
        (("list",), "those of the configuration are in its file"),
        (("remove", "good.test"), "start it first"),
    ):
        done = await office.run("exception", *words)
        assert (done.code, done.out) == (2, "")
        assert "is the daemon running?" in done.err
        assert advice in done.err


async def test_daemon_that_does_not_answer(office: Office) -> None:
    """A daemon that got a request may carry it out: the error does not say that nothing is done."""

    def end(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_unix_server(end, office.folder / "control.sock"):
        for done in (
            await office.add("good.test"),
            await office.run("exception", "remove", "a.test"),
        ):
            assert (done.code, done.out) == (2, "")
            assert "it may be done all the same, also later: exception list says so" in done.err


async def test_reason_of_any_bytes(office: Office, running: RunningDaemon) -> None:
    """A reason that is no text, or has control characters, is escaped, and is one line."""
    done = await office.add("good.test", "--reason", "a\x1b[31mred\nuid=7 \udcff \xe9")
    assert (done.code, done.err) == (0, "")
    assert done.steps("reason") == ["a\\x1b[31mred uid=7 \\udcff \\xe9"]
    assert await running.ask("good.test") == NOT_FOUND


@pytest.mark.usefixtures("running")
async def test_without_postfix(
    office: Office, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container there is no Postfix to ask; the rest is said."""
    (tmp_path / "empty").mkdir()
    hide_postfix(monkeypatch, tmp_path / "empty")
    done = await office.add("good.test")
    assert done.code == 0
    assert "no postconf here" in done.steps("main.cf")[0]
    assert "not known here: postqueue was not found" in done.steps("waiting")[0]


async def test_nothing(office: Office) -> None:
    """Without an exception the list says so."""
    async with daemon(office.net, office.folder):
        done = await office.run("exception", "list")
    assert (done.code, done.out) == (0, "there is no exception\n")


async def test_store_that_cannot_be_read(office: Office) -> None:
    """While those of commands are not known, the list has the others, and says so."""
    store = office.folder / "policies.db"
    store.mkdir()
    async with daemon(office.net, office.folder, changes={"exceptions": WRITTEN}):
        done = await office.run("exception", "list")
        assert done.code == 2
        assert "written.test" in done.out
        assert "those of commands are not known: " in done.err
        status = await office.run("status")
        assert "those of commands are not known: " in status.out
        added = await office.add("good.test")
        assert added.code == 2
        assert "nothing has changed: the store failed" in added.err
        assert "write the exception into the configuration and reload" in added.err
    async with daemon(office.net, office.folder):
        done = await office.run("exception", "list")
        assert (done.code, done.out) == (2, "")
