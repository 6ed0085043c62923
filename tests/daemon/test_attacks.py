"""What leaves the daemon towards Postfix when somebody out there is evil; each test names it.

The attacker publishes a record, a policy or both, answers in the DNS's or the Policy Host's place,
or writes a recipient's domain. What counts are the bytes that Postfix gets.
"""

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest

from tests.support.clients import connected, request
from tests.support.daemons import Clock, RunningDaemon, daemon, process
from tests.support.dns import Fault, Records
from tests.support.internet import Internet, internet
from tests.support.policy_host import (
    chunked,
    drip,
    endless,
    ok,
    policy_text,
    reply,
    silence,
)

NOT_FOUND = [b"NOTFOUND ", b"NOTFOUND ", b"500 not found", b"500 not found"]
SECURE = b"secure match=mx1.evil.test servername=hostname"
HOUR = 3600.0

_SEPARATORS = b" \t\r\n,"


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet with nothing in it."""
    async with internet(tmp_path) as net:
        yield net


@pytest.fixture
def clock() -> Clock:
    """The daemon's clock."""
    return Clock()


@pytest.fixture
async def running(net: Internet, tmp_path: Path, clock: Clock) -> AsyncIterator[RunningDaemon]:
    """A daemon in that Internet."""
    async with daemon(net, tmp_path, clock=clock, changes={"dns": {"timeout": "2s"}}) as running:
        yield running


async def told(running: RunningDaemon, key: str) -> list[bytes]:
    """What all wires and dresses say: socketmap plain and with TLSRPT, tcp_table the same."""
    return [
        await running.ask(key),
        await running.ask(key, "QUERYwithTLSRPT"),
        unquote_to_bytes(await running.get(key)),
        unquote_to_bytes(await running.get(key, tlsrpt=True)),
    ]


def attributes(text: bytes) -> list[tuple[bytes, bytes]]:
    """The attributes behind the level, as Postfix takes a TLS policy apart (postfix.md)."""
    tokens, depth, token = [], 0, b""
    for octet in (text[i : i + 1] for i in range(len(text))):
        depth += (octet == b"{") - (octet == b"}" and depth > 0)
        if depth == 0 and octet in _SEPARATORS:
            tokens.append(token)
            token = b""
        else:
            token += octet
    assert depth == 0
    level, *rest = [t for t in [*tokens, token] if t]
    assert level == b"secure"
    pairs = (t.removeprefix(b"{").removesuffix(b"}").partition(b"=") for t in rest)
    return [(name.strip(), value.strip()) for name, _, value in pairs]


def check_ours(text: bytes, domain: str) -> None:
    """See that a TLS policy with TLSRPT attributes says what `domain` may say, and no more."""
    host = f"mx1.{domain}".encode()
    said = attributes(text)
    assert [pair for pair in said if pair[0] != b"policy_string"] == [
        (b"match", host),
        (b"servername", b"hostname"),
        (b"policy_type", b"sts"),
        (b"policy_domain", domain.encode()),
        (b"mx_host_pattern", host),
    ]
    assert not re.search(rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]", text)


class TestAttributeInjection:
    """A policy cannot say more to Postfix than which hosts are its own."""

    @pytest.mark.parametrize(
        "mx",
        [
            "mx1.evil.test match=victim.test",
            "mx1.evil.test\tservername=victim.test",
            "mx1.evil.test,servername=victim.test",
            "mx1.evil.test:nexthop",
            "mx1.evil.test policy_failure=sts-webpki-invalid",
            "mx1.evil.test { policy_string = x }",
            "{mx1.evil.test}",
            "mx1.evil.test}",
            "mx1.evil.test\rmx: mx2.evil.test",
            "mx1.evil.test\x0bmatch=victim.test",
            "mx1.evil.test\x00",
            "mx1.evil.test\u0085match=victim.test",
            "mx1.evil.test\u2028match=victim.test",
            "mx1.evil.test%20match=victim.test",
            "hostname",
            "nexthop",
            "dot-nexthop",
            ".evil.test",
            "*",
            "*.*.evil.test",
            "m*.evil.test",
            "m\u212a.evil.test",
            "\uff4dx1.evil.test",
        ],
    )
    async def test_through_mx(self, net: Internet, running: RunningDaemon, mx: str) -> None:
        """One mx that is no host name, be it beside good ones, and nothing is found."""
        body = policy_text(mx=["mx1.evil.test", mx, "mx2.evil.test"])
        net.publish("evil.test", ok(body))
        assert await told(running, "evil.test") == NOT_FOUND
        assert net.gets("evil.test") == 1

    @pytest.mark.parametrize(
        "value",
        [
            "x } policy_failure=sts-webpki-invalid { policy_string = x",
            "} servername=victim.test",
            "{ { {",
            "}",
            "x, match=victim.test",
            "match=victim.test",
            "policy_failure=sts-policy-invalid",
            "policy_ttl=1 policy_type=no-policy-found",
            "a\u0085policy_failure=x",
            "a\u009bpolicy_failure=x",
            "a\u2028policy_failure=x",
            "%7D%20policy_failure=x",
            "17:postfix evil.test,",
        ],
    )
    async def test_through_extension_fields(
        self, net: Internet, running: RunningDaemon, value: str
    ) -> None:
        """What an unknown field says is a policy_string at most, whole, or is not told."""
        for name in ("x", "policy_failure"):
            domain = f"{name.replace('_', '-')}.evil.test"
            field = f"{name}: {value}\r\n".encode()
            net.publish(domain, ok(policy_text(mx=[f"mx1.{domain}"]) + field))
            plain, tlsrpt, on_tcp, on_tcp_tlsrpt = await told(running, domain)
            secure = f"secure match=mx1.{domain} servername=hostname".encode()
            assert (plain, on_tcp) == (b"OK " + secure, b"200 " + secure)
            check_ours(tlsrpt.removeprefix(b"OK "), domain)
            check_ours(on_tcp_tlsrpt.removeprefix(b"200 "), domain)

    @pytest.mark.parametrize("value", ["a\rb: c", "a\x00b", "a\x0cb", "a\x1bb", "a\x7fb", ""])
    async def test_through_control_characters(
        self, net: Internet, running: RunningDaemon, value: str
    ) -> None:
        """A field with a control character is no field, and its policy none."""
        net.publish("evil.test", ok(policy_text(mx=["mx1.evil.test"]) + f"x: {value}".encode()))
        assert await told(running, "evil.test") == NOT_FOUND

    async def test_through_the_key(self, net: Internet, running: RunningDaemon) -> None:
        """What a recipient's domain says comes back in no reply."""
        net.publish("evil.test")
        for key in (
            "evil.test servername=victim.test",
            "evil.test,match=victim.test",
            "[evil.test] match=victim.test",
            "evil.test:25 match=x",
            "evil.test}",
            "postfix evil.test",
        ):
            assert await told(running, key.replace(" ", "%20")) == NOT_FOUND
            assert await running.ask(key) == NOT_FOUND[0]
        assert net.dns.queries.total == 0


class TestCharsetSmuggling:
    """A body is UTF-8, whatever its head says; no other reading of it takes place."""

    @pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "cp037", "utf-7"])
    async def test_whole_bodies(self, net: Internet, running: RunningDaemon, charset: str) -> None:
        """A policy written in another code is none."""
        text = "version: STSv1\nmode: enforce\nmx: mx1.evil.test\nmax_age: 9\nx: \u00e4{~}\n"
        body = text.encode(charset)
        if charset == "utf-7":  # ASCII, but for what is between + and -
            body = body.replace(b"mx1", b"+AG0AeAAx-")
        net.publish("evil.test", ok(body, f"text/plain; charset={charset}"))
        assert await told(running, "evil.test") == NOT_FOUND

    @pytest.mark.parametrize(
        "charset", ["utf-7", "utf-16", "unicode_escape", "rot13", "idna", "zlib", "no-such-codec"]
    )
    async def test_declared_charsets(
        self, net: Internet, running: RunningDaemon, charset: str
    ) -> None:
        """A charset that is declared changes not one character of what is told."""
        field = rb"x: a+AH0-\x7d\u007d\n+AH0 cbyvpl_snvyher=k" + b"\r\n"
        body = policy_text(mx=["mx1.evil.test"]) + field
        net.publish("evil.test", ok(body, f"text/plain; charset={charset}"))
        plain, tlsrpt, *_ = await told(running, "evil.test")
        assert plain == b"OK " + SECURE
        check_ours(tlsrpt.removeprefix(b"OK "), "evil.test")
        assert field.strip() in dict.fromkeys(value for _, value in attributes(tlsrpt[3:]))

    async def test_latin_1(self, net: Internet, running: RunningDaemon) -> None:
        """Bytes that are not UTF-8 are not guessed at."""
        body = policy_text(mx=["mx1.evil.test"]) + b"x: \xe4\n"
        net.publish("evil.test", ok(body, "text/plain; charset=iso-8859-1"))
        assert await told(running, "evil.test") == NOT_FOUND


class TestFrameSmuggling:
    """One request, one reply: nobody can slip in another between them."""

    @pytest.mark.parametrize(
        "key",
        [
            b"x.test,17:postfix evil.test",
            b"x.test,17:postfix evil.test,",
            b"evil.test,",
            b"evil.test\n",
            b"evil.test\x00.victim.test",
            b"17:postfix evil.test,",
        ],
    )
    async def test_netstring_in_a_key(
        self, net: Internet, running: RunningDaemon, key: bytes
    ) -> None:
        """A netstring within a netstring is text of the key, and names no domain."""
        net.publish("evil.test")
        data = b"postfix " + key
        async with connected(running.socketmap) as client:
            client.send(b"%d:%b," % (len(data), data) + request("evil.test"))
            assert await client.netstring() == b"NOTFOUND "
            assert await client.netstring() == b"OK " + SECURE
        assert net.dns.queries.total == 3  # TXT, A and AAAA of evil.test

    @pytest.mark.parametrize(
        "key",
        [
            b"x.test%0Aget evil.test",
            b"x.test%0A200%20secure%20match=victim.test",
            b"evil.test%0A",
            b"evil.test%0D",
            b"evil.test%00",
            b"evil.test\r",
            b"%65vil.test%250A",
            b"evil.test get evil.test",
        ],
    )
    async def test_line_in_a_key(self, net: Internet, running: RunningDaemon, key: bytes) -> None:
        """An encoded line end is text of the key, and names no domain."""
        net.publish("evil.test")
        async with connected(running.tcp_table) as client:
            client.send(b"get " + key + b"\nget evil.test\n")
            assert await client.line() == b"500 not%20found"
            assert unquote_to_bytes(await client.line()) == b"200 " + SECURE
        assert net.gets("evil.test") == 1

    async def test_frames_in_a_policy(self, net: Internet, running: RunningDaemon) -> None:
        """What looks like a reply in a policy does not end the reply that tells of it."""
        smuggled = b"x: a,9:OK secure,10:NOTFOUND x, 200 secure\r\n"
        net.publish("evil.test", ok(policy_text(mx=["mx1.evil.test"]) + smuggled))
        async with connected(running.socketmap) as client:
            for _ in range(2):
                check_ours((await client.ask("evil.test", "QUERYwithTLSRPT"))[3:], "evil.test")
            assert await client.ask("evil.test") == b"OK " + SECURE
        async with connected(running.tcp_table_tlsrpt) as client:
            for _ in range(2):
                check_ours(unquote_to_bytes(await client.get("evil.test"))[4:], "evil.test")

    async def test_policy_longer_than_a_reply(self, net: Internet, running: RunningDaemon) -> None:
        """A policy that fits no frame loses its words, not its hosts; no frame breaks."""
        body = policy_text(mx=["mx1.evil.test"]) + b"x: %\r\n" * 10_000
        net.publish("evil.test", ok(body))
        for _ in range(2):
            plain, tlsrpt, on_tcp, on_tcp_tlsrpt = await told(running, "evil.test")
            assert (plain, on_tcp) == (b"OK " + SECURE, b"200 " + SECURE)
            check_ours(tlsrpt[3:], "evil.test")
            check_ours(on_tcp_tlsrpt[4:], "evil.test")
            assert b"policy_string" not in tlsrpt + on_tcp_tlsrpt

    async def test_more_hosts_than_a_line_has_room_for(
        self, net: Internet, running: RunningDaemon
    ) -> None:
        """Where not even the hosts can be told mail waits: it does not go out without them."""
        names = [f"mx{number:04}.evil.test" for number in range(1000)]
        net.publish("evil.test", ok(policy_text(mx=names)))
        assert await running.ask("evil.test") == (
            b"OK secure match=" + ":".join(names).encode() + b" servername=hostname"
        )
        on_tcp = unquote_to_bytes(await running.get("evil.test"))
        assert on_tcp == b"400 the TLS policy is too long for this protocol"


class TestBodies:
    """A Policy Host can make us neither unpack, nor read for ever, nor go elsewhere."""

    async def test_decompression(self, net: Internet, running: RunningDaemon) -> None:
        """A compressed body is no policy, whether it says that it is one or not."""
        body = policy_text(mx=["mx1.evil.test"])
        bomb = gzip.compress(body + b"\r\n" * 5_000_000)
        net.publish("a.test", ok(gzip.compress(body), content_encoding="gzip"))
        net.publish("b.test", ok(gzip.compress(body)))
        net.publish("c.test", ok(bomb, content_encoding="gzip"))
        net.publish("d.test", ok(body, content_encoding="gzip"))
        head = ok(b"", content_length="", transfer_encoding="gzip, chunked")
        packed = gzip.compress(body)
        net.publish("e.test", head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
        for domain in ("a.test", "b.test", "c.test", "d.test", "e.test"):
            assert await told(running, domain) == NOT_FOUND

    @pytest.mark.parametrize("length", ["", "99999999", "9" * 30])
    async def test_endless(self, net: Internet, running: RunningDaemon, length: str) -> None:
        """A body without end is dropped at 64 KiB; its good beginning is not taken for it."""
        coding = "" if length else "chunked"
        head = ok(b"", content_length=length, transfer_encoding=coding)
        body = policy_text(mx=["mx1.evil.test"])
        start = head + (body if length else b"%x\r\n%b\r\n" % (len(body), body))
        block = b"x: y\n" * 20_000 if length else b"186a0\r\n%b\r\n" % (b"x: y\n" * 20_000)
        net.publish("evil.test", endless(start, block))
        assert await told(running, "evil.test") == NOT_FOUND
        await net.hosts.closed.reached("mta-sts.evil.test")

    async def test_dripping(self, net: Internet, tmp_path: Path) -> None:
        """A body that comes a drop at a time is dropped when the time for the GET is over."""
        head = ok(policy_text(mx=["mx1.evil.test"]), content_length="60000")
        net.publish("evil.test", drip(head, b"\n"))
        async with daemon(net, tmp_path, changes={"https": {"timeout": "3s"}}) as running:
            assert await told(running, "evil.test") == NOT_FOUND
            await net.hosts.closed.reached("mta-sts.evil.test")

    async def test_cut_short(self, net: Internet, running: RunningDaemon) -> None:
        """A policy whose last mx lines were cut off is none."""
        body = policy_text(mx=["mx1.evil.test", "mx2.evil.test"])
        net.publish("a.test", ok(body, content_length=str(len(body) + 1)))
        net.publish("b.test", chunked(body, end=b""))
        net.publish("c.test", ok(body, content_length=""))
        for domain in ("a.test", "b.test", "c.test"):
            assert await told(running, domain) == NOT_FOUND

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect_to_a_good_policy(
        self, net: Internet, running: RunningDaemon, status: int
    ) -> None:
        """A redirect is not followed, not even to the domain's own policy."""
        net.publish("good.test")
        there = f"https://mta-sts.good.test:{net.hosts.port}/.well-known/mta-sts.txt"
        body = policy_text(mx=["mx1.evil.test"])
        net.publish("evil.test", reply(status, body, location=there, content_type="text/plain"))
        assert await told(running, "evil.test") == NOT_FOUND
        assert (net.gets("evil.test"), net.gets("good.test")) == (1, 0)


class TestForeignPolicies:
    """A policy counts only where it comes from the domain that it is for."""

    @pytest.mark.parametrize(
        "addresses",
        [
            {"A": ["127.0.0.1"]},
            {"AAAA": ["::1"]},
            {"AAAA": ["::ffff:127.0.0.1"]},
            {"AAAA": ["64:ff9b::7f00:1"]},
            {"A": ["10.0.0.1", "192.168.0.1", "169.254.169.254"], "AAAA": ["fe80::1", "fd00::1"]},
        ],
        ids=str,
    )
    async def test_rebinding(
        self, net: Internet, tmp_path: Path, addresses: dict[str, list[str]]
    ) -> None:
        """A Policy Host at a private address is not connected to, and its policy not had."""
        net.publish("evil.test")
        del net.dns.zone["mta-sts.evil.test A"]
        net.dns.zone |= {f"mta-sts.evil.test {kind}": data for kind, data in addresses.items()}
        strict = {"https": {"allow_private_addresses": False}}
        async with daemon(net, tmp_path, changes=strict) as running:
            assert await told(running, "evil.test") == NOT_FOUND
        assert net.hosts.connections.total == 0

    async def test_second_answer_of_the_dns(self, net: Internet, running: RunningDaemon) -> None:
        """The address is asked for once a GET: there is no second answer to be another."""
        net.publish("evil.test")
        net.dns.zone["mta-sts.evil.test A"] = Records(["127.0.0.1"], ttl=0)
        assert (await told(running, "evil.test"))[0] == b"OK " + SECURE
        queries = [net.dns.queries["mta-sts.evil.test", kind] for kind in ("A", "AAAA")]
        assert (queries, net.hosts.connections.total) == ([1, 1], 1)

    async def test_certificate_for_another_name(
        self, net: Internet, running: RunningDaemon
    ) -> None:
        """A certificate for the attacker's own names opens no other domain."""
        issue = net.hosts.authority.issue
        for number, names in enumerate(
            [("mta-sts.evil.test",), ("victim.test",), ("*.test",), ("*.*.victim.test",), ()]
        ):
            domain = f"victim{number}.test"
            net.publish(domain)
            credential = issue(*names, common_name=f"mta-sts.{domain}")
            net.hosts.credentials[f"mta-sts.{domain}"] = credential
            assert await told(running, domain) == NOT_FOUND
        assert net.hosts.gets.total == 0

    async def test_certificate_of_the_provider(self, net: Internet, running: RunningDaemon) -> None:
        """Where an alias leads is no matter: the certificate is for the Policy Host's own name."""
        net.publish("victim.test")
        del net.dns.zone["mta-sts.victim.test A"]
        net.dns.zone["mta-sts.victim.test CNAME"] = ["host.provider.test."]
        net.dns.zone["host.provider.test A"] = ["127.0.0.1"]
        provider = net.hosts.authority.issue("host.provider.test")
        net.hosts.credentials["mta-sts.victim.test"] = provider
        assert await told(running, "victim.test") == NOT_FOUND

    async def test_policy_of_the_parent(self, net: Internet, running: RunningDaemon) -> None:
        """A parent's policy is not its child's; its record is never asked for."""
        net.publish("good.test")
        for key in ("sub.good.test", ".good.test", ".test", ".sub.good.test"):
            assert await told(running, key) == NOT_FOUND
        assert net.queries("sub.good.test") == 1
        assert net.queries("good.test") == net.queries("test") == 0

    async def test_policy_of_the_child(self, net: Internet, running: RunningDaemon) -> None:
        """Nor is a child's policy its parent's, whatever domain the text names."""
        net.publish("sub.good.test", ok(policy_text(mx=["*.good.test", "mx1.victim.test"])))
        assert (await told(running, "sub.good.test"))[0].startswith(b"OK secure")
        assert await told(running, "good.test") == NOT_FOUND
        assert await told(running, "victim.test") == NOT_FOUND


class TestDowngrade:
    """Whoever can silence or bend a part of the network cannot take a policy away."""

    @pytest.fixture
    async def armed(self, net: Internet, running: RunningDaemon, clock: Clock) -> RunningDaemon:
        """A daemon with a policy whose recheck is due."""
        net.publish("good.test", ok(policy_text(mx=["mx1.evil.test"])), ttl=0)
        assert await running.ask("good.test") == b"OK " + SECURE
        clock.now += HOUR
        return running

    async def rechecked(self, net: Internet, running: RunningDaemon) -> None:
        """See that the policy is served before, during and after a recheck."""
        before = net.queries("good.test")
        assert (await told(running, "good.test"))[0] == b"OK " + SECURE
        await net.dns.queries.reached(("_mta-sts.good.test", "TXT"), before + 1)
        await settled()
        assert (await told(running, "good.test"))[0] == b"OK " + SECURE

    @pytest.mark.parametrize(
        "fault",
        [Fault.SILENCE, Fault.NXDOMAIN, Fault.NODATA, Fault.SERVFAIL, Fault.REFUSED, Fault.GARBAGE],
        ids=lambda fault: fault.name.lower(),
    )
    async def test_by_the_dns(self, net: Internet, armed: RunningDaemon, fault: Fault) -> None:
        """A DNS that is silent, or denies the record, takes nothing away."""
        net.dns.zone["_mta-sts.good.test TXT"] = fault
        await self.rechecked(net, armed)

    @pytest.mark.parametrize(
        "record",
        ["v=STSv1; id=a b;", "v=STSv2; id=2;", "v=spf1 -all", "v=STSv1;", "v=STSv1; id=;"],
    )
    async def test_by_a_broken_record(
        self, net: Internet, armed: RunningDaemon, record: str
    ) -> None:
        """A record that is none takes nothing away."""
        net.record("good.test", record, ttl=0)
        await self.rechecked(net, armed)

    async def test_by_a_second_record(self, net: Internet, armed: RunningDaemon) -> None:
        """A second record beside the right one takes nothing away."""
        records = ['"v=STSv1; id=id1;"', '"v=STSv1; id=evil;"']
        net.dns.zone["_mta-sts.good.test TXT"] = Records(records, ttl=0)
        await self.rechecked(net, armed)

    @pytest.mark.parametrize(
        "answer",
        [
            reply(404),
            reply(410, b"", content_type="text/plain"),
            ok(b""),
            ok(b"version: STSv1\nmode: none\n"),
            ok(b"version: STSv2\nmode: none\nmax_age: 0\n"),
            ok(policy_text("none", mx=[]), content_type="text/html"),
            ok(policy_text(mx=["mx1.evil.test match=victim.test"])),
            ok(policy_text("none", mx=[]), content_length="9999"),
            reply(302, location="https://mta-sts.evil.test/.well-known/mta-sts.txt"),
        ],
        ids=range(9),
    )
    async def test_by_a_broken_policy_under_a_new_id(
        self, net: Internet, armed: RunningDaemon, answer: bytes
    ) -> None:
        """A new id behind which there is no valid policy takes nothing away."""
        net.publish("good.test", answer, policy_id="new", ttl=0)
        await self.rechecked(net, armed)
        assert net.gets("good.test") == 2

    async def test_by_a_false_policy_host(self, net: Internet, armed: RunningDaemon) -> None:
        """A policy of mode none from a host without the certificate takes nothing away."""
        net.publish("good.test", ok(policy_text("none", mx=[], max_age=0)), "new", ttl=0)
        wrong = net.hosts.authority.issue("mta-sts.evil.test")
        net.hosts.credentials["mta-sts.good.test"] = wrong
        await self.rechecked(net, armed)
        assert net.gets("good.test") == 1

    async def test_by_a_silent_policy_host(self, net: Internet, tmp_path: Path) -> None:
        """A Policy Host that never ends its answer takes nothing away, and delays nobody."""
        clock = Clock()
        async with daemon(net, tmp_path, clock=clock) as running:
            net.publish("good.test", ok(policy_text(mx=["mx1.evil.test"])), ttl=0)
            await running.ask("good.test")
            net.publish("good.test", silence, "new", ttl=0)
            clock.now += HOUR
            for _ in range(3):
                assert await running.ask("good.test") == b"OK " + SECURE
                await net.hosts.gets.reached("mta-sts.good.test", 2)

    async def test_by_an_older_policy(
        self, net: Internet, armed: RunningDaemon, clock: Clock
    ) -> None:
        """Once replaced, a policy does not come back with its old id."""
        old = ok(policy_text(mx=["mx1.old.test"], max_age=31557600))
        net.publish("other.test", old, "old", ttl=0)
        assert b"mx1.old.test" in await armed.ask("other.test")
        net.publish("other.test", ok(policy_text(mx=["mx1.new.test"])), "new", ttl=0)
        clock.now += HOUR
        await armed.ask("other.test")
        await net.hosts.gets.reached("mta-sts.other.test", 2)
        await settled()
        for answer in (reply(500), silence):
            net.publish("other.test", answer, "old", ttl=0)  # the DNS of yesterday
            clock.now += HOUR
            for _ in range(3):
                assert b"match=mx1.new.test " in await armed.ask("other.test")
        assert b"old" not in b"".join(await told(armed, "other.test"))


class TestLogForging:
    """Nobody out there can write a line, or a field, of the log."""

    EVIL = "\n2026-01-01T00:00:00.000Z INFO victim.test: policy fetched id=x"

    async def attacked(self, net: Internet, folder: Path, form: str) -> list[str]:
        """The log's lines after all that is quoted in it has been evil."""
        escaped = "".join(f"\\{ord(c):03}" for c in self.EVIL)
        cr = self.EVIL.replace("\n", "\r")
        body = policy_text(mx=["mx1.evil.test"])
        net.publish("evil0.test")
        net.record("evil0.test", f"v=STSv1; id={escaped}")
        net.publish("evil1.test")
        net.record("evil1.test", f"v=STSv1{escaped}; id=1;")
        net.publish("evil2.test", ok(body + f"x: a{cr}".encode()))
        net.publish("evil3.test", ok(body.replace(b"mx1", f"mx1{cr}".encode())))
        net.publish("evil4.test", reply(200, body, content_type=f"text/x\x1b[2J{cr}"))
        net.publish("evil5.test", reply(200, body, content_type="text/x\x85 \xff y=z"))
        net.publish("evil6.test", b"HTTP/1.1 200 \x1b[2J\r\nA\x0b: b\r\n\r\n")
        log = {"log": {"level": "debug", "format": form}}
        async with process(folder, net.config(folder, log)) as served:
            await served.start()
            for number in range(7):
                assert await told(served, f"evil{number}.test") == NOT_FOUND
            for key in ("good.test" + self.EVIL, "x\x1b[2Jy.test", "b\u00fc\u2028cher.test"):
                assert await served.ask(key, "postfix") == NOT_FOUND[0]
            net.publish("good.test")
            await served.ask("good.test", "a\x1bmap=name")
            async with connected(served.tcp_table) as client:
                client.send(b"put x" + self.EVIL.encode() + b"\n")
                assert (await client.line()).startswith(b"400 ")
            async with connected(served.socketmap) as client:
                client.send(self.EVIL.encode())
                assert (await client.netstring()).startswith(b"TEMP ")
            assert await served.stop() == 0
            return served.log.splitlines()

    async def test_text(self, net: Internet, tmp_path: Path) -> None:
        """Every line of the text log is ours, printable, and about who it says."""
        lines = await self.attacked(net, tmp_path, "text")
        begin = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) "
        for line in lines:
            assert re.match(begin, line)
            assert re.fullmatch(r"[ -~]+", line)
            assert not re.match(begin + "victim", line)
        for number in range(7):
            assert any(f" evil{number}.test: no policy " in line for line in lines)

    async def test_json(self, net: Internet, tmp_path: Path) -> None:
        """Every line of the JSON log is one object, about who it says."""
        records = [json.loads(line) for line in await self.attacked(net, tmp_path, "json")]
        fetched = [r["domain"] for r in records if r["event"] == "policy fetched"]
        assert fetched == ["good.test"]
        failed = {r["domain"] for r in records if r["event"] == "no policy"}
        assert failed == {f"evil{number}.test" for number in range(7)}


async def settled() -> None:
    """Let an attempt that has its answer come to its end."""
    while tasks := [t for t in asyncio.all_tasks() if t.get_name().startswith("attempt")]:
        await asyncio.wait(tasks)
