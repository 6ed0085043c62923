"""TLS with MX hosts: what Postfix would find wrong with a certificate chain."""

import re
import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from OpenSSL import SSL

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import CannotProbeError
from postfix_mta_sts.network.smtp import tls
from postfix_mta_sts.network.smtp.probe import probe
from postfix_mta_sts.network.smtp.probe_thread import ProbeThread
from postfix_mta_sts.network.smtp.tls import Trust, path_to
from postfix_mta_sts.network.smtp.values import (
    Phase,
    ProbePlan,
    TlsSession,
    TrustFiles,
    VerifyError,
)
from tests.support.programs import program
from tests.support.smtp_host import SmtpHost
from tests.support.tls import EXPIRED, NOT_YET_VALID, Authority, Credential, self_signed


async def session(
    credential: Credential | ssl.SSLContext, trust: Trust, sni: str | None = None
) -> TlsSession:
    """The TLS session with a host that has a certificate."""
    async with SmtpHost(credential) as host:
        result = await probe(host.target(sni=sni), trust, ehlo="client.test", timeout=60)
    assert result.failure is None
    assert result.tls
    return result.tls


async def error(credential: Credential | ssl.SSLContext, trust: Trust) -> tuple[int, int] | None:
    """Number and depth of the error of a chain."""
    found = (await session(credential, trust)).error
    return (found.code, found.depth) if found else None


def openssl(*arguments: str) -> bytes:
    """What the program prints."""
    command = [program("openssl"), *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    """A key of any size; cryptography makes no small ones."""
    key = load_pem_private_key(openssl("genrsa", str(bits)), None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key


async def test_good(credential: Credential, trust: Trust) -> None:
    """A chain that leads to a CA of Postfix has no error, whatever its names are."""
    assert await error(credential, trust) is None


async def test_words(authority: Authority, trust: Trust) -> None:
    """An error has OpenSSL's words."""
    found = (await session(authority.issue("mx.test", valid=EXPIRED), trust)).error
    assert found == VerifyError(code=10, depth=0, reason="certificate has expired")


@pytest.mark.parametrize("ordered", [True, False])
async def test_intermediate(authority: Authority, trust: Trust, *, ordered: bool) -> None:
    """A chain over an intermediate CA is good, in any order; it is reported as it was sent."""
    between, other = Authority("between", authority), Authority("other")
    rest = [between.certificate, other.certificate]
    chain = between.issue("mx.test").followed_by(*(rest if ordered else reversed(rest)))
    found = await session(chain, trust)
    assert found.error is None
    subjects = [certificate.subject for certificate in found.chain]
    assert subjects == ["CN=nobody", *(["CN=between", "CN=other"][:: 1 if ordered else -1])]


async def test_dates(authority: Authority, trust: Trust) -> None:
    """Certificates count within their dates only."""
    assert await error(authority.issue("mx.test", valid=EXPIRED), trust) == (10, 0)
    assert await error(authority.issue("mx.test", valid=NOT_YET_VALID), trust) == (9, 0)


async def test_unknown_issuers(authority: Authority, trust: Trust) -> None:
    """A missing intermediate CA and an unknown CA are the same error, unless the CA was sent."""
    unknown, between = Authority("unknown"), Authority("between", authority)
    assert await error(between.issue("mx.test"), trust) == (20, 0)
    assert await error(unknown.issue("mx.test"), trust) == (20, 0)
    sent = unknown.issue("mx.test").followed_by(unknown.certificate)
    assert await error(sent, trust) == (19, 1)
    assert await error(self_signed("mx.test"), trust) == (18, 0)


async def test_the_error_closest_to_the_host(authority: Authority, trust: Trust) -> None:
    """Of several errors the one at the lowest depth counts; at the same depth, the first one."""
    expired = Authority("between", authority, valid=EXPIRED)
    chain = expired.issue("mx.test", valid=NOT_YET_VALID).followed_by(expired.certificate)
    assert await error(chain, trust) == (9, 0)
    assert await error(expired.issue("mx.test").followed_by(expired.certificate), trust) == (10, 1)
    assert await error(self_signed("mx.test", valid=EXPIRED), trust) == (18, 0)


async def test_purpose(authority: Authority, trust: Trust) -> None:
    """A certificate for clients only is none for an MX host."""
    client = authority.issue("mx.test", purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    assert await error(client, trust) == (26, 0)


async def test_weak_keys(authority: Authority, trust: Trust) -> None:
    """RSA needs 1024 bits: Postfix asks for security level 1 of OpenSSL, not for Debian's 2."""
    for bits, expected in ((1024, None), (512, (66, 0))):
        context = authority.issue("mx.test", key=rsa_key(bits)).server_context(
            ciphers="ALL:@SECLEVEL=0", maximum=ssl.TLSVersion.TLSv1_2
        )
        assert await error(context, trust) == expected


async def test_versions(credential: Credential, trust: Trust) -> None:
    """TLS 1.2 and 1.3 are used."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = credential.server_context(minimum=version, maximum=version)
        found = await session(context, trust)
        assert found.version == version.name.replace("_", ".")
        assert "AES_256_GCM" in found.cipher.replace("-", "_").replace("AES256", "AES_256")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_old_version(credential: Credential, trust: Trust) -> None:
    """TLS 1.1 is used only where Postfix does not check the certificate."""
    old = ssl.TLSVersion.TLSv1_1
    context = credential.server_context(minimum=old, maximum=old, ciphers="ALL:@SECLEVEL=0")
    async with SmtpHost(context) as host:
        strict, lenient = [
            await probe(host.target(is_verified=each), trust, ehlo="client.test", timeout=60)
            for each in (True, False)
        ]
    assert strict.failure
    assert (strict.failure.phase, strict.tls) == (Phase.HANDSHAKE, None)
    assert lenient.failure is None
    assert lenient.tls
    assert (lenient.tls.version, lenient.tls.error) == ("TLSv1.1", None)


async def test_no_certificate(trust: Trust) -> None:
    """A session without certificates is possible only where Postfix does not check them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("aNULL:@SECLEVEL=0")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with SmtpHost(context) as host:
        strict, lenient = [
            await probe(host.target(is_verified=each), trust, ehlo="client.test", timeout=60)
            for each in (True, False)
        ]
    assert strict.tls is None
    assert lenient.tls
    assert lenient.tls.chain == ()


@pytest.mark.parametrize("name", ["mx.test", None])
async def test_server_name(credential: Credential, trust: Trust, name: str | None) -> None:
    """The name is sent if there is one."""
    async with SmtpHost(credential) as host:
        await probe(host.target(sni=name), trust, ehlo="client.test", timeout=60)
    assert host.names == [name]


class TestTrust:
    """The CAs of Postfix."""

    @pytest.mark.parametrize("append_default_ca", [True, False])
    async def test_none(self, credential: Credential, *, append_default_ca: bool) -> None:
        """Without file and folder no CA is trusted, not even the system's."""
        nobody = Trust("", "", append_default_ca=append_default_ca)
        assert await error(credential, nobody) == (20, 0)

    async def test_folder(
        self, credential: Credential, authority: Authority, tmp_path: Path
    ) -> None:
        """A folder of hashed names is used."""
        path = authority.write(tmp_path)
        digits = openssl("x509", "-noout", "-hash", "-in", str(path)).decode().strip()
        path.rename(tmp_path / f"{digits}.0")
        trust = Trust("", str(tmp_path), append_default_ca=False)
        assert await error(credential, trust) is None

    async def test_defaults(self, credential: Credential, ca_file: Path, tmp_path: Path) -> None:
        """OpenSSL's own CAs, if there are some, are added to those of a file if that is wanted."""
        other = str(Authority("other").write(tmp_path))
        defaults, nothing = (str(ca_file), str(tmp_path)), ("/nonexistent", "/nonexistent")
        for append, default_ca, expected in (
            (True, defaults, None),
            (False, defaults, (20, 0)),
            (True, nothing, (20, 0)),
            (True, None, (20, 0)),  # the system's
        ):
            trust = Trust(other, "", append, default_ca)
            assert await error(credential, trust) == expected

    @pytest.mark.parametrize("append_default_ca", [True, False])
    def test_missing_file(self, tmp_path: Path, *, append_default_ca: bool) -> None:
        """A file that does not exist is an error with its name."""
        path = str(tmp_path / "ca.pem")
        with pytest.raises(UserError, match=re.escape(f"{path}: No such file or directory")):
            Trust(path, "", append_default_ca=append_default_ca)

    def test_empty_file(self, tmp_path: Path) -> None:
        """A file without certificates is one, too."""
        path = tmp_path / "ca.pem"
        path.write_text("nothing\n")
        with pytest.raises(UserError, match=re.escape(f"{path}: no CA certificates: ")):
            Trust(str(path), "", append_default_ca=False)


def test_an_unreadable_trust_anchor() -> None:
    """OpenSSL may refuse a certificate that a TLSA record contains: then no path leads to it."""
    assert path_to(b"anchor", b"leaf", []) == "a certificate is not readable"


class TestWithoutExecutableMemory:
    """As in the systemd service (MemoryDenyWriteExecute=), where cffi can make no callback."""

    @pytest.fixture
    def hardened(self, ca_file: Path, monkeypatch: pytest.MonkeyPatch) -> Trust:
        """The CA of the tests, with callbacks that do without such memory."""

        def set_verify(*_: object) -> None:
            raise MemoryError

        monkeypatch.setattr(SSL.Context, "set_verify", set_verify)
        return Trust(str(ca_file), "", append_default_ca=False)

    async def test_same_errors(self, authority: Authority, trust: Trust, hardened: Trust) -> None:
        """The errors, and of several the one that Postfix reports, are the same."""
        stranger = Authority()
        chains = [
            authority.issue("mx.test"),
            authority.issue("mx.test", valid=EXPIRED),
            authority.issue("mx.test", purpose=ExtendedKeyUsageOID.CLIENT_AUTH),
            stranger.issue("mx.test"),
            stranger.issue("mx.test", valid=EXPIRED),
            self_signed("mx.test"),
        ]
        found = [await error(each, hardened) for each in chains]
        assert found == [await error(each, trust) for each in chains]
        assert found[0] is None
        assert None not in found[1:]

    @pytest.mark.usefixtures("hardened")
    async def test_no_callback(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """If ctypes cannot make one either, a probe says so."""

        def made_by_ctypes() -> tuple[int, object]:
            raise MemoryError

        monkeypatch.setattr(tls, "_made_by_ctypes", made_by_ctypes)
        thread = ProbeThread()
        plan = ProbePlan("x.test", (), TrustFiles(), "client.test", (), 60)
        with pytest.raises(CannotProbeError, match="executable memory is forbidden"):
            await thread.probe(plan)
        thread.close()
