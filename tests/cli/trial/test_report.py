"""`trial report`, against a daemon in this process."""

import asyncio
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.admin.http_server import serving
from postfix_mta_sts.cli.main import main
from postfix_mta_sts.daemon.assembly import running
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from tests.support.control import Operator
from tests.support.daemons import RunningDaemon, fetch_times, until
from tests.support.internet import AS_IT_IS, Changes, Internet
from tests.support.policy_host import ok, policy_text
from tests.support.terminals import COLUMNS, on_terminal

SOCKET = "control.sock"
LONG = f"a-long-name{'-of-a-department' * 3}.example-corporation.test"
ON: Changes = {"trial": {"enabled": True}}


@asynccontextmanager
async def trial(net: Internet, folder: Path, changes: Changes = ON) -> AsyncIterator[Daemon]:
    """Run a daemon that was asked for some domains, of which most were checked."""
    settings = net.settings(folder, changes)
    async with running(settings, {}, https_port=net.hosts.port) as served:
        asked = RunningDaemon(folder)
        for domain in ("good.test", "held.test", "new.test", LONG):
            net.publish(domain)
            await asked.ask(domain)
        net.publish("testing.test", ok(policy_text("testing")))
        for domain in ("held.test", "testing.test", "no.test"):
            await asked.ask(domain)
        # On trial, no look-up waits for its attempt.
        await until(lambda: len(fetch_times(asked.store)) == 5)
        await check(served, "good.test", CheckResult.DELIVERED)
        await check(served, "held.test", CheckResult.HELD)
        await check(served, LONG, CheckResult.HELD)
        await check(served, "forgotten.test", CheckResult.HELD)
        yield served


async def check(served: Daemon, domain: str, result: CheckResult, policy_id: str = "id1") -> None:
    """Note a check that the report calls `3h 12m ago` for a minute; it is not due again."""
    at = time.time() - (3 * 3_600 + 12 * 60 + 1)
    fault = "theirs" if result is CheckResult.HELD else "nobody"
    sentence = f"Mail to {domain} is held: its MX host mx1.{domain} fails: no STARTTLS"
    found = Check(Domain(domain), result, sentence, "no-starttls", fault, policy_id, at, at)
    await served.backend.store.put_check(found)


async def report(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> Sequence[str]:
    """Run the command; return its exit code and its lines."""
    done = await Operator(folder / SOCKET, capsys).run("trial", "report", *words)
    return [str(done.code), *(done.out + done.err).splitlines()]


async def test_report(net: Internet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The domains that would be held, each with the reason, then the sums and the sentence."""
    async with trial(net, tmp_path):
        code, header, *lines = await report(tmp_path, capsys)
    assert code == "1"
    assert header.split() == [
        "DOMAIN", "FAULT", "CHECKED", "FIRST", "HELD", "LOOK-UPS", "REASON",
    ]  # fmt: skip
    first, second, _, *facts, _, sentence = lines
    assert re.match(rf"{LONG} +theirs +3h 12m ago +3h 12m ago +1 +Mail", first)
    assert second.split()[8:10] == ["2", "Mail"]
    words = [line.split(maxsplit=1) for line in facts]
    assert ["trial", "on in all maps"] in words
    assert ["checks", "each domain at most once in 6h"] in words
    assert ["held", "2: no-starttls 2"] in words
    assert ["look-ups", "6, 3 of them for domains that would be held"] in words
    assert ["delivered", "1"] in words
    assert ["unchanged", "1: mode testing 1"] in words
    assert ["checked", "3h 12m ago"] in words
    assert sentence == (
        "Switching on now would hold mail to 2 of 5 domains with a policy, as far as is known: "
        "1 not checked yet"
    )


async def test_json(net: Internet, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object: what is on trial, each domain, and the sums."""
    async with trial(net, tmp_path):
        done = await Operator(tmp_path / SOCKET, capsys).run("trial", "report", "--json")
    outcomes = {each["domain"]: each["outcome"] for each in done.json["domains"]}
    assert outcomes == {
        LONG: "held",
        "good.test": "delivered",
        "held.test": "held",
        "new.test": "not-checked",
        "testing.test": "not-enforced",
    }
    assert done.json["trial"]["on"] == ["postfix", "QUERY", "QUERYwithTLSRPT"] + [
        f"tcp_table unix:{tmp_path}/{name}" for name in ("tcp_table", "tcp_table_tlsrpt")
    ]
    summary = done.json["summary"]
    assert (summary["held"], summary["with_policy"]) == (2, 5)
    assert (summary["look_ups"], summary["held_look_ups"]) == (6, 3)
    assert summary["exit_code"] == done.code == 1
    assert summary["sentence"].startswith("Switching on now would hold mail to 2 of 5 domains")


async def test_older_policy(
    net: Internet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A check of the policy before says nothing of the one in force."""
    async with trial(net, tmp_path) as served:
        await check(served, "held.test", CheckResult.HELD, "id0")
        lines = await report(tmp_path, capsys)
    assert any(
        line.split(maxsplit=2)[:2] == ["not", "checked"]
        and "never yet 1" in line
        and "not since the policy changed 1" in line
        for line in lines
    )


async def test_trial_is_off(
    net: Internet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The report says that nothing is on trial, rather than to claim that something is."""
    async with trial(net, tmp_path, AS_IT_IS):
        lines = await report(tmp_path, capsys)
    assert ["trial", "off in all maps"] in [line.split(maxsplit=1) for line in lines]
    assert lines[-1].endswith(
        "; the trial is off in all maps, so that policies are enforced already"
    )


async def test_nothing_asked(
    net: Internet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the first look-up nothing can be said."""
    settings = net.settings(tmp_path, ON)
    async with running(settings, {}, https_port=net.hosts.port):
        code, *lines = await report(tmp_path, capsys)
    assert code == "3"
    assert lines[-1] == "Nothing can be said yet: there is no domain with a policy"


async def test_terminal(net: Internet, tmp_path: Path) -> None:
    """On a terminal of 80 columns no line is longer, and each reason is complete."""
    async with trial(net, tmp_path):
        config = net.config(tmp_path)
        with on_terminal("trial", "report", "--config", config) as terminal:
            assert await asyncio.to_thread(terminal.end) == 1
    lines = terminal.screen
    assert all(len(line) <= COLUMNS for line in lines), lines
    assert "    Mail to held.test is held: its MX host mx1.held.test fails: no STARTTLS" in lines
    assert lines[-1].endswith("checked yet")


async def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a daemon it cannot be said."""
    code, line = await report(tmp_path, capsys)
    assert code == "3"
    assert "control.sock" in line


@pytest.mark.parametrize("word", ["8d", "soon", "-1"])
def test_usage(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Look-ups are counted for seven days."""
    with pytest.raises(SystemExit) as end:
        main(["trial", "report", f"--since={word}"])
    assert end.value.code == 64
    assert "7d" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "of another version"),
        (b"{}\n", "of another version"),
        (b'{"trial":{"on":[],"off":[],"dane":false,"every":1},"first_day":"x"}\n[]\n', "another"),
        (b'{"error":"the store cannot be read"}\n', "the store cannot be read"),
        (b"not json\n", "not"),
    ],
)
async def test_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], body: bytes, reason: str
) -> None:
    """What is not understood is an error of one line, and never a report."""

    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "application/jsonl", body)

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / SOCKET))
    async with serving(sock, [Route("GET", "/trial", answer)]):
        code, *lines = await report(tmp_path, capsys)
    assert code == "3"
    assert reason in lines[-1]
    assert not any("Switching" in line for line in lines)


@pytest.mark.parametrize("form", [(), ("--json",)])
async def test_the_fleet_does_not_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: tuple[str, ...]
) -> None:
    """The report is what this relay knows, and its sentence says what is missing."""
    head = {
        "trial": {"on": ["a"], "off": [], "dane": False, "every": 60},
        "first_day": "2026-01-01",
    }
    finding = {"domain": "good.test", "outcome": "delivered"}
    lines = [head, finding, {"incomplete": "the shared store: connection refused"}]
    body = "".join(f"{json.dumps(line)}\n" for line in lines).encode()

    async def answer(_: HttpRequest) -> HttpResponse:
        return HttpResponse(200, "application/jsonl", body)

    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(tmp_path / SOCKET))
    async with serving(sock, [Route("GET", "/trial", answer)]):
        code, *told = await report(tmp_path, capsys, *form)
    assert code == "0"
    missing = "; checks of other relays are missing: the shared store: connection refused"
    assert missing in told[-1]
