"""The GET of a policy: the request, the response, and that nothing is remembered."""

import asyncio
from pathlib import Path

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    FetchError,
    InvalidPolicyError,
    MediaTypeError,
    StatusError,
)
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.network.https import PolicyFetcher, policy_url
from postfix_mta_sts.network.trace import FetchTrace
from tests.support.fetchers import (
    GOOD,
    HOST,
    POLICY,
    Fetchers,
    failure,
)
from tests.support.policy_host import (
    PolicyHost,
    chunked,
    ok,
    policy_text,
    reply,
    then_silence,
)
from tests.support.tls import Authority

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestGet:
    """The request, and responses that are accepted."""

    async def test_url(self) -> None:
        """The URL is the well-known one; port 443 is not written."""
        assert policy_url(GOOD) == "https://mta-sts.good.test/.well-known/mta-sts.txt"

    async def test_policy(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A policy takes one connection, one look-up of the address and one GET."""
        assert await fetcher.fetch(GOOD) == parse_policy(POLICY)
        assert (host.connections.total, host.lookups[HOST], host.gets.total) == (1, 1, 1)

    async def test_exact_request(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """The request has exactly these fields."""
        await fetcher.fetch_body(GOOD)
        (request,) = host.requests
        assert request.line == "GET /.well-known/mta-sts.txt HTTP/1.1"
        assert request.fields == {
            "host": f"{HOST}:{host.port}",
            "user-agent": f"postfix-mta-sts/{__version__}",
            "accept": "text/plain",
            "accept-encoding": "identity",
            "connection": "close",
        }

    async def test_a_labels(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """SNI, Host and certificate of an internationalized domain have A-labels."""
        host.answers["mta-sts.xn--bcher-kva.test"] = ok(POLICY)
        await fetcher.fetch_body(Domain("xn--bcher-kva.test"))
        (request,) = host.requests
        assert request.sni == "mta-sts.xn--bcher-kva.test"
        assert request.fields["host"].startswith("mta-sts.xn--bcher-kva.test:")

    async def test_chunked_body(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """The chunks of a body are joined."""
        host.answers[HOST] = chunked(POLICY[:5], POLICY[5:])
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_body_of_exactly_64_kib(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A body as long as the limit is accepted."""
        host.answers[HOST] = ok(b"x" * MAX_BODY_SIZE)
        assert len(await fetcher.fetch_body(GOOD)) == MAX_BODY_SIZE

    async def test_empty_body(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """An empty file is retrieved, but is not a valid policy."""
        host.answers[HOST] = ok(b"", content_length="0")
        assert await failure(fetcher, InvalidPolicyError) == "no version field"

    async def test_invalid_policy(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """`fetch` raises the error of the parser."""
        host.answers[HOST] = ok(b"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n")
        assert (await failure(fetcher, InvalidPolicyError)).startswith("line 3: mx:")

    async def test_informational_responses_are_skipped(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """103 Early Hints before the response are skipped."""
        host.answers[HOST] = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(POLICY)
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_http_1_0(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A response in HTTP/1.0 is accepted if it has a Content-Length."""
        host.answers[HOST] = ok(POLICY).replace(b"HTTP/1.1", b"HTTP/1.0")
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_trace(
        self, fetcher: PolicyFetcher, host: PolicyHost, authority: Authority
    ) -> None:
        """The trace records each step of a GET."""
        host.credentials[HOST] = authority.issue(HOST, "*.good.test")
        seen = FetchTrace()
        await fetcher.fetch_body(GOOD, seen)
        assert seen.url == policy_url(GOOD, host.port)
        assert seen.address == "127.0.0.1"
        assert seen.tls_version == "TLSv1.3"
        assert seen.certificate
        assert seen.certificate.names == (f"DNS:{HOST}", "DNS:*.good.test")
        assert seen.certificate.issuer == "Test CA"
        assert seen.certificate.not_after.endswith(" GMT")
        assert (seen.status, seen.media_type, seen.size) == (200, "text/plain", len(POLICY))

    async def test_trace_of_a_failed_get(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """The trace of a failed GET has the steps that were reached."""
        host.answers[HOST] = reply(404, content_type="text/html")
        seen = FetchTrace()
        with pytest.raises(StatusError):
            await fetcher.fetch_body(GOOD, seen)
        assert (seen.status, seen.media_type, seen.size) == (404, "text/html", None)

    @pytest.mark.parametrize(
        ("location", "seen"),
        [
            ("https://www.good.test/", "https://www.good.test/"),
            ("/\x1b[31m\xe9", r"/\x1b[31m\xe9"),
            ("/" + "x" * 5000, "/" + "x" * 196 + "..."),
            ("", None),
        ],
    )
    async def test_trace_of_a_redirect(
        self, fetcher: PolicyFetcher, host: PolicyHost, location: str, seen: str | None
    ) -> None:
        """The trace has where a redirect leads, printable and cut."""
        host.answers[HOST] = reply(301, location=location)
        trace = FetchTrace()
        with pytest.raises(StatusError):
            await fetcher.fetch_body(GOOD, trace)
        assert trace.location == seen

    @pytest.mark.parametrize(("date", "seen"), [("Fri\x1b", r"Fri\x1b"), ("", None)])
    async def test_trace_of_the_time(
        self, fetcher: PolicyFetcher, host: PolicyHost, date: str, seen: str | None
    ) -> None:
        """The trace has the field Date, also of a response that is refused."""
        host.answers[HOST] = reply(404, date=date)
        trace = FetchTrace()
        with pytest.raises(StatusError):
            await fetcher.fetch_body(GOOD, trace)
        assert trace.date == seen

    async def test_many_in_parallel(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Each of many parallel GETs gets its own response."""
        domains = [Domain(f"d{n}.test") for n in range(30)]
        for domain in domains:
            host.answers[f"mta-sts.{domain}"] = ok(domain.encode())
        bodies = await asyncio.gather(*map(fetcher.fetch_body, domains))
        assert bodies == [domain.encode() for domain in domains]


class TestNothingIsReused:
    """No GET depends on an earlier one."""

    async def test_no_http_cache(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Fields about caching in a response do not change the next GET (RFC 8461 §3.3)."""
        host.answers[HOST] = ok(POLICY, cache_control="max-age=9999", etag='"1"', age="1")
        await fetcher.fetch_body(GOOD)
        host.answers[HOST] = ok(policy_text("none"))
        assert await fetcher.fetch_body(GOOD) == policy_text("none")
        assert host.requests[0] == host.requests[1]

    async def test_no_cookies(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A cookie is not sent back."""
        host.answers[HOST] = ok(POLICY, set_cookie="id=1; Path=/")
        await fetcher.fetch_body(GOOD)
        await fetcher.fetch_body(GOOD)
        assert "cookie" not in host.requests[1].fields

    async def test_no_connection_is_reused(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """No connection is reused, so no GET fails because an old connection was closed."""
        host.answers[HOST] = then_silence(ok(POLICY, connection="keep-alive"))
        await fetcher.fetch_body(GOOD)
        await host.closed.reached(HOST)
        await fetcher.fetch_body(GOOD)
        assert host.connections.total == 2

    async def test_no_environment(
        self, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Proxy variables, .netrc and key logging of the environment have no effect."""
        netrc = tmp_path / "netrc"
        netrc.write_text("default login user password secret")
        key_log = tmp_path / "keys"
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
        assert await fetchers().fetch_body(GOOD) == POLICY
        assert not key_log.exists()


class TestHead:
    """Responses that are refused for their head."""

    @pytest.mark.parametrize("status", [204, 206, 304, 400, 404, 410, 429, 500, 503])
    async def test_only_status_200_is_accepted(
        self, fetcher: PolicyFetcher, host: PolicyHost, status: int
    ) -> None:
        """Any other status is an error, also with a policy as the body (RFC 8461 §3.3)."""
        body = b"" if status in {204, 304} else POLICY
        host.answers[HOST] = reply(status, body, content_type="text/plain")
        assert await failure(fetcher, StatusError) == f"HTTP {status}"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirects_are_never_followed(
        self, fetcher: PolicyFetcher, host: PolicyHost, status: int
    ) -> None:
        """A redirect is an error, also to another path of the same host."""
        location = f"https://{HOST}:{host.port}/policy\x1b[31m"
        host.answers[HOST] = reply(status, POLICY, content_type="text/plain", location=location)
        reason = await failure(fetcher, StatusError)
        assert reason == f"HTTP {status}: redirects are not followed"
        assert (host.gets.total, host.connections.total, host.lookups.total) == (1, 1, 1)

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "TEXT/Plain", "text/plain ; format=flowed", "text/plain;"]
    )
    async def test_plain_text(
        self, fetcher: PolicyFetcher, host: PolicyHost, media_type: str
    ) -> None:
        """text/plain is accepted in any case and with any parameters."""
        host.answers[HOST] = ok(POLICY, media_type)
        assert await fetcher.fetch_body(GOOD) == POLICY

    @pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "text/plainx"])
    async def test_other_media_types(
        self, fetcher: PolicyFetcher, host: PolicyHost, media_type: str
    ) -> None:
        """Any other media type is refused: on shared web hosts, users upload such files."""
        host.answers[HOST] = ok(POLICY, media_type)
        reason = await failure(fetcher, MediaTypeError)
        assert reason == f"Content-Type is not text/plain: '{media_type}'"

    async def test_no_media_type(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A response without a media type is refused."""
        host.answers[HOST] = reply(200, POLICY)
        assert await failure(fetcher, MediaTypeError) == "no Content-Type header"

    async def test_control_characters_of_a_head_are_not_repeated(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """A reason is printable ASCII whatever the Policy Host sends."""
        host.answers[HOST] = ok(POLICY, "text/\x9bhtml\xe9")
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch(GOOD)
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()


class TestCharsetSmuggling:
    """The server cannot choose how a body is decoded."""

    @pytest.mark.parametrize("charset", ["utf-16", "utf-7", "cp037", "rot13", "no-such-codec"])
    async def test_the_charset_selects_no_codec(
        self, fetcher: PolicyFetcher, host: PolicyHost, charset: str
    ) -> None:
        """The body is decoded as UTF-8, whatever the charset parameter says."""
        host.answers[HOST] = ok(POLICY, f"text/plain; charset={charset}")
        assert await fetcher.fetch(GOOD) == parse_policy(POLICY)

    async def test_a_policy_in_utf_16_is_invalid(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """A policy in UTF-16 is invalid, also with the right charset parameter."""
        host.answers[HOST] = ok(POLICY.decode().encode("utf-16"), "text/plain; charset=utf-16")
        assert "not UTF-8" in await failure(fetcher, InvalidPolicyError)
