"""What the daemon says about itself is what happens (faults D11, D12, D21 to D24)."""

import asyncio
import io
import os
import re
import socket
from pathlib import Path

import pytest
from rich.console import Console

from postfix_mta_sts.admin.serialize import PolicyFilter
from postfix_mta_sts.cli import terminal
from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ControlSettings
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import InvalidPolicyError, NoRecordError, StatusError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import parse_records
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.sockets import Binding, ListenError, Sockets
from tests.support.control import ControlledDaemon, Operator
from tests.support.daemons import until
from tests.support.resolvers import find_state, wait_for_all
from tests.support.surroundings import GOOD, Surroundings, signed

NEW = parse_domain("new.test")
BAD = parse_domain("bad.test")


@pytest.fixture
def around() -> Surroundings:
    """A domain with a policy, whose MX host has TLSA records, and one whose fetch fails."""
    made = Surroundings()
    made.publish(GOOD)
    made.verdicts[GOOD] = made.verdicts[NEW] = signed()
    made.publish(BAD)
    made.policies[BAD] = StatusError("404")
    return made


@pytest.fixture
def daemon(around: Surroundings) -> ControlledDaemon:
    """A daemon that looks for TLSA records."""
    made = ControlledDaemon(around)
    made.use_dane(around.look_up_dane)
    return made


class TestAnswer:
    """`policy list` and `policy show` have the answer that Postfix gets."""

    async def test_list(self, daemon: ControlledDaemon) -> None:
        """A domain with an enforced policy that is answered dane-only is listed so (D12)."""
        await find_state(daemon.resolver, GOOD)
        await wait_for_all(daemon.resolver)
        [entry] = [entry async for entry in daemon.control.policies(PolicyFilter())]
        assert (entry["mode"], entry["answer"]) == ("enforce", "dane-only")

    async def test_dns_is_silent(self, daemon: ControlledDaemon) -> None:
        """A verdict that is answered while the TXT query waits is shown (D21)."""
        daemon.around.dns.hold()
        await find_state(daemon.resolver, NEW)
        shown = await daemon.control.show(NEW)
        assert (shown["answer"], shown["reply"]) == ("dane-only", "dane-only")
        assert shown["dane"]["kind"] == "all"
        daemon.around.dns.release()
        await wait_for_all(daemon.resolver)

    async def test_nothing_is_known_yet(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """During the first attempt a look-up waits; what it gets then is no answer of now."""
        daemon.use_dane(None)
        daemon.around.dns.hold()
        waiting = daemon.resolver.find(BAD)
        await until(lambda: daemon.resolver.flight(BAD) is not None)
        shown = await daemon.control.show(BAD)
        assert (shown["known"], shown["answer"], shown["reply"]) == (False, None, None)
        assert shown["attempt"]["then"] == "not found"
        done = await operator.run("policy", "show", BAD)
        expected = r"an attempt is under way for \d+s; a look-up waits up to \d+s more, then it is"
        assert re.search(rf"nothing is known yet: {expected} answered not found\n", done.out)
        assert done.code == 1
        daemon.around.dns.release()
        await waiting

    async def test_only_the_verdict_is_known(
        self, daemon: ControlledDaemon, operator: Operator
    ) -> None:
        """A policy of which nothing is known yet is not called "none"."""
        daemon.around.dns.hold()
        waiting = daemon.resolver.find(BAD)
        await until(lambda: bool((f := daemon.resolver.flight(BAD)) and f.knowledge.state))
        done = await operator.run("policy", "show", BAD)
        assert ["policy", "not", "known", "yet"] in done.rows
        assert "cached until" not in done.out
        daemon.around.dns.release()
        await waiting

    async def test_time_is_up(self, around: Surroundings) -> None:
        """After the timeout, look-ups are answered at once, although the attempt goes on."""
        daemon = ControlledDaemon(around)
        daemon.resolver.reconfigure(lookup_timeout=0, limits=Limits(10, 2**20))
        around.dns.hold()
        await daemon.resolver.find(BAD)
        shown = await daemon.control.show(BAD)
        assert (shown["answer"], shown["attempt"]["waits_for"]) == ("not-found", 0)
        around.dns.release()
        await wait_for_all(daemon.resolver)

    async def test_recheck(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """A known domain keeps its answer during an attempt, which is shown beside it."""
        await find_state(daemon.resolver, GOOD)
        await wait_for_all(daemon.resolver)
        daemon.around.dns.hold()
        renewal = asyncio.create_task(daemon.resolver.renew(GOOD))
        await until(lambda: daemon.resolver.flight(GOOD) is not None)
        done = await operator.run("policy", "show", "good.test")
        assert ["answer", "dane-only"] in done.rows
        assert ["attempt", "under", "way", "for", "0s"] in [[*row[:4], "0s"] for row in done.rows]
        daemon.around.dns.release()
        await renewal

    async def test_a_verdict_that_has_expired(
        self, daemon: ControlledDaemon, operator: Operator
    ) -> None:
        """The last verdict is what is to be expected, but the next look-up waits for a new one."""
        await find_state(daemon.resolver, GOOD)
        await wait_for_all(daemon.resolver)
        daemon.around.now += 2 * 3600
        [entry] = [entry async for entry in daemon.control.policies(PolicyFilter())]
        assert (entry["answer"], entry["why"]) == ("dane-only", "dane")
        shown = await daemon.control.show(GOOD)
        assert (shown["answer"], shown["replies"][0]["reply"]) == ("dane-only", None)
        done = await operator.run("policy", "show", "good.test")
        assert ["answer", "dane-only"] in done.rows
        assert "reply".ljust(12) + "the next look-up asks the network first" in done.out

    async def test_policy_and_verdict(self, daemon: ControlledDaemon) -> None:
        """The policy on file and the verdict in memory are shown together."""
        await find_state(daemon.resolver, GOOD)
        await wait_for_all(daemon.resolver)
        shown = await daemon.control.show(GOOD)
        assert (shown["policy"]["mode"], shown["dane"]["kind"]) == ("enforce", "all")

    async def test_nothing_is_answered_yet(self, around: Surroundings) -> None:
        """If the next look-up must ask the network first, there is no answer yet."""
        daemon = ControlledDaemon(around)
        await find_state(daemon.resolver, GOOD)
        assert (await daemon.control.show(GOOD))["reply"].startswith("secure match=mx1.good.test")
        daemon.use_dane(around.look_up_dane)  # there is no verdict
        assert (await daemon.control.show(GOOD))["answer"] is None
        daemon.use_dane(None)
        around.now += 8 * 86_400
        assert (await daemon.control.show(GOOD))["answer"] is None


async def test_no_policy_is_no_failure(daemon: ControlledDaemon, operator: Operator) -> None:
    """`policy show` of a domain without MTA-STS says that it has no policy (D24)."""
    daemon.around.records[NEW] = NoRecordError("NXDOMAIN")
    await find_state(daemon.resolver, NEW)
    await wait_for_all(daemon.resolver)
    done = await operator.run("policy", "show", "new.test")
    assert ["policy", "none:", "NXDOMAIN"] in done.rows
    assert "fail" not in done.out


async def test_empty_list(operator: Operator) -> None:
    """An empty list says that it is empty (D12)."""
    assert (await operator.run("policy", "list")).out == "no policy is known yet\n"
    assert (await operator.run("policy", "list", "--failing")).out == "no policy matches\n"


async def fail(resolver: Resolver, around: Surroundings, number: int) -> list[str]:
    """Make the policies of this number of domains fail; return the domains."""
    domains = [parse_domain(f"bad{n:02}.test") for n in range(number)]
    for domain in domains:
        around.publish(domain)
        around.policies[domain] = StatusError("404")
        await find_state(resolver, domain)
    await wait_for_all(resolver)
    return list(domains)


async def test_refresh_failing(daemon: ControlledDaemon, operator: Operator) -> None:
    """`policy refresh --failing` tries all failing domains again, in spite of back-offs (D23)."""
    around = daemon.around
    failed = await fail(daemon.resolver, around, 40)
    for domain in failed[1:]:
        around.publish(parse_domain(domain))
    done = await operator.run("policy", "refresh", "--failing")
    *lines, last = done.out.splitlines()
    first, *others = sorted(lines)
    assert first == "bad00.test: no policy fetched: 404"
    assert others == [f"{domain}: policy fetched" for domain in failed[1:]]
    assert (done.code, last) == (2, "refreshed 40, still failing 1")
    around.publish(parse_domain(failed[0]))
    assert (await operator.run("policy", "refresh", "--failing")).code == 0
    assert (await operator.run("policy", "refresh", "--failing")).out == "no domain fails\n"


@pytest.mark.parametrize("words", [[], ["good.test", "--failing"]])
async def test_refresh_of_what(operator: Operator, words: list[str]) -> None:
    """`policy refresh` needs a domain or --failing, and not both."""
    done = await operator.run("policy", "refresh", *words)
    assert (done.code, done.out) == (2, "")
    assert "either a DOMAIN or --failing" in done.err


def table(width: int) -> list[str]:
    """The lines of a policy list in a terminal of this width."""
    console = Console(file=io.StringIO(), force_terminal=True, width=width)
    columns = terminal.Columns(
        "domain", "answer", "mode", "id", "asked", dispensable=("id", "mode"), console=console
    )
    row = ("a-long-name.example.com", "dane-only", "enforce", "20260101T000000Z", "1m 12s ago")
    text = columns.block([row]) + "\n" + columns.block([("b.test", "secure", *row[2:])])
    return re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()


@pytest.mark.parametrize(
    ("width", "headers"),
    [
        (80, ["DOMAIN", "ANSWER", "MODE", "ID", "ASKED"]),
        (70, ["DOMAIN", "ANSWER", "MODE", "ASKED"]),
        (48, ["DOMAIN", "ANSWER", "ASKED"]),
        (40, ["DOMAIN", "ANSWER", "ASKED"]),
    ],
)
def test_one_line_a_row(width: int, headers: list[str]) -> None:
    """In a narrow terminal columns are left out and long names cut: a row is one line (D12)."""
    header, *rows = table(width)
    assert header.split() == headers
    assert [row.split()[0].rstrip("~")[:6] for row in rows] == ["a-long", "b.test"]
    assert max(map(len, [header, *rows])) <= width


async def test_who_did_it(
    daemon: ControlledDaemon, operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    """The log has one line for each refresh and forget, with the user that asked for it (D22)."""
    caplog.set_level("INFO", "postfix_mta_sts.admin")
    await operator.run("policy", "refresh", "good.test")
    await operator.run("policy", "forget", "good.test")
    assert caplog.messages == [
        f"good.test: policy refresh requested uid={os.getuid()} outcome=fetched",
        f"good.test: policy forgotten uid={os.getuid()} known=true kept=false",
    ]


class TestReasons:
    """A refusal says what is wrong, where, and what to write instead (D11)."""

    def test_address_in_use(self) -> None:
        """The error names the process that has the address."""
        with socket.create_server(("127.0.0.1", 0)) as other:
            address = TcpAddress("127.0.0.1", other.getsockname()[1])
            with pytest.raises(ListenError) as caught:
                Sockets([]).open(Binding(address, ControlSettings()))
        expected = f"cannot listen on {address}: Address already in use: process {os.getpid()} "
        assert str(caught.value).startswith(expected)

    def test_unix_socket_in_use(self, tmp_path: Path) -> None:
        """The same for a UNIX socket."""
        address = UnixAddress(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(address.path))
            other.listen()
            with pytest.raises(ListenError, match=rf"is listening on it: process {os.getpid()} "):
                Sockets([]).open(Binding(address, ControlSettings()))

    def test_socket_of_another_user(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A socket file that the daemon may not use: its owner is named, and how to remove it."""

        def denied(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        address = UnixAddress(tmp_path / "s")
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(address.path))
        monkeypatch.setattr(socket.socket, "connect", denied)
        with pytest.raises(ListenError) as caught:
            Sockets([]).open(Binding(address, ControlSettings()))
        assert f"belongs to user {tmp_path.owner()}" in str(caught.value)
        assert str(caught.value).endswith(f"remove it: rm {address.path}")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            (b"v=STS1; id=1", "('v=STS1; ': character 6 is '1', not 'v')"),
            (b"V=STSv1; id=1", "('V=STSv1;': character 1 is 'V', not 'v')"),
            (b"v=STS", "('v=STS': character 6 is missing, not 'v')"),
            (b'"v=STSv1; id=1"', "('\"v=STSv1': character 1 is '\"', not 'v')"),
            (b" v=STSv1; id=1", "(' v=STSv1': character 1 is ' ', not 'v')"),
            (b"v = STSv1; id=1", "('v = STSv': character 2 is ' ', not '=')"),
            (b"STSv1; id=1", "('STSv1; i': character 1 is 'S', not 'v')"),
            (b"spf", "no TXT record that begins with v=STSv1;"),
        ],
    )
    def test_record(self, text: bytes, reason: str) -> None:
        """Of a record that is nearly one, the wrong character; it is no record all the same."""
        with pytest.raises(NoRecordError) as caught:
            parse_records([text])
        assert str(caught.value).endswith(reason)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (
                "mode: enforce\nmx: mx1.test.",
                "line 3: mx: 'mx1.test.' ends with a dot; write mx1.t",
            ),
            ("mode: enforce\nnmx: mx1.test", "mode enforce requires one; 'nmx' may be meant as mx"),
            ("Mode: enforce\nmx: mx1.test", "no mode field; 'Mode' may be meant as mode"),
            ("x: y", "no mode field"),
            (
                "mode: Enforce\nmx: mx1.test",
                "line 2: mode is not enforce, testing or none: 'Enforce'; w",
            ),
            (
                "mode: enforce\nmx: *",
                "line 3: mx: '*' names no host; write the names of the MX hos",
            ),
            (
                "mode: enforce\nmx: a.test, b.test",
                "'a.test, b.test'; each host has a line of its own",
            ),
            ("\ufeffmode: none", "save the file without a byte order mark"),
        ],
    )
    def test_policy(self, fields: str, reason: str) -> None:
        """A misspelt field, and a name with a final dot, are named."""
        with pytest.raises(InvalidPolicyError) as caught:
            parse_policy(f"version: STSv1\n{fields}\nmax_age: 86400\n".encode())
        assert reason in str(caught.value)
