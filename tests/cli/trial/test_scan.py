"""`trial scan`: which domains are looked at, how many at once, and what is printed."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.admin.findings import Finding, Outcome
from postfix_mta_sts.cli.parser import CommandError
from postfix_mta_sts.cli.trial.results import open_results
from postfix_mta_sts.cli.trial.scan import look_at_all
from postfix_mta_sts.cli.trial.show import Report, show_json
from postfix_mta_sts.cli.trial.worklist import Worklist, worklist
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.values import replace
from tests.cli.trial.findings import finding
from tests.support.commands import Commands, Done
from tests.support.daemons import TIMEOUT, until
from tests.support.dns import Fault
from tests.support.internet import Internet
from tests.support.policy_host import ok, policy_text, reply
from tests.support.postfix_programs import PostfixPrograms, hide_postfix
from tests.support.terminals import COLUMNS, on_terminal

Find = Callable[[Domain], Awaitable[Finding]]


@pytest.fixture(autouse=True)
def no_postfix(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """There is no Postfix, also on a machine that has one."""
    (tmp_path / "empty").mkdir()
    hide_postfix(monkeypatch, tmp_path / "empty")


async def scan(commands: Commands, net: Internet, folder: Path, *words: str | Path) -> Done:
    """Run the command in a thread, while the servers in this event loop answer it."""
    config = net.config(folder, {"dns": {"timeout": "1s"}})
    return await asyncio.to_thread(commands.run, "trial", "scan", *words, "--config", config)


def publish(net: Internet) -> None:
    """Domains whose mail servers need not be asked, and one whose servers are not known."""
    net.publish("testing.test", ok(policy_text("testing")))
    net.publish("gone.test", reply(404))
    net.publish("lost.test")
    net.dns.zone["mx1.lost.test A"] = Fault.SERVFAIL
    net.dns.zone["_mta-sts.silent.test TXT"] = Fault.SERVFAIL


LIST = "# partners\ntesting.test\nno.test\nTESTING.test # again\nx y\ngone.test\nlost.test\n"
RESULTS = {
    "testing.test": "not-enforced",
    "no.test": "no-policy",
    "gone.test": "unfetched",
    "lost.test": "unknown",
    "silent.test": "unanswered",
}


def outcomes(done: Done) -> dict[str, str]:
    """The outcome of each domain in the JSON."""
    return {each["domain"]: each["outcome"] for each in json.loads(done.out)["domains"]}


async def test_list(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """Each domain is looked at once; the sums, and what switching on would do, are printed."""
    publish(net)
    (tmp_path / "list").write_text(LIST + "silent.test")
    done = await scan(commands, net, tmp_path, tmp_path / "list")
    assert done.code == 3
    assert done.err == f"{tmp_path}/list:5: not a domain name: 'x y'\n"
    lines = [line.split(maxsplit=2) for line in done.lines]
    assert ["not", "valid", "1 line"] in lines
    assert ["not", "fetched", "1: status 1"] in lines
    assert done.lines[-1] == (
        "Nothing can be said yet: no check of 1 domain with an enforced policy could tell"
    )
    assert net.queries("testing.test") == 1


async def test_json(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """One object: the domains in the order of the list, then the sums."""
    publish(net)
    (tmp_path / "list").write_text(LIST + "silent.test")
    done = await scan(commands, net, tmp_path, tmp_path / "list", "--json")
    assert outcomes(done) == RESULTS
    found = json.loads(done.out)
    assert found["invalid_lines"] == 1
    summary = found["summary"]
    assert summary["exit_code"] == done.code == 3
    assert (summary["with_policy"], summary["held"], summary["unknown"]) == (2, 0, 1)
    assert summary["sentence"].startswith("Nothing can be said yet: no check of 1 domain ")


async def test_mail_log(
    commands: Commands, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Domains of a log, but for the relay's own, are added to those of a list."""
    PostfixPrograms(tmp_path / "bin", mydestination="mx.test, own.test").use(monkeypatch)
    start = "Nov 27 05:45:40 mx postfix/smtp[1]: 4Xyz0bQjKqz1: to=<secret@"
    end = ">, relay=mx[192.0.2.1]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (ok)\n"
    log = "".join(f"{start}{name}.test{end}" for name in ("one", "own", "one", "two"))
    (tmp_path / "log").write_text(log)
    (tmp_path / "list").write_text("three.test\none.test\n")
    words = (tmp_path / "list", "--maillog", tmp_path / "log", "--json")
    done = await scan(commands, net, tmp_path, *words)
    assert list(outcomes(done)) == ["one.test", "two.test", "three.test"]
    assert "secret" not in done.out + done.err


async def test_no_deliveries(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A file that is no mail log is not taken for an empty one."""
    (tmp_path / "log").write_bytes(os.urandom(10_000) + b"\n" + b"\0" * 100)
    done = await scan(commands, net, tmp_path, "--maillog", tmp_path / "log")
    assert done.code == 3
    assert f"{tmp_path}/log: no delivery to another host in " in done.err
    assert done.lines == ["Nothing can be said yet: there is no domain with a policy"]


async def test_results(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """The same command goes on: it asks only for what it does not know."""
    publish(net)
    (tmp_path / "list").write_text(LIST + "silent.test")
    words = (tmp_path / "list", "--json", "--results", tmp_path / "results")
    first = await scan(commands, net, tmp_path, *words)
    del net.dns.zone["_mta-sts.silent.test TXT"]
    second = await scan(commands, net, tmp_path, *words)
    assert outcomes(first) == RESULTS
    assert outcomes(second) == {**RESULTS, "silent.test": "no-policy"}
    asked = [net.queries(domain) for domain in ("testing.test", "no.test", "lost.test")]
    assert asked == [1, 1, 2]


async def test_kill_9(commands: Commands, net: Internet, tmp_path: Path) -> None:
    """A scan that is killed loses the domains under way, and no others."""
    quick = [f"d{n}.test" for n in range(20)]
    slow = ["slow1.test", "slow2.test"]
    for domain in slow:
        net.dns.zone[f"_mta-sts.{domain} TXT"] = Fault.SILENCE
    (tmp_path / "list").write_text("\n".join([*quick, *slow, "last.test"]))
    results = tmp_path / "results"
    words = (tmp_path / "list", "--results", results, "--at-once", "2")
    command = [sys.executable, "-m", "postfix_mta_sts", "trial", "scan", *map(str, words)]
    config = str(net.config(tmp_path, {"dns": {"timeout": "30s"}}))
    killed = await asyncio.create_subprocess_exec(*command, "--config", config, stderr=DEVNULL)
    await until(lambda: results.exists() and results.read_bytes().count(b"\n") == 21)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    net.dns.zone.clear()
    done = await scan(commands, net, tmp_path, *words, "--json")
    assert list(outcomes(done)) == [*quick, *slow, "last.test"]
    assert [net.queries(domain) for domain in quick] == [1] * 20


async def test_interrupt(net: Internet, tmp_path: Path) -> None:
    """After Ctrl-C, what was found is printed, and how to go on."""
    net.dns.zone["_mta-sts.slow.test TXT"] = Fault.SILENCE
    config = str(net.config(tmp_path, {"dns": {"timeout": "30s"}}))
    results = tmp_path / "results"
    words = ["trial", "scan", "-", "--results", str(results), "--config", config]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "postfix_mta_sts", *words, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    assert process.stdin
    process.stdin.write(b"no.test\nslow.test\n")
    process.stdin.close()
    await until(lambda: results.exists() and results.read_bytes().count(b"\n") == 2)
    process.send_signal(signal.SIGINT)
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert process.returncode == 130
    assert err.decode() == "interrupted: 1 of 2 domains done; the same command goes on\n"
    assert out.decode().splitlines()[-1] == (
        "Switching on now would hold no mail: the one domain has no policy that can be had; "
        "as far as is known: 1 not looked at"
    )


def test_json_of_an_interrupted_scan(capsys: pytest.CaptureFixture[str]) -> None:
    """It has the exit code of the command, and not that of a list that was looked at to its end."""
    for is_complete, code in ((True, 0), (False, 130)):
        found = [finding("a.test", Outcome.DELIVERED), finding("b.test", Outcome.PENDING)]
        show_json(found, Report(is_complete=is_complete))
        assert json.loads(capsys.readouterr().out)["summary"]["exit_code"] == code


async def test_reader_that_ends(net: Internet, tmp_path: Path) -> None:
    """A reader such as `head` may end; the command then ends without an error."""
    names = [f"d{n}.test" for n in range(2_000)]
    (tmp_path / "list").write_text("\n".join(names))
    with open_results(str(tmp_path / "results")) as results:
        assert not list(results.read())
        for name in names:  # more than a pipe holds
            results.append(finding(name))
    words = f"{tmp_path}/list --results {tmp_path}/results --config {net.config(tmp_path)} --json"
    program = f"{sys.executable} -m postfix_mta_sts trial scan"
    shell = f"{program} {words} | head -n 1; exit 7"
    command = ["sh", "-c", shell]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=PIPE, stderr=PIPE, env={**os.environ, "PATH": os.defpath}
    )
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert (process.returncode, out, err) == (7, b'{"invalid_lines": 0, "domains": [\n', b"")


async def test_terminal(net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal gets a progress bar, which is gone at the end, and no line is too long."""
    monkeypatch.setenv("PATH", os.defpath)
    publish(net)
    (tmp_path / "list").write_text(LIST)
    config = net.config(tmp_path, {"dns": {"timeout": "1s"}})
    with on_terminal("trial", "scan", tmp_path / "list", "--config", config) as terminal:
        assert await asyncio.to_thread(terminal.end) == 3
    assert "4/4" in terminal.written
    shown = terminal.screen[-6:]
    assert shown[-1] == (
        "Nothing can be said yet: no check of 1 domain with an enforced policy could tell"
    )
    assert all(len(line) <= COLUMNS for line in shown)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ([], "give a FILE"),
        (["-", "--maillog", "-"], "only one of the files can be standard input"),
        (["none"], "none: No such file"),
        (["/dev/null", "--at-once", "0"], "not a number from 1 to 100"),
        (["/dev/null", "--at-once", "101"], "not a number from 1 to 100"),
        (["/dev/null", "--results", "/"], "/: Is a directory"),
    ],
)
def test_usage(commands: Commands, tmp_path: Path, words: list[str], reason: str) -> None:
    """What is wrong with the arguments is said in one line; the exit code is 64."""
    (tmp_path / "c.yml").touch()
    done = commands.run("trial", "scan", *words, "--config", tmp_path / "c.yml")
    assert (done.code, done.out) == (64, "")
    assert reason in done.err.splitlines()[-1]


def test_configuration(commands: Commands, tmp_path: Path) -> None:
    """An error in the configuration has the exit code of what cannot be said."""
    (tmp_path / "c.yml").write_text("dns: {timeout: never}")
    done = commands.run("trial", "scan", "-", "--config", tmp_path / "c.yml")
    assert (done.code, done.out) == (3, "")
    assert "dns.timeout" in done.err


class Looks:
    """Looks that last until they are released; counts those at the same time."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.is_open = False
        self.go = asyncio.Event()
        self.error: Exception | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Find]:
        """See `open_finder`."""
        self.is_open = True
        yield self.find
        self.is_open = False

    async def find(self, domain: Domain) -> Finding:
        """Look at a domain."""
        assert self.is_open
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await self.go.wait()
        self.under_way -= 1
        if self.error:
            raise self.error
        return finding(domain)


@pytest.mark.parametrize(("number", "at_once"), [(50, 7), (3, 100), (0, 5), (10, 1)])
async def test_at_once(number: int, at_once: int) -> None:
    """No more domains than that are looked at together, and each of them once."""
    looks, found = Looks(), list[Finding]()
    opened: Callable[[], AbstractAsyncContextManager[Find]] = looks.opened
    task = asyncio.create_task(look_at_all(domains(number), opened, found.append, at_once))
    for _ in range(20):
        await asyncio.sleep(0)
    assert looks.under_way == min(number, at_once)
    looks.go.set()
    await task
    assert looks.most == min(number, at_once)
    assert sorted(each.domain for each in found) == sorted(domains(number))


async def test_error() -> None:
    """An error that is for people ends the scan with its own line."""
    looks = Looks()
    looks.error = CommandError("no room")
    looks.go.set()
    with pytest.raises(CommandError, match="no room"):
        await look_at_all(domains(5), looks.opened, lambda _: None, 5)


async def test_full_disk() -> None:
    """If the temporary database has no room, that is said in one line, with what to do."""
    with pytest.raises(CommandError, match=r"database or disk is full; name a folder") as error:
        await look_at_all_in(pages=10)
    assert error.value.exit_code == 3


async def look_at_all_in(pages: int) -> None:
    """Look at domains with a temporary database of so many pages."""
    looks = Looks()
    looks.go.set()
    with worklist() as work:
        work._db.execute(f"PRAGMA max_page_count = {pages}")
        for domain in domains(100):
            work.add(domain)
        await look_at_all(work.pending(), looks.opened, noting(work), 5)


def noting(work: Worklist) -> Callable[[Finding], None]:
    """Note findings that take much room."""
    return lambda found: work.note(replace(found, sentence="x" * 3_000))


def domains(number: int) -> Iterator[Domain]:
    """This number of domains."""
    return (Domain(f"d{n}.test") for n in range(number))
