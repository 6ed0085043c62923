"""Attacks through the text of a policy or of a key: the reply keeps its form."""

from urllib.parse import unquote_to_bytes

import pytest

from tests.support.attacks import (
    NOT_FOUND,
    SECURE,
    attributes,
    check_attributes,
    replies_to,
)
from tests.support.clients import connected, request
from tests.support.daemons import RunningDaemon
from tests.support.internet import Internet
from tests.support.policy_host import (
    ok,
    policy_text,
)


class TestAttributeInjection:
    """A policy cannot add attributes to the reply."""

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
        """One mx that is not a host name, even beside valid ones, makes the policy invalid."""
        body = policy_text(mx=["mx1.evil.test", mx, "mx2.evil.test"])
        net.publish("evil.test", ok(body))
        assert await replies_to(running, "evil.test") == NOT_FOUND
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
        """An unknown field becomes at most one whole policy_string, or is left out."""
        for name in ("x", "policy_failure"):
            domain = f"{name.replace('_', '-')}.evil.test"
            field = f"{name}: {value}\r\n".encode()
            net.publish(domain, ok(policy_text(mx=[f"mx1.{domain}"]) + field))
            plain, tlsrpt, on_tcp, on_tcp_tlsrpt = await replies_to(running, domain)
            secure = f"secure match=mx1.{domain} servername=hostname".encode()
            assert (plain, on_tcp) == (b"OK " + secure, b"200 " + secure)
            check_attributes(tlsrpt.removeprefix(b"OK "), domain)
            check_attributes(on_tcp_tlsrpt.removeprefix(b"200 "), domain)

    @pytest.mark.parametrize("value", ["a\rb: c", "a\x00b", "a\x0cb", "a\x1bb", "a\x7fb", ""])
    async def test_through_control_characters(
        self, net: Internet, running: RunningDaemon, value: str
    ) -> None:
        """A field with a control character makes the policy invalid."""
        net.publish("evil.test", ok(policy_text(mx=["mx1.evil.test"]) + f"x: {value}".encode()))
        assert await replies_to(running, "evil.test") == NOT_FOUND

    async def test_through_the_key(self, net: Internet, running: RunningDaemon) -> None:
        """The text of a recipient's domain appears in no reply."""
        net.publish("evil.test")
        for key in (
            "evil.test servername=victim.test",
            "evil.test,match=victim.test",
            "[evil.test] match=victim.test",
            "evil.test:25 match=x",
            "evil.test}",
            "postfix evil.test",
        ):
            assert await replies_to(running, key.replace(" ", "%20")) == NOT_FOUND
            assert await running.ask(key) == NOT_FOUND[0]
        assert net.dns.queries.total == 0


class TestCharsetSmuggling:
    """A body is read as UTF-8, whatever charset its header declares."""

    @pytest.mark.parametrize("charset", ["utf-16", "utf-16-le", "utf-32", "cp037", "utf-7"])
    async def test_whole_bodies(self, net: Internet, running: RunningDaemon, charset: str) -> None:
        """A policy in another encoding is invalid."""
        text = "version: STSv1\nmode: enforce\nmx: mx1.evil.test\nmax_age: 9\nx: \u00e4{~}\n"
        body = text.encode(charset)
        if charset == "utf-7":  # ASCII, except between + and -
            body = body.replace(b"mx1", b"+AG0AeAAx-")
        net.publish("evil.test", ok(body, f"text/plain; charset={charset}"))
        assert await replies_to(running, "evil.test") == NOT_FOUND

    @pytest.mark.parametrize(
        "charset", ["utf-7", "utf-16", "unicode_escape", "rot13", "idna", "zlib", "no-such-codec"]
    )
    async def test_declared_charsets(
        self, net: Internet, running: RunningDaemon, charset: str
    ) -> None:
        """A declared charset changes no character of the reply."""
        field = rb"x: a+AH0-\x7d\u007d\n+AH0 cbyvpl_snvyher=k" + b"\r\n"
        body = policy_text(mx=["mx1.evil.test"]) + field
        net.publish("evil.test", ok(body, f"text/plain; charset={charset}"))
        plain, tlsrpt, *_ = await replies_to(running, "evil.test")
        assert plain == b"OK " + SECURE
        check_attributes(tlsrpt.removeprefix(b"OK "), "evil.test")
        assert field.strip() in dict.fromkeys(value for _, value in attributes(tlsrpt[3:]))

    async def test_latin_1(self, net: Internet, running: RunningDaemon) -> None:
        """A body that is not UTF-8 is invalid; no other encoding is tried."""
        body = policy_text(mx=["mx1.evil.test"]) + b"x: \xe4\n"
        net.publish("evil.test", ok(body, "text/plain; charset=iso-8859-1"))
        assert await replies_to(running, "evil.test") == NOT_FOUND


class TestFrameSmuggling:
    """One request has one reply: an attacker cannot add another request or reply."""

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
        """A netstring inside a netstring is part of the key, which is not a domain then."""
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
        """An encoded line end is part of the key, which is not a domain then."""
        net.publish("evil.test")
        async with connected(running.tcp_table) as client:
            client.send(b"get " + key + b"\nget evil.test\n")
            assert await client.line() == b"500 not%20found"
            assert unquote_to_bytes(await client.line()) == b"200 " + SECURE
        assert net.gets("evil.test") == 1

    async def test_frames_in_a_policy(self, net: Internet, running: RunningDaemon) -> None:
        """Text in a policy that looks like a reply does not end the reply that contains it."""
        smuggled = b"x: a,9:OK secure,10:NOTFOUND x, 200 secure\r\n"
        net.publish("evil.test", ok(policy_text(mx=["mx1.evil.test"]) + smuggled))
        async with connected(running.socketmap) as client:
            for _ in range(2):
                check_attributes(
                    (await client.ask("evil.test", "QUERYwithTLSRPT"))[3:], "evil.test"
                )
            assert await client.ask("evil.test") == b"OK " + SECURE
        async with connected(running.tcp_table_tlsrpt) as client:
            for _ in range(2):
                check_attributes(unquote_to_bytes(await client.get("evil.test"))[4:], "evil.test")

    async def test_policy_longer_than_a_reply(self, net: Internet, running: RunningDaemon) -> None:
        """A policy too long for a reply loses its policy_string, not its hosts."""
        body = policy_text(mx=["mx1.evil.test"]) + b"x: %\r\n" * 10_000
        net.publish("evil.test", ok(body))
        for _ in range(2):
            plain, tlsrpt, on_tcp, on_tcp_tlsrpt = await replies_to(running, "evil.test")
            assert (plain, on_tcp) == (b"OK " + SECURE, b"200 " + SECURE)
            check_attributes(tlsrpt[3:], "evil.test")
            check_attributes(on_tcp_tlsrpt[4:], "evil.test")
            assert b"policy_string" not in tlsrpt + on_tcp_tlsrpt

    async def test_more_hosts_than_fit_into_a_line(
        self, net: Internet, running: RunningDaemon
    ) -> None:
        """If the hosts do not fit either, mail is deferred, not sent without them."""
        names = [f"mx{number:020}.evil.test" for number in range(200)]
        net.publish("evil.test", ok(policy_text(mx=names)))
        assert await running.ask("evil.test") == (
            b"OK secure match=" + ":".join(names).encode() + b" servername=hostname"
        )
        on_tcp = unquote_to_bytes(await running.get("evil.test"))
        assert on_tcp == b"400 the TLS policy is too long for this protocol"
