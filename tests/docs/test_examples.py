"""Output that the pages show is what the program prints: the same labels, columns and words."""

import re
import time
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.daemon.watchdog import status_line
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import CertificateError, StatusError
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source, Stage
from postfix_mta_sts.store.sts_resolver import Refusal
from tests.docs.blocks import ROOT
from tests.support.commands import Commands
from tests.support.control import ControlledDaemon, Operator
from tests.support.resolvers import find_state
from tests.support.surroundings import Surroundings

CONTROL: Final = (ROOT / "docs/control.md").read_text("utf-8")
MIGRATING: Final = (ROOT / "docs/migrating.md").read_text("utf-8")
SYSTEMD: Final = (ROOT / "docs/systemd.md").read_text("utf-8")
COM, NET, ORG = (parse_domain(f"example.{end}") for end in ("com", "net", "org"))


def example(page: str, start: str) -> list[str]:
    """The lines of the one indented block that begins with these words."""
    found = re.findall(rf"^    {re.escape(start)}.*\n(?:(?:    .*)?\n)*", page, re.MULTILINE)
    assert len(found) == 1, (start, found)
    return [line[4:].rstrip() for line in found[0].rstrip().splitlines()]


def labels(lines: list[str]) -> list[str]:
    """The first column."""
    return [re.split(r"  +", line)[0] for line in lines]


def words(text: str) -> str:
    """The text without numbers, and with one blank between words."""
    return " ".join(re.sub(r"\d+", "N", text).split())


@pytest.fixture
async def daemon() -> ControlledDaemon:
    """A daemon in the state that the page shows."""
    around = Surroundings()
    around.now = time.time()
    for domain, mode in ((COM, "enforce"), (NET, "testing"), (ORG, "enforce")):
        around.publish(domain, mode=mode)
    around.policies[ORG] = StatusError("HTTP 404")
    daemon = ControlledDaemon(around)
    daemon.confinement = Confinement(
        files=True, ports=(25, 53, 443), unix_sockets=True, processes=True
    )
    step = "TLSA of _25._tcp.mx1.example.com: 1 found, signed, 1 usable"
    host = Host("mx1.example.com", HostState.USABLE, step)

    async def dane(domain: object, _on_progress: object) -> DaneOutcome:
        hosts = (host,) if domain == COM else ()
        return DaneOutcome(MxState.SECURE, "MX: 1 found, signed", hosts, 3600)

    daemon.use_dane(dane)
    for domain in (COM, NET, ORG, parse_domain("none.test")):
        await find_state(daemon.resolver, domain)
    await around.store.touch(daemon.resolver.usage.take())
    return daemon


async def printed(
    daemon: ControlledDaemon, folder: Path, capsys: pytest.CaptureFixture[str], *command: str
) -> list[str]:
    """Run a command; return the lines of its output."""
    async with daemon.controlled(folder) as path:
        done = await Operator(path, capsys).run(*command)
    assert (done.code, done.err) == (0, "")
    return done.out.rstrip().splitlines()


async def test_status(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of `status`, in their order; counters have the same names."""
    shown = example(CONTROL, "answering ")
    lines = await printed(daemon, tmp_path, capsys, "status")
    assert labels(lines) == labels(shown)
    for label in ("sandbox", "policies", "look-ups", "in memory", "under way", "connections"):
        here, there = (next(x for x in each if x.startswith(label)) for each in (lines, shown))
        assert words(here) == words(there)


async def test_nagios(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line of `status --nagios`."""
    daemon.asked_at = daemon.around.now - 1
    (shown,) = example(CONTROL, "MTA-STS OK: ")
    assert [words(shown)] == list(
        map(words, await printed(daemon, tmp_path, capsys, "status", "--nagios"))
    )


async def test_policy_list(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The columns of `policy list` on a terminal, and its rows."""
    header, *rows = example(CONTROL, "DOMAIN ")
    full, *lines = await printed(daemon, tmp_path, capsys, "policy", "list")
    assert set(header.split()) == set(full.split()) - {"ID", "FETCHED"}
    assert [row.split()[:3] for row in rows] == [line.split()[:3] for line in lines]


async def test_policy_show(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of `policy show` for a policy, and those of DANE."""
    daemon.asked_at = daemon.around.now
    lines = await printed(daemon, tmp_path, capsys, "policy", "show", "example.com")
    of_dane = example(CONTROL, "DANE        all")
    at = next(i for i, line in enumerate(lines) if line.startswith("DANE "))
    assert list(map(words, lines[at : at + 2])) == list(map(words, of_dane[:2]))
    assert labels(lines[at : at + 3]) == labels(of_dane)
    rest = [*lines[:at], *lines[at + 3 :]]
    shown = example(CONTROL, "example.com\n    answer ")
    maps = ""  # the label of a line with maps, which are more in the example
    expected = [label for label in dict.fromkeys(labels(shown)) if label != maps]
    assert [label for label in dict.fromkeys(labels(rest)) if label != maps][:-2] == expected[:-2]
    assert rest[-2].split() == shown[-2].split()


async def test_policy_show_of_a_failure(
    daemon: ControlledDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of `policy show` for a domain without a policy."""
    *lines, dane, _ = await printed(daemon, tmp_path, capsys, "policy", "show", "example.org")
    assert dane.startswith("DANE ")
    assert labels(lines) == labels(example(CONTROL, "example.org\n    answer "))


def test_show_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines of `check-config --show`, and the three kinds of sources."""
    path = tmp_path / "c.yml"
    path.write_text("# one\nlog:\n  level: debug\n")
    monkeypatch.setenv("POSTFIX_MTA_STS__HTTPS__TIMEOUT", "30s")
    done = Commands(capsys).run("check-config", "--show", path)
    lines = [line.split() for line in done.lines]
    for shown in example(CONTROL, "listen[0].socketmap "):
        assert shown.replace("/etc/postfix-mta-sts.yml", str(path)).split() in lines


def test_import_and_seed() -> None:
    """The words for what was not imported, and for what was looked up."""
    reasons = [line.split(maxsplit=1)[1] for line in example(MIGRATING, " 1204 imported ")[1:]]
    assert set(reasons) <= {f"refused: {refusal}" for refusal in Refusal}
    results = [line.split(maxsplit=1)[1] for line in example(MIGRATING, "  412 no policy")]
    failed = f"failed: {CertificateError.code}"
    assert results == ["no policy", "enforce", "testing", failed, "lines without a valid domain"]


def test_status_of_the_unit() -> None:
    """The line that `systemctl status` shows."""
    (shown,) = example(SYSTEMD, "Status: ")
    counters = Counters()
    counters.answers[Answer.FOUND, Source.MEMORY] = 20_647
    counters.answers[Answer.FOUND, Source.NETWORK] = 167
    counters.attempts[Stage.HTTPS, "status"] = 3
    assert shown == f'Status: "{status_line(312, counters)}"'
