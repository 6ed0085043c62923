"""TLS with a Policy Host: its certificate, and handshakes that fail."""

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.errors import (
    CertificateError,
    ResultType,
    TlsError,
    UnreachableError,
)
from postfix_mta_sts.network.https import PolicyFetcher
from tests.support.fetchers import (
    GOOD,
    HOST,
    POLICY,
    Fetchers,
    failure,
    plain_server,
)
from tests.support.policy_host import (
    PolicyHost,
    ok,
    reply,
)
from tests.support.tls import EXPIRED, NOT_YET_VALID, Authority, Credential, self_signed

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestCertificate:
    """The certificate must be valid for the Policy Host (RFC 8461 §3.3)."""

    @pytest.mark.parametrize("name", [HOST, "*.good.test", "MTA-STS.good.TEST"])
    async def test_matching_names(
        self, fetcher: PolicyFetcher, host: PolicyHost, authority: Authority, name: str
    ) -> None:
        """The host name in any case is accepted, and a wildcard for its left-most label."""
        host.credentials[HOST] = authority.issue(name)
        assert await fetcher.fetch_body(GOOD) == POLICY

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
    async def test_names_that_do_not_match(
        self,
        fetcher: PolicyFetcher,
        host: PolicyHost,
        authority: Authority,
        names: tuple[str, ...],
        addresses: tuple[str, ...],
        common_name: str,
    ) -> None:
        """Only a DNS-ID is accepted, with `*` only for the whole left-most label."""
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
    async def test_untrusted_certificates(
        self,
        fetcher: PolicyFetcher,
        host: PolicyHost,
        authority: Authority,
        credential: Callable[[Authority], Credential],
        reason: str,
    ) -> None:
        """The reason is that of OpenSSL, and the result type is sts-webpki-invalid."""
        host.credentials[HOST] = credential(authority)
        assert await failure(fetcher, CertificateError) == reason
        assert host.gets.total == 0
        assert CertificateError.result is ResultType.WEBPKI_INVALID

    async def test_authorities_of_the_system(self, fetchers: Fetchers) -> None:
        """Without configured authorities those of the system are used; ours is not among them."""
        reason = await failure(fetchers(authorities=None), CertificateError)
        assert "certificate" in reason


class TestTls:
    """Handshakes that fail."""

    @pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
    async def test_old_tls(self, authority: Authority, ca_file: Path) -> None:
        """TLS below 1.2 is refused (RFC 8461 §7.2)."""
        async with PolicyHost(authority, maximum=ssl.TLSVersion.TLSv1_1) as old:
            fetchers = Fetchers(old, ca_file)
            with pytest.raises((TlsError, UnreachableError)):  # asyncio sends no alert
                await fetchers().fetch(GOOD)
            await fetchers.close()
        assert old.gets.total == 0

    @pytest.mark.parametrize(
        ("number", "text"),
        [(70, "protocol version"), (120, "no application protocol")],  # RFC 8446 §6
    )
    async def test_alert(self, fetchers: Fetchers, number: int, text: str) -> None:
        """The reason has the text of the server's alert, and nothing else."""
        async with plain_server(b"\x15\x03\x01\x00\x02\x02" + bytes([number])) as port:
            reason = await failure(fetchers(port=port), TlsError)
        assert reason == f"the TLS handshake failed: tlsv1 alert {text}"

    async def test_tls_1_2(self, authority: Authority, ca_file: Path) -> None:
        """TLS 1.2 is accepted."""
        async with PolicyHost(authority, maximum=ssl.TLSVersion.TLSv1_2) as old:
            old.answers[HOST] = ok(POLICY)
            fetchers = Fetchers(old, ca_file)
            assert await fetchers().fetch_body(GOOD) == POLICY
            await fetchers.close()

    async def test_no_tls(self, fetchers: Fetchers) -> None:
        """A response without TLS is an error."""
        async with plain_server(reply(400)) as port:
            reason = await failure(fetchers(port=port), TlsError)
        assert reason.startswith("the TLS handshake failed: ")

    async def test_connection_closed_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A server that closes before the handshake is over is unreachable."""
        async with plain_server(b"") as port:
            reason = await failure(fetchers(port=port), UnreachableError)
        assert reason.startswith("127.0.0.1: ")
