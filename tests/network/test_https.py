"""The GET of a policy, against Policy Hosts that do everything wrong that can be done wrong."""

import asyncio
import contextlib
import gzip
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    DeadlineError,
    FetchError,
    ForbiddenAddressError,
    HostNotFoundError,
    IncompleteError,
    InvalidPolicyError,
    MediaTypeError,
    ResultType,
    StatusError,
    TlsError,
    TooLargeError,
    UnreachableError,
)
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.response import SIZE_MOST
from postfix_mta_sts.network.https import PolicyFetcher, policy_url
from postfix_mta_sts.network.slots import Slot
from postfix_mta_sts.network.trace import FetchTrace
from tests.support.policy_host import (
    PolicyHost,
    Script,
    black_hole,
    chunked,
    drip,
    endless,
    ok,
    policy_text,
    reply,
    silence,
    then_abort,
    then_silence,
)
from tests.support.proxy import ConnectProxy
from tests.support.tls import EXPIRED, NOT_YET_VALID, Authority, Credential, self_signed

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])

GOOD = Domain("good.test")
OTHER = Domain("other.test")
HOST = "mta-sts.good.test"
POLICY = policy_text()


@pytest.fixture(scope="module")
def authority() -> Authority:
    """The CA of all Policy Hosts here."""
    return Authority()


@pytest.fixture(scope="module")
def ca_file(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That CA as the configuration names it."""
    return authority.write(tmp_path_factory.mktemp("ca"))


@pytest.fixture
async def host(authority: Authority) -> AsyncIterator[PolicyHost]:
    """A Policy Host for every name, with a good policy for two domains."""
    async with PolicyHost(authority) as host:
        host.answers[HOST] = ok(POLICY)
        host.answers["mta-sts.other.test"] = ok(POLICY)
        yield host


class Fetchers:
    """Makes fetchers for one Policy Host, and closes them in the end."""

    def __init__(self, host: PolicyHost, ca_file: Path) -> None:
        self._host = host
        self._authorities = ca_file.read_text()
        self._made: list[PolicyFetcher] = []

    def __call__(self, **settings: object) -> PolicyFetcher:
        """A fetcher that reaches the host, whatever the `settings` (by name) say else."""
        given = {
            "addresses": self._host.addresses,
            "port": self._host.port,
            "authorities": self._authorities,
            "allow_private_addresses": True,
            **settings,
        }
        fetcher = PolicyFetcher(**given)  # type: ignore[arg-type] # each test gives the right ones
        self._made.append(fetcher)
        return fetcher

    async def close(self) -> None:
        """Close them all."""
        for fetcher in self._made:
            await fetcher.close()


@pytest.fixture
async def fetchers(host: PolicyHost, ca_file: Path) -> AsyncIterator[Fetchers]:
    """Fetchers by their settings."""
    fetchers = Fetchers(host, ca_file)
    yield fetchers
    await fetchers.close()


@pytest.fixture
def fetcher(fetchers: Fetchers) -> PolicyFetcher:
    """The ordinary fetcher."""
    return fetchers()


async def failure(fetcher: PolicyFetcher, error: type[FetchError]) -> str:
    """The reason for which the good domain's policy cannot be had."""
    with pytest.raises(error) as caught:
        await fetcher.fetch(GOOD)
    assert type(caught.value) is error
    return str(caught.value)


class TestGet:
    """The one request, and an answer that is as it should be."""

    async def test_url(self) -> None:
        """The well-known place, at port 443 without saying so."""
        assert policy_url(GOOD) == "https://mta-sts.good.test/.well-known/mta-sts.txt"

    async def test_policy(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A good policy is had by one connection, one look-up and one GET."""
        assert await fetcher.fetch(GOOD) == parse_policy(POLICY)
        assert (host.connections.total, host.lookups[HOST], host.gets.total) == (1, 1, 1)

    async def test_request_to_the_letter(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """It says what is wanted and who asks, and not a word more."""
        await fetcher.body(GOOD)
        (request,) = host.requests
        assert request.line == "GET /.well-known/mta-sts.txt HTTP/1.1"
        assert request.fields == {
            "host": f"{HOST}:{host.port}",
            "user-agent": f"postfix-mta-sts/{__version__}",
            "accept": "text/plain",
            "accept-encoding": "identity",
            "connection": "close",
        }

    async def test_a_labels_everywhere(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Of an IDN domain the A-labels stand in SNI, Host and certificate."""
        host.answers["mta-sts.xn--bcher-kva.test"] = ok(POLICY)
        await fetcher.body(Domain("xn--bcher-kva.test"))
        (request,) = host.requests
        assert request.sni == "mta-sts.xn--bcher-kva.test"
        assert request.fields["host"].startswith("mta-sts.xn--bcher-kva.test:")

    async def test_chunked_body(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Chunks are put together."""
        host.answers[HOST] = chunked(POLICY[:5], POLICY[5:])
        assert await fetcher.body(GOOD) == POLICY

    async def test_body_of_exactly_64_kib(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """The limit itself is allowed."""
        host.answers[HOST] = ok(b"x" * SIZE_MOST)
        assert len(await fetcher.body(GOOD)) == SIZE_MOST

    async def test_empty_body(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """An empty file is retrieved, and is no policy."""
        host.answers[HOST] = ok(b"", content_length="0")
        assert await failure(fetcher, InvalidPolicyError) == "no version field"

    async def test_invalid_policy(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """What the parser says of a policy is what fetch raises."""
        host.answers[HOST] = ok(b"version: STSv1\nmode: enforce\nmx: *\nmax_age: 1\n")
        assert (await failure(fetcher, InvalidPolicyError)).startswith("line 3: mx:")

    async def test_informational_responses_are_passed_over(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """103 Early Hints before the response change nothing."""
        host.answers[HOST] = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ok(POLICY)
        assert await fetcher.body(GOOD) == POLICY

    async def test_http_1_0(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """An old server will do, if it says how long its body is."""
        host.answers[HOST] = ok(POLICY).replace(b"HTTP/1.1", b"HTTP/1.0")
        assert await fetcher.body(GOOD) == POLICY

    async def test_what_was_seen(
        self, fetcher: PolicyFetcher, host: PolicyHost, authority: Authority
    ) -> None:
        """Each step of a GET can be told afterwards."""
        host.credentials[HOST] = authority.issue(HOST, "*.good.test")
        seen = FetchTrace()
        await fetcher.body(GOOD, seen)
        assert seen.url == policy_url(GOOD, host.port)
        assert seen.address == "127.0.0.1"
        assert seen.tls_version == "TLSv1.3"
        assert seen.certificate
        assert seen.certificate.names == (f"DNS:{HOST}", "DNS:*.good.test")
        assert seen.certificate.issuer == "Test CA"
        assert seen.certificate.not_after.endswith(" GMT")
        assert (seen.status, seen.media_type, seen.size) == (200, "text/plain", len(POLICY))

    async def test_what_was_seen_before_it_failed(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """A failed GET leaves what was seen until then."""
        host.answers[HOST] = reply(404, content_type="text/html")
        seen = FetchTrace()
        with pytest.raises(StatusError):
            await fetcher.body(GOOD, seen)
        assert (seen.status, seen.media_type, seen.size) == (404, "text/html", None)

    async def test_many_at_once(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """GETs do not mix: each gets its own answer."""
        domains = [Domain(f"d{n}.test") for n in range(30)]
        for domain in domains:
            host.answers[f"mta-sts.{domain}"] = ok(domain.encode())
        bodies = await asyncio.gather(*map(fetcher.body, domains))
        assert bodies == [domain.encode() for domain in domains]


class TestNothingIsRemembered:
    """No GET knows of another."""

    async def test_no_http_cache(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Whatever the answer said of caching, the next GET is as the first (RFC 8461 §3.3)."""
        host.answers[HOST] = ok(POLICY, cache_control="max-age=9999", etag='"1"', age="1")
        await fetcher.body(GOOD)
        host.answers[HOST] = ok(policy_text("none"))
        assert await fetcher.body(GOOD) == policy_text("none")
        assert host.requests[0] == host.requests[1]

    async def test_no_cookies(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A cookie does not come back."""
        host.answers[HOST] = ok(POLICY, set_cookie="id=1; Path=/")
        await fetcher.body(GOOD)
        await fetcher.body(GOOD)
        assert "cookie" not in host.requests[1].fields

    async def test_no_connection_is_kept(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Keep-alive is not taken up, so that no GET is lost with an old connection."""
        host.answers[HOST] = then_silence(ok(POLICY, connection="keep-alive"))
        await fetcher.body(GOOD)
        await host.closed.reached(HOST)
        await fetcher.body(GOOD)
        assert host.connections.total == 2

    async def test_no_environment(
        self, fetchers: Fetchers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Proxy variables, .netrc and key logging of the environment are not for us."""
        netrc = tmp_path / "netrc"
        netrc.write_text("default login user password secret")
        key_log = tmp_path / "keys"
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
        monkeypatch.setenv("NETRC", str(netrc))
        monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
        assert await fetchers().body(GOOD) == POLICY
        assert not key_log.exists()


class TestCertificate:
    """Whom we speak with (RFC 8461 §3.3)."""

    @pytest.mark.parametrize("name", [HOST, "*.good.test", "MTA-STS.good.TEST"])
    async def test_names_that_fit(
        self, fetcher: PolicyFetcher, host: PolicyHost, authority: Authority, name: str
    ) -> None:
        """The name itself, in any case, or a wildcard for its left-most label."""
        host.credentials[HOST] = authority.issue(name)
        assert await fetcher.body(GOOD) == POLICY

    @pytest.mark.parametrize(
        ("names", "addresses", "common_name"),
        [
            (("good.test",), (), ""),
            (("mta-sts.provider.test",), (), ""),
            (("*.test",), (), ""),
            (("*.mta-sts.good.test",), (), ""),
            (("mta-*.good.test",), (), ""),
            (("*",), (), ""),
            ((), (), HOST),
            (("other.test",), (), HOST),
            ((), ("127.0.0.1",), HOST),
        ],
        ids=[
            "parent",
            "provider",
            "two labels by a wildcard",
            "wildcard below",
            "partial wildcard",
            "bare wildcard",
            "common name alone",
            "common name beside another SAN",
            "IP address",
        ],
    )
    async def test_names_that_do_not_fit(
        self,
        fetcher: PolicyFetcher,
        host: PolicyHost,
        authority: Authority,
        names: tuple[str, ...],
        addresses: tuple[str, ...],
        common_name: str,
    ) -> None:
        """Only a DNS-ID counts, and `*` only for the whole left-most label."""
        host.credentials[HOST] = authority.issue(
            *names, addresses=addresses, common_name=common_name
        )
        reason = await failure(fetcher, CertificateError)
        assert reason == f"Hostname mismatch, certificate is not valid for '{HOST}'"
        assert host.gets.total == 0

    @pytest.mark.parametrize(
        ("credential", "reason"),
        [
            (lambda ca: ca.issue(HOST, valid=EXPIRED), "certificate has expired"),
            (lambda ca: ca.issue(HOST, valid=NOT_YET_VALID), "certificate is not yet valid"),
            (lambda _: self_signed(HOST), "self-signed certificate"),
            (lambda _: Authority().issue(HOST), "unable to get local issuer certificate"),
        ],
        ids=["expired", "not yet valid", "self-signed", "unknown authority"],
    )
    async def test_not_to_be_trusted(
        self,
        fetcher: PolicyFetcher,
        host: PolicyHost,
        authority: Authority,
        credential: Callable[[Authority], Credential],
        reason: str,
    ) -> None:
        """OpenSSL's reason is told, and the result is sts-webpki-invalid."""
        host.credentials[HOST] = credential(authority)
        assert await failure(fetcher, CertificateError) == reason
        assert host.gets.total == 0
        assert CertificateError.result is ResultType.WEBPKI_INVALID

    async def test_authorities_of_the_system(self, fetchers: Fetchers) -> None:
        """Where none are given the system's authorities count, and ours is none of them."""
        reason = await failure(fetchers(authorities=None), CertificateError)
        assert "certificate" in reason


class TestTls:
    """No TLS session at all."""

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
    async def test_old_tls(self, authority: Authority, ca_file: Path) -> None:
        """Below TLS 1.2 there is no policy (RFC 8461 §7.2)."""
        async with PolicyHost(authority, maximum=ssl.TLSVersion.TLSv1_1) as old:
            fetchers = Fetchers(old, ca_file)
            with pytest.raises((TlsError, UnreachableError)):  # asyncio sends no alert
                await fetchers().fetch(GOOD)
            await fetchers.close()
        assert old.gets.total == 0

    async def test_alert(self, fetchers: Fetchers) -> None:
        """What the server's alert says is told."""
        protocol_version = b"\x15\x03\x01\x00\x02\x02\x46"  # RFC 8446 §6
        async with plain_server(protocol_version) as port:
            reason = await failure(fetchers(port=port), TlsError)
        assert reason == "the TLS handshake failed: tlsv1 alert protocol version"

    async def test_tls_1_2(self, authority: Authority, ca_file: Path) -> None:
        """TLS 1.2 is enough."""
        async with PolicyHost(authority, maximum=ssl.TLSVersion.TLSv1_2) as old:
            old.answers[HOST] = ok(POLICY)
            fetchers = Fetchers(old, ca_file)
            assert await fetchers().body(GOOD) == POLICY
            await fetchers.close()

    async def test_no_tls(self, fetchers: Fetchers) -> None:
        """A server that answers in the clear is not heard."""
        async with plain_server(reply(400)) as port:
            reason = await failure(fetchers(port=port), TlsError)
        assert reason.startswith("the TLS handshake failed: ")

    async def test_connection_closed_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A server that closes before the handshake is over is unreachable."""
        async with plain_server(b"") as port:
            reason = await failure(fetchers(port=port), UnreachableError)
        assert reason.startswith("127.0.0.1: ")


class TestHead:
    """Answers that are refused by their head."""

    @pytest.mark.parametrize("status", [204, 206, 304, 400, 404, 410, 429, 500, 503])
    async def test_only_200_will_do(
        self, fetcher: PolicyFetcher, host: PolicyHost, status: int
    ) -> None:
        """A body that looks like a policy does not matter (RFC 8461 §3.3)."""
        body = b"" if status in {204, 304} else POLICY
        host.answers[HOST] = reply(status, body, content_type="text/plain")
        assert await failure(fetcher, StatusError) == f"HTTP {status}"

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    async def test_redirects_are_never_followed(
        self, fetcher: PolicyFetcher, host: PolicyHost, status: int
    ) -> None:
        """Neither to another path of the same host nor anywhere else."""
        location = f"https://{HOST}:{host.port}/policy\x1b[31m"
        host.answers[HOST] = reply(status, POLICY, content_type="text/plain", location=location)
        reason = await failure(fetcher, StatusError)
        assert reason == f"HTTP {status}, a redirect, which is never followed"
        assert (host.gets.total, host.connections.total, host.lookups.total) == (1, 1, 1)

    @pytest.mark.parametrize(
        "media_type", ["text/plain", "TEXT/Plain", "text/plain ; format=flowed", "text/plain;"]
    )
    async def test_plain_text(
        self, fetcher: PolicyFetcher, host: PolicyHost, media_type: str
    ) -> None:
        """text/plain counts in any case and with any parameters."""
        host.answers[HOST] = ok(POLICY, media_type)
        assert await fetcher.body(GOOD) == POLICY

    @pytest.mark.parametrize("media_type", ["text/html", "application/octet-stream", "text/plainx"])
    async def test_other_media_types(
        self, fetcher: PolicyFetcher, host: PolicyHost, media_type: str
    ) -> None:
        """A policy of another media type is none, as on shared web hosts of users."""
        host.answers[HOST] = ok(POLICY, media_type)
        reason = await failure(fetcher, MediaTypeError)
        assert reason == f"Content-Type is not text/plain: '{media_type}'"

    async def test_no_media_type(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Nor is one without a media type."""
        host.answers[HOST] = reply(200, POLICY)
        assert await failure(fetcher, MediaTypeError) == "no Content-Type"

    async def test_control_characters_of_a_head_are_not_repeated(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """A reason is printable whatever the Policy Host says."""
        host.answers[HOST] = ok(POLICY, "text/\x9bhtml\xe9")
        with pytest.raises(FetchError) as caught:
            await fetcher.fetch(GOOD)
        assert str(caught.value).isprintable()
        assert str(caught.value).isascii()


class TestCharsetSmuggling:
    """A body's meaning is not the server's to choose."""

    @pytest.mark.parametrize("charset", ["utf-16", "utf-7", "cp037", "rot13", "no-such-codec"])
    async def test_the_charset_selects_no_codec(
        self, fetcher: PolicyFetcher, host: PolicyHost, charset: str
    ) -> None:
        """The body is UTF-8, whatever the charset parameter names."""
        host.answers[HOST] = ok(POLICY, f"text/plain; charset={charset}")
        assert await fetcher.fetch(GOOD) == parse_policy(POLICY)

    async def test_a_policy_in_utf_16_is_none(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """Even if its charset is told truly."""
        host.answers[HOST] = ok(POLICY.decode().encode("utf-16"), "text/plain; charset=utf-16")
        assert "not UTF-8" in await failure(fetcher, InvalidPolicyError)


class TestDecompression:
    """Nothing is ever unpacked, so that no bomb goes off."""

    async def test_gzip_is_refused_unread(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Nobody asked for a content coding."""
        host.answers[HOST] = ok(gzip.compress(POLICY), content_encoding="gzip")
        assert await failure(fetcher, MediaTypeError) == "content coding 'gzip'"

    async def test_identity_is_none(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """The name for no coding is no coding."""
        host.answers[HOST] = ok(POLICY, content_encoding="Identity")
        assert await fetcher.body(GOOD) == POLICY

    async def test_gzip_as_transfer_coding(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Nor a transfer coding beside chunked."""
        body = gzip.compress(POLICY)
        answer = chunked(body).replace(b"chunked", b"gzip, chunked")
        host.answers[HOST] = answer
        assert "gzip" in await failure(fetcher, MediaTypeError)

    async def test_bomb(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """64 MiB of spaces packed into 64 KiB stay packed."""
        bomb = gzip.compress(b" " * 2**26)
        host.answers[HOST] = ok(bomb[:SIZE_MOST], content_encoding="gzip")
        await failure(fetcher, MediaTypeError)


class TestEndlessBodies:
    """Bounded in size and in time, whatever is sent."""

    async def test_too_large_by_its_own_word(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """A Content-Length over the limit is enough; the body is not waited for."""
        head = ok(b"", content_length=str(SIZE_MOST + 1))
        host.answers[HOST] = then_silence(head)
        assert await failure(fetcher, TooLargeError) == "more than 65536 bytes"
        await host.closed.reached(HOST)

    @pytest.mark.parametrize(
        "answer",
        [
            endless(chunked(end=b""), b"400\r\n" + b"x" * 1024 + b"\r\n"),
            chunked(b"x" * SIZE_MOST, b"x"),
            endless(chunked(end=b""), b"1\r\nx\r\n" * 1000),
        ],
        ids=["endless", "one too many", "one byte a chunk"],
    )
    async def test_too_large_in_the_end(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """A chunked body over the limit is a failure, never a silent cut."""
        host.answers[HOST] = answer
        assert await failure(fetcher, TooLargeError) == "more than 65536 bytes"

    async def test_the_connection_is_dropped(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """An endless body is cut off, not read on to the end of a polite TLS shutdown."""
        host.answers[HOST] = endless(chunked(end=b""), b"400\r\n" + b"x" * 1024 + b"\r\n")
        await failure(fetcher, TooLargeError)
        await host.closed.reached(HOST)

    @pytest.mark.parametrize(
        "flood",
        [b"X-Filler: " + b"x" * 100 + b"\r\n", b"x" * 1000],
        ids=["fields", "one field"],
    )
    async def test_endless_head(
        self, fetcher: PolicyFetcher, host: PolicyHost, flood: bytes
    ) -> None:
        """A head without end is no HTTP response."""
        host.answers[HOST] = endless(b"HTTP/1.1 200 OK\r\nX-First: 1", flood)
        assert (await failure(fetcher, IncompleteError)).startswith("malformed HTTP: ")

    SLOW: Final[Mapping[str, tuple[Script, str]]] = {
        "silence": (silence, "no response had come"),
        "head": (then_silence(b"HTTP/1.1 200 OK\r\n"), "no response had come"),
        "body": (then_silence(ok(POLICY[:3], content_length="10")), "3 bytes of the body had come"),
        "chunk": (then_silence(chunked(POLICY[:3], end=b"")), "3 bytes of the body had come"),
        "none": (then_silence(ok(b"", content_length="10")), "0 bytes of the body had come"),
        "head-drips": (drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05), "no response had come"),
        "body-drips": (drip(chunked(end=b""), b"1\r\nx\r\n", 0.02), "bytes of the body had come"),
        "hints": (drip(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), "no response had come"),
    }

    async def test_one_deadline_for_all(self, host: PolicyHost, fetchers: Fetchers) -> None:
        """However slowly it comes, the whole GET has one deadline, and the reason says where.

        All at once: a busy machine needs some of these seconds to reach the phase.
        """
        host.answers |= {f"mta-sts.{name}.test": answer for name, (answer, _) in self.SLOW.items()}
        fetcher = fetchers(timeout=5)
        domains = [Domain(f"{name}.test") for name in self.SLOW]
        gets = [fetcher.fetch(domain) for domain in domains]
        reasons = await asyncio.gather(*gets, return_exceptions=True)
        for (_, phase), reason in zip(self.SLOW.values(), reasons, strict=True):
            assert type(reason) is DeadlineError
            assert str(reason).startswith("not done in 5 s: ")
            assert str(reason).endswith(phase)
        for domain in domains:
            await host.closed.reached(f"mta-sts.{domain}")

    async def test_deadline_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A port that takes the connection and says nothing."""
        with black_hole() as port:
            reason = await failure(fetchers(port=port, timeout=1), DeadlineError)
        assert reason == "not done in 1 s: no TLS connection to 127.0.0.1"

    async def test_deadline_in_the_look_up(self, fetchers: Fetchers) -> None:
        """A name server that is slow takes of the same time."""

        async def never(_: str) -> Sequence[str]:
            return await asyncio.Future()

        reason = await failure(fetchers(addresses=never, timeout=0.1), DeadlineError)
        assert reason == "not done in 0.1 s: its address was not found"


class TestIncomplete:
    """A message that does not come to its end is a failure, never a shorter policy."""

    @pytest.mark.parametrize(
        "answer",
        [
            ok(POLICY[:-20], content_length=str(len(POLICY))),
            then_abort(ok(POLICY[:-20], content_length=str(len(POLICY)))),
            chunked(POLICY, end=b""),
            chunked(POLICY, end=b"0\r\n"),
            then_abort(chunked(POLICY, end=b"")),
            chunked(POLICY, end=b"5\r\nmx"),
            chunked(POLICY, end=b"nonsense\r\n"),
            chunked(POLICY, end=b"-1\r\n\r\n"),
        ],
        ids=[
            "short",
            "short, reset",
            "no last chunk",
            "no end of the last chunk",
            "chunks, reset",
            "half a chunk",
            "no chunk size",
            "negative chunk size",
        ],
    )
    async def test_the_body_breaks_off(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """Short Content-Length, unfinished and broken chunks (RFC 9112 §8)."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason.startswith(("the body broke off after ", "malformed HTTP: "))
        assert host.gets.total == 1

    async def test_body_that_only_the_connection_ends(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """Whoever cuts the connection would choose the policy: refused, though HTTP allows it."""
        host.answers[HOST] = ok(POLICY, content_length="")
        reason = await failure(fetcher, IncompleteError)
        assert reason == "neither Content-Length nor chunked: no telling where it ends"

    @pytest.mark.parametrize(
        "answer",
        [b"", then_abort(b""), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"],
        ids=["closed", "reset", "half a head"],
    )
    async def test_a_dropped_connection_is_not_tried_again(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """The HTTP library would send the GET once more: exactly one is sent."""
        host.answers[HOST] = answer
        with pytest.raises((IncompleteError, UnreachableError)):
            await fetcher.fetch(GOOD)
        assert (host.gets.total, host.connections.total) == (1, 1)

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            ok(POLICY, content_length="-5"),
            ok(POLICY, content_length="+5"),
            ok(POLICY, content_length="5, 6"),
            ok(POLICY).replace(b"Content-Type", b"Content-Length: 5\r\nContent-Type"),
            ok(POLICY, transfer_encoding="chunked"),
            ok(POLICY).replace(b"Content-Type:", b"Content Type:"),
        ],
        ids=[
            "ssh",
            "http/2",
            "negative length",
            "signed length",
            "two lengths in one",
            "two lengths",
            "length and chunked",
            "space in a name",
        ],
    )
    async def test_no_http_response(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes
    ) -> None:
        """What is not HTTP, or says twice where it ends, is refused (RFC 9112 §6.3)."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason.isprintable()
        assert host.gets.total == 1

    @pytest.mark.parametrize("more", [b"mx: evil.test\r\n", b"\r\n", ok(b"mx: evil.test\r\n")])
    async def test_what_follows_the_body_is_not_part_of_it(
        self, fetcher: PolicyFetcher, host: PolicyHost, more: bytes
    ) -> None:
        """Bytes behind the announced end are left alone or refused, never read as policy."""
        host.answers[HOST] = ok(POLICY) + more
        with contextlib.suppress(IncompleteError):
            assert await fetcher.body(GOOD) == POLICY


class TestReaching:
    """From the name to a connection."""

    async def test_name_not_found(self, fetchers: Fetchers) -> None:
        """The reason that the DNS gave stays as it is."""

        async def none(_: str) -> Sequence[str]:
            raise HostNotFoundError("NXDOMAIN")

        assert await failure(fetchers(addresses=none), HostNotFoundError) == "NXDOMAIN"

    async def test_no_addresses(self, fetchers: Fetchers) -> None:
        """A name without addresses is not found either."""
        assert await failure(fetchers(addresses=knows()), HostNotFoundError) == "no address"

    async def test_refused(self, fetchers: Fetchers) -> None:
        """Nobody listens at port 443."""
        with black_hole() as port:
            pass
        reason = await failure(fetchers(port=port), UnreachableError)
        assert reason == "127.0.0.1: Connection refused"

    async def test_all_addresses_refused(self, fetchers: Fetchers) -> None:
        """The reason is told of several addresses too."""
        with black_hole() as port:
            pass
        fetcher = fetchers(port=port, addresses=knows("127.0.0.2", "127.0.0.3"))
        assert "Connection refused" in await failure(fetcher, UnreachableError)

    @pytest.mark.parametrize("first", ["127.0.0.2", "::1"])
    async def test_the_next_address_is_tried(self, fetchers: Fetchers, first: str) -> None:
        """One address that does not answer does not hide the other."""
        fetcher = fetchers(addresses=knows(first, "127.0.0.1"))
        seen = FetchTrace()
        assert await fetcher.body(GOOD, seen) == POLICY

    async def test_the_next_address_is_tried_where_one_hangs(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """An address that drops every SYN holds up the others for a moment only."""
        fetcher = fetchers(addresses=knows(HOLE, "127.0.0.1"))
        with full(HOLE, host.port):
            seen = FetchTrace()
            assert await fetcher.body(GOOD, seen) == POLICY
        assert seen.address == "127.0.0.1"

    async def test_the_next_address_is_tried_where_one_has_no_tls(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """An address where TLS fails does not hide another; the GET is sent once all the same."""
        async with plain_server(reply(400), HOLE, host.port):
            fetcher = fetchers(addresses=knows(HOLE, "127.0.0.1"), concurrency=1)
            seen = FetchTrace()
            assert await fetcher.body(GOOD, seen) == POLICY
        assert (seen.address, host.gets.total) == ("127.0.0.1", 1)

    async def test_no_address_is_tried_twice(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """Where TLS fails at all addresses, the reason of the last one is told."""
        async with plain_server(reply(400), HOLE, host.port) as port:
            fetcher = fetchers(addresses=knows(HOLE, HOLE), port=port)
            await failure(fetcher, TlsError)

    async def test_ipv6(self, authority: Authority, ca_file: Path) -> None:
        """A Policy Host on IPv6 alone."""
        async with PolicyHost(authority, host="::1") as six:
            six.answers[HOST] = ok(POLICY)
            fetchers = Fetchers(six, ca_file)
            seen = FetchTrace()
            assert await fetchers().body(GOOD, seen) == POLICY
            await fetchers.close()
        assert seen.address == "::1"

    async def test_a_few_addresses_are_tried_of_many(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A name with hundreds of addresses cannot send us around: the fifth is not tried."""
        fetcher = fetchers(addresses=knows(*(f"127.0.0.{n}" for n in (2, 3, 4, 5, 1))))
        await failure(fetcher, UnreachableError)
        assert host.connections.total == 0


class TestPrivateAddresses:
    """Whoever publishes a record cannot make the relay speak to its neighbours."""

    @pytest.mark.parametrize(
        "addresses",
        [("127.0.0.1",), ("10.0.0.1", "::1"), ("::ffff:127.0.0.1",), ("64:ff9b::7f00:1",)],
    )
    async def test_refused_without_a_packet(
        self, fetchers: Fetchers, host: PolicyHost, addresses: tuple[str, ...]
    ) -> None:
        """Loopback and private addresses are refused by name, before any connection."""
        fetcher = fetchers(addresses=knows(*addresses), allow_private_addresses=False)
        reason = await failure(fetcher, ForbiddenAddressError)
        assert reason == f"not a public address: {', '.join(addresses)}"
        assert host.connections.total == 0

    async def test_only_the_public_ones_of_several(self, fetchers: Fetchers) -> None:
        """Of mixed addresses the private ones are left out."""
        mixed = knows("127.0.0.1", "2606:4700::1", "10.0.0.1", "8.8.8.8")
        fetcher = fetchers(addresses=mixed, allow_private_addresses=False)
        assert await fetcher._admitted(HOST) == ["2606:4700::1", "8.8.8.8"]

    @pytest.mark.parametrize("others", [(), ("127.0.0.1",)], ids=["one", "two"])
    async def test_rebinding(
        self, fetchers: Fetchers, host: PolicyHost, others: tuple[str, ...]
    ) -> None:
        """An address that is public when asked for and private when connected to is refused."""
        fetcher = fetchers(addresses=knows("127.0.0.1", *others))
        verdicts = iter([True] * (1 + len(others)) + [False] * 10)
        fetcher._allowed = lambda _: next(verdicts)  # type: ignore[assignment, method-assign] # changes its mind
        assert await failure(fetcher, ForbiddenAddressError) == "not a public address: 127.0.0.1"
        assert host.connections.total == 0


class TestProxy:
    """Where the administrator wants all to go by a proxy."""

    async def test_by_a_proxy(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The proxy is told the name; TLS goes through it to the Policy Host."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url, allow_private_addresses=False)
            seen = FetchTrace()
            assert await fetcher.body(GOOD, seen) == POLICY
        (head,) = proxy.heads
        assert head.startswith(f"CONNECT {HOST}:{host.port} HTTP/1.1\r\n".encode())
        assert (host.lookups.total, host.requests[0].sni) == (0, HOST)
        assert seen.tls_version == "TLSv1.3"

    async def test_proxy_by_name(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """The proxy's own name is the system's to find, /etc/hosts included."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url.replace("127.0.0.1", "localhost"))
            assert await fetcher.body(GOOD) == POLICY

    async def test_certificate_behind_a_proxy(
        self, fetchers: Fetchers, host: PolicyHost, authority: Authority
    ) -> None:
        """A proxy does not soften what is asked of the certificate."""
        host.credentials[HOST] = authority.issue("other.test")
        async with ConnectProxy(host.port) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), CertificateError)
        assert reason.startswith("Hostname mismatch")

    async def test_proxy_refuses(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """Its status is told."""
        async with ConnectProxy(host.port, refusal=reply(403)) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), UnreachableError)
        assert reason == "the proxy answered HTTP 403"

    async def test_proxy_is_not_there(self, fetchers: Fetchers) -> None:
        """That it is the proxy that cannot be reached is told."""
        with black_hole() as port:
            pass
        fetcher = fetchers(proxy=f"http://127.0.0.1:{port}")
        assert await failure(fetcher, UnreachableError) == "the proxy: Connection refused"

    async def test_proxy_that_wants_to_know_who_asks(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A name and a password in its URL are shown to it, decoded, and to nobody else."""
        async with ConnectProxy(host.port) as proxy:
            fetcher = fetchers(proxy=proxy.url.replace("//", "//relay:a%2Fb@"))
            assert await fetcher.body(GOOD) == POLICY
        (head,) = proxy.heads
        assert b"\r\nProxy-Authorization: Basic cmVsYXk6YS9i\r\n" in head
        assert "proxy-authorization" not in host.requests[0].fields

    @pytest.mark.parametrize("answer", [b"HTTP/1.1 2", b"SSH-2.0-x\r\n\r\n"], ids=["cut", "ssh"])
    async def test_proxy_that_speaks_no_http(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes
    ) -> None:
        """That it is the proxy that is at fault is told."""
        async with ConnectProxy(host.port, refusal=answer) as proxy:
            reason = await failure(fetchers(proxy=proxy.url), UnreachableError)
        assert reason.startswith("the proxy: ")
        assert host.connections.total == 0

    async def test_proxy_that_is_silent(self, fetchers: Fetchers) -> None:
        """A proxy that never answers takes no slot: both end with their own deadline."""
        with black_hole() as port:
            fetcher = fetchers(proxy=f"http://127.0.0.1:{port}", timeout=1, concurrency=1)
            reasons = await asyncio.gather(*(failure(fetcher, DeadlineError) for _ in range(2)))
        assert set(reasons) == {"not done in 1 s: no TLS connection to 127.0.0.1"}


class TestGivingUp:
    """Nothing is left behind by a GET that is not wanted any more."""

    async def test_cancelled_while_waiting_for_the_answer(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """The connection is closed and the slot is free."""
        fetcher = fetchers(concurrency=1, stand_aside=3600.0)
        host.hold()
        fetch = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        fetch.cancel()
        await host.closed.reached(HOST)
        with pytest.raises(asyncio.CancelledError):
            await fetch
        host.release()
        assert await fetcher.body(OTHER) == POLICY

    async def test_cancelled_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A connection that has no TLS yet is closed as well."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def watch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.closing(writer), contextlib.suppress(ConnectionError):
                await reader.read(1)
                begun.set()
                await reader.read()
            ended.set()

        server = await asyncio.start_server(watch, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        fetch = asyncio.create_task(fetchers(port=port).fetch(GOOD))
        await begun.wait()
        fetch.cancel()
        await ended.wait()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        server.close()
        await server.wait_closed()

    async def test_cancelled_in_the_look_up(self, fetchers: Fetchers) -> None:
        """The look-up of the address is cancelled with it."""
        begun, ended = asyncio.Event(), asyncio.Event()

        async def never(_: str) -> Sequence[str]:
            begun.set()
            try:
                return await asyncio.Future()
            finally:
                ended.set()

        fetch = asyncio.create_task(fetchers(addresses=never).fetch(GOOD))
        await begun.wait()
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        assert ended.is_set()

    async def test_close_aborts_what_is_under_way(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """Shutdown does not wait for a Policy Host."""
        host.hold()
        fetch = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        await fetcher.close()
        with pytest.raises(FetchError):
            await fetch

    async def test_close_before_the_first_get(self, fetchers: Fetchers) -> None:
        """A fetcher that was never used closes too."""
        await fetchers().close()


class TestSlots:
    """How many at a time."""

    async def test_no_more_than_so_many(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """With one slot the second handshake begins when the first GET is over."""
        fetcher = fetchers(concurrency=1, stand_aside=3600.0)
        host.hold()
        first = asyncio.create_task(fetcher.fetch(GOOD))
        await host.gets.reached(HOST)
        asked = slot_asked_for(fetcher)
        second = asyncio.create_task(fetcher.fetch(OTHER))
        await asked.wait()
        assert host.connections["mta-sts.other.test"] == 0
        host.release()
        await asyncio.gather(first, second)
        assert host.gets["mta-sts.other.test"] == 1

    async def test_a_black_hole_holds_no_slot(self, fetchers: Fetchers, host: PolicyHost) -> None:
        """A host that is not even reached keeps nobody else from the only slot."""

        async def addresses(name: str) -> Sequence[str]:
            return [HOLE if name == HOST else host.host]

        fetcher = fetchers(addresses=addresses, concurrency=1, stand_aside=3600.0)
        with full(HOLE, host.port):
            seen = FetchTrace()
            lost = asyncio.create_task(fetcher.body(GOOD, seen))
            for _ in range(2):
                assert await fetcher.body(OTHER) == POLICY
            assert (seen.address, seen.tls_version, lost.done()) == (HOLE, None, False)
            lost.cancel()
            with pytest.raises(asyncio.CancelledError):
                await lost

    @pytest.mark.parametrize(
        "answer",
        [
            ok(POLICY),
            reply(404),
            then_abort(b""),
            b"no HTTP\r\n\r\n",
            ok(POLICY, content_length="9999"),
            chunked(b"x" * SIZE_MOST, b"x"),
            silence,
        ],
        ids=["policy", "status", "reset", "no http", "cut", "too large", "deadline"],
    )
    async def test_a_slot_is_free_again_whatever_came(
        self, fetchers: Fetchers, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """The only slot serves the next GET, however the one before it has ended."""
        fetcher = fetchers(concurrency=1, stand_aside=3600.0, timeout=3)
        host.answers[HOST] = answer
        with contextlib.suppress(FetchError):
            await fetcher.body(GOOD)
        assert await fetcher.body(OTHER) == POLICY

    async def test_a_slot_is_free_again_where_there_was_no_tls(
        self, fetchers: Fetchers, host: PolicyHost, authority: Authority
    ) -> None:
        """Nor does a handshake that failed keep it."""
        host.credentials[HOST] = authority.issue("else.test")
        fetcher = fetchers(concurrency=1, stand_aside=3600.0)
        await failure(fetcher, CertificateError)
        assert await fetcher.body(OTHER) == POLICY

    async def test_cancelled_while_waiting_for_a_slot(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """Whoever is given up while it waits leaves no connection, and the slot to the next."""
        fetcher = fetchers(concurrency=1, stand_aside=3600.0)
        host.hold()
        first = asyncio.create_task(fetcher.body(OTHER))
        await host.gets.reached("mta-sts.other.test")
        asked = slot_asked_for(fetcher)
        second = asyncio.create_task(fetcher.body(GOOD))
        await asked.wait()
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        host.release()
        assert await first == POLICY
        assert await fetcher.body(OTHER) == POLICY
        assert host.connections[HOST] == 0

    async def test_a_slow_host_does_not_hold_up_the_others(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """A GET that takes long stands aside, and still ends well."""
        fetcher = fetchers(concurrency=1, stand_aside=0.0)
        never = asyncio.Event()

        async def slow(writer: asyncio.StreamWriter) -> None:
            await never.wait()
            writer.write(ok(POLICY))

        host.answers[HOST] = slow
        first = asyncio.create_task(fetcher.body(GOOD))
        await host.gets.reached(HOST)
        assert await fetcher.body(OTHER) == POLICY
        never.set()
        assert await first == POLICY

    async def test_waiting_for_a_slot_is_not_the_host_s_fault(
        self, fetchers: Fetchers, host: PolicyHost
    ) -> None:
        """The deadline is the GET's: it begins with the slot."""
        fetcher = fetchers(concurrency=1, stand_aside=3600.0, timeout=2)
        host.answers[HOST] = silence
        slow = [asyncio.create_task(failure(fetcher, DeadlineError)) for _ in range(2)]
        assert await fetcher.body(OTHER) == POLICY
        await asyncio.gather(*slow)


HOLE = "127.0.0.2"


@contextlib.contextmanager
def full(host: str, port: int) -> Iterator[None]:
    """A port whose queue is full: a SYN that comes there is dropped."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(socket.create_server((host, port), backlog=0))
        for _ in range(2):
            filler = stack.enter_context(socket.socket())
            filler.settimeout(0)
            filler.connect_ex((host, port))
        yield


def slot_asked_for(fetcher: PolicyFetcher) -> asyncio.Event:
    """Set as soon as the next GET of a fetcher asks for its slot."""
    asked, take = asyncio.Event(), fetcher._slots.take

    async def noted() -> Slot:
        asked.set()
        return await take()

    fetcher._slots.take = noted  # type: ignore[method-assign] # of this one alone
    return asked


def knows(*addresses: str) -> "Known":
    """A resolver with one answer to everything."""
    return Known(addresses)


class Known:
    """One answer to everything."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses

    async def __call__(self, _: str) -> Sequence[str]:
        """The addresses."""
        return self._addresses


@contextlib.asynccontextmanager
async def plain_server(answer: bytes, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port where something is answered, and the connection closed, without TLS."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            await reader.read(1)
            writer.write(answer)

    async with await asyncio.start_server(serve, host, port) as server:
        yield server.sockets[0].getsockname()[1]
