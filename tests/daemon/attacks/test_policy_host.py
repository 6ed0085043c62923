"""Attacks by a Policy Host, and with the policy of another domain."""

import gzip
from pathlib import Path

import pytest

from tests.support.attacks import (
    NOT_FOUND,
    SECURE,
    replies_to,
)
from tests.support.daemons import RunningDaemon, daemon
from tests.support.dns import Records
from tests.support.internet import Internet
from tests.support.policy_host import (
    chunked,
    drip,
    endless,
    ok,
    policy_text,
    reply,
)


class TestBodies:
    """A Policy Host cannot make the daemon decompress, read for ever or follow a redirect."""

    async def test_decompression(self, net: Internet, running: RunningDaemon) -> None:
        """Of a compressed body only 64 KiB are read, and none that is not declared, or not so."""
        body = policy_text(mx=["mx1.evil.test"])
        bomb = gzip.compress(body + b"\r\n" * 5_000_000)
        net.publish("a.test", ok(gzip.compress(body), content_encoding="gzip"))
        net.publish("b.test", ok(gzip.compress(body)))
        net.publish("c.test", ok(bomb, content_encoding="gzip"))
        net.publish("d.test", ok(body, content_encoding="gzip"))
        head = ok(b"", content_length="", transfer_encoding="gzip, chunked")
        packed = gzip.compress(body)
        net.publish("e.test", head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(packed), packed))
        for domain in ("b.test", "c.test", "d.test", "e.test"):
            assert await replies_to(running, domain) == NOT_FOUND
        assert await replies_to(running, "a.test") != NOT_FOUND

    @pytest.mark.parametrize("length", ["", "99999999", "9" * 30])
    async def test_endless(self, net: Internet, running: RunningDaemon, length: str) -> None:
        """An endless body is dropped at 64 KiB; its valid beginning is not used."""
        coding = "" if length else "chunked"
        head = ok(b"", content_length=length, transfer_encoding=coding)
        body = policy_text(mx=["mx1.evil.test"])
        start = head + (body if length else b"%x\r\n%b\r\n" % (len(body), body))
        block = b"x: y\n" * 20_000 if length else b"186a0\r\n%b\r\n" % (b"x: y\n" * 20_000)
        net.publish("evil.test", endless(start, block))
        assert await replies_to(running, "evil.test") == NOT_FOUND
        await net.hosts.closed.reached("mta-sts.evil.test")

    async def test_dripping(self, net: Internet, tmp_path: Path) -> None:
        """A slow body is dropped when the time for the GET is over."""
        head = ok(policy_text(mx=["mx1.evil.test"]), content_length="60000")
        net.publish("evil.test", drip(head, b"\n"))
        async with daemon(net, tmp_path, changes={"https": {"timeout": "3s"}}) as running:
            assert await replies_to(running, "evil.test") == NOT_FOUND
            await net.hosts.closed.reached("mta-sts.evil.test")

    async def test_cut_short(self, net: Internet, running: RunningDaemon) -> None:
        """A policy whose last lines were cut off is invalid."""
        body = policy_text(mx=["mx1.evil.test", "mx2.evil.test"])
        net.publish("a.test", ok(body, content_length=str(len(body) + 1)))
        net.publish("b.test", chunked(body, end=b""))
        for domain in ("a.test", "b.test"):
            assert await replies_to(running, domain) == NOT_FOUND

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirect_to_a_good_policy(
        self, net: Internet, running: RunningDaemon, status: int
    ) -> None:
        """A redirect is not followed, not even to a valid policy."""
        net.publish("good.test")
        location = f"https://mta-sts.good.test:{net.hosts.port}/.well-known/mta-sts.txt"
        body = policy_text(mx=["mx1.evil.test"])
        net.publish("evil.test", reply(status, body, location=location, content_type="text/plain"))
        assert await replies_to(running, "evil.test") == NOT_FOUND
        assert (net.gets("evil.test"), net.gets("good.test")) == (1, 0)


class TestForeignPolicies:
    """A policy is only used if it comes from the domain that it is for."""

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
        """The daemon does not connect to a Policy Host at a private address."""
        net.publish("evil.test")
        del net.dns.zone["mta-sts.evil.test A"]
        net.dns.zone |= {f"mta-sts.evil.test {kind}": data for kind, data in addresses.items()}
        strict = {"https": {"allow_private_addresses": False}}
        async with daemon(net, tmp_path, changes=strict) as running:
            assert await replies_to(running, "evil.test") == NOT_FOUND
        assert net.hosts.connections.total == 0

    async def test_second_answer_of_the_dns(self, net: Internet, running: RunningDaemon) -> None:
        """Each GET looks up the address once: a second, different answer is never used."""
        net.publish("evil.test")
        net.dns.zone["mta-sts.evil.test A"] = Records(["127.0.0.1"], ttl=0)
        assert (await replies_to(running, "evil.test"))[0] == b"OK " + SECURE
        queries = [net.dns.queries["mta-sts.evil.test", kind] for kind in ("A", "AAAA")]
        assert (queries, net.hosts.connections.total) == ([1, 1], 1)

    async def test_certificate_for_another_name(
        self, net: Internet, running: RunningDaemon
    ) -> None:
        """A certificate for the attacker's own names is refused for another domain."""
        issue = net.hosts.authority.issue
        for number, names in enumerate(
            [("mta-sts.evil.test",), ("victim.test",), ("*.test",), ("*.*.victim.test",), ()]
        ):
            domain = f"victim{number}.test"
            net.publish(domain)
            credential = issue(*names, common_name=f"mta-sts.{domain}")
            net.hosts.credentials[f"mta-sts.{domain}"] = credential
            assert await replies_to(running, domain) == NOT_FOUND
        assert net.hosts.gets.total == 0

    async def test_certificate_of_the_provider(self, net: Internet, running: RunningDaemon) -> None:
        """The certificate must name the Policy Host itself, not the target of its CNAME."""
        net.publish("victim.test")
        del net.dns.zone["mta-sts.victim.test A"]
        net.dns.zone["mta-sts.victim.test CNAME"] = ["host.provider.test."]
        net.dns.zone["host.provider.test A"] = ["127.0.0.1"]
        provider = net.hosts.authority.issue("host.provider.test")
        net.hosts.credentials["mta-sts.victim.test"] = provider
        assert await replies_to(running, "victim.test") == NOT_FOUND

    async def test_policy_of_the_parent(self, net: Internet, running: RunningDaemon) -> None:
        """A parent's policy is not used for a subdomain; the parent is never queried."""
        net.publish("good.test")
        for key in ("sub.good.test", ".good.test", ".test", ".sub.good.test"):
            assert await replies_to(running, key) == NOT_FOUND
        assert net.queries("sub.good.test") == 1
        assert net.queries("good.test") == net.queries("test") == 0

    async def test_policy_of_the_child(self, net: Internet, running: RunningDaemon) -> None:
        """A subdomain's policy is not used for the parent, or for a domain that it names."""
        net.publish("sub.good.test", ok(policy_text(mx=["*.good.test", "mx1.victim.test"])))
        assert (await replies_to(running, "sub.good.test"))[0].startswith(b"OK secure")
        assert await replies_to(running, "good.test") == NOT_FOUND
        assert await replies_to(running, "victim.test") == NOT_FOUND
