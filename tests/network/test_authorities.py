"""CA certificates that change on disk, or are missing, while the network process runs."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.config.settings import HttpsSettings, Settings
from postfix_mta_sts.network.authorities import Authorities
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.tls import client_context
from tests.support.daemons import TIMEOUT, until
from tests.support.tls import Authority

RENEWED = "CA certificates renewed certificates={}"
KEPT = "CA certificates cannot be renewed, keeping the ones before"


class User:
    """A user of the certificates."""

    def __init__(self, settings: NetworkSettings) -> None:
        self.context = client_context(settings.authorities)

    @property
    def names(self) -> set[str]:
        """The common names of the trusted authorities."""
        subjects: Any = [each["subject"] for each in self.context.get_ca_certs()]
        return {dict(parts[0])["commonName"] for parts in subjects}


def pem(*names: str) -> bytes:
    """A bundle with authorities of these names."""
    return b"".join(Authority(name).certificate for name in names)


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundle of the system, which is not there yet; its folder is empty."""
    (tmp_path / "certs").mkdir()
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    return tmp_path / "bundle.pem"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log."""
    caplog.set_level("INFO")
    return caplog


def of_file(path: Path) -> tuple[User, Authorities]:
    """As a daemon with this `https.ca_file` has them."""
    settings = NetworkSettings.of(Settings(https=HttpsSettings(ca_file=path)))
    user = User(settings)
    return user, Authorities(settings, user)


def of_system() -> tuple[User, Authorities]:
    """As a daemon without `https.ca_file` has them."""
    settings = NetworkSettings.of(Settings())
    user = User(settings)
    return user, Authorities(settings, user)


def replace(path: Path, content: bytes) -> None:
    """Replace a file as update-ca-certificates(8) does it."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.rename(path)


class TestFile:
    """`https.ca_file`."""

    def test_renewed(self, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
        """A file that was replaced is read, and once."""
        path = tmp_path / "ca.pem"
        path.write_bytes(pem("one"))
        user, authorities = of_file(path)
        assert not authorities.renew()
        replace(path, pem("one", "two"))
        assert [authorities.renew(), authorities.renew()] == [True, False]
        assert user.names == {"one", "two"}
        assert log.messages == [RENEWED.format(2)]

    def test_changed_before_the_process_started(self, tmp_path: Path) -> None:
        """A new process, made with a text that the daemon has read long ago, reads the file."""
        path = tmp_path / "ca.pem"
        path.write_bytes(pem("one"))
        user, authorities = of_file(path)
        replace(path, pem("two"))
        assert authorities.renew()
        assert user.names == {"two"}

    @pytest.mark.parametrize("content", [b"", b"half of -----BEGIN CERTIFICATE-----", None])
    def test_unusable(
        self, tmp_path: Path, log: pytest.LogCaptureFixture, content: bytes | None
    ) -> None:
        """A file that cannot be used changes nothing; one line says so, until it can be used."""
        path = tmp_path / "ca.pem"
        path.write_bytes(pem("one"))
        user, authorities = of_file(path)
        authorities.renew()
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert [authorities.renew() for _ in range(3)] == [False] * 3
        assert user.names == {"one"}
        assert [each.split(" reason=")[0] for each in log.messages] == [KEPT]
        replace(path, pem("two"))
        assert authorities.renew()
        assert user.names == {"two"}
        assert authorities.problem == ""

    def test_hidden(self, tmp_path: Path, log: pytest.LogCaptureFixture) -> None:
        """One that the sandbox hides is left to a successor, without a warning."""
        path = tmp_path / "ca.pem"
        path.write_bytes(pem("one"))
        settings = NetworkSettings.of(Settings(https=HttpsSettings(ca_file=path)))
        user = User(settings)
        hidden = ["/etc/ca.pem", None]
        authorities = Authorities(settings, user, lambda: hidden.pop(0))
        replace(path, pem("two"))
        assert [authorities.renew(), authorities.renew()] == [False, True]
        assert log.messages == [RENEWED.format(1)]


class TestSystem:
    """The bundle of the system."""

    def test_renewed(self, bundle: Path, log: pytest.LogCaptureFixture) -> None:
        """A bundle that was replaced is read, and once."""
        bundle.write_bytes(pem("one"))
        user, authorities = of_system()
        assert not authorities.renew()
        replace(bundle, pem("two", "three"))
        assert [authorities.renew(), authorities.renew()] == [True, False]
        assert user.names == {"two", "three"}
        assert log.messages == [RENEWED.format(2)]

    def test_removed(self, bundle: Path, log: pytest.LogCaptureFixture) -> None:
        """A bundle that is removed stays in force."""
        bundle.write_bytes(pem("one"))
        user, authorities = of_system()
        bundle.unlink()
        assert not authorities.renew()
        assert (user.names, authorities.problem) == ({"one"}, "")
        reason = f'"no CA certificates in {bundle} and {bundle.parent / "certs"}"'
        assert log.messages == [f"{KEPT} reason={reason}"]

    def test_missing_and_installed(self, bundle: Path) -> None:
        """Without any the problem names the places; it ends when there is a bundle."""
        user, authorities = of_system()
        assert authorities.problem == (
            f"no CA certificates in {bundle} and {bundle.parent / 'certs'}"
        )
        assert not authorities.renew()
        replace(bundle, pem("one"))
        assert authorities.renew()
        assert (user.names, authorities.problem) == ({"one"}, "")

    def test_a_folder(self, bundle: Path) -> None:
        """Hashed names in the folder are enough: OpenSSL reads them when it needs them."""
        (bundle.parent / "certs" / "README").touch()
        assert of_system()[1].problem
        (bundle.parent / "certs" / "0a1b2c3d.0").touch()
        assert of_system()[1].problem == ""


async def test_watch(bundle: Path, log: pytest.LogCaptureFixture) -> None:
    """The end of the problem is reported; the warning at the start says what to install."""
    _, authorities = of_system()
    problems = asyncio.Queue[str]()
    watch = asyncio.create_task(authorities.watch(problems.put_nowait, interval=0.01))
    async with asyncio.timeout(TIMEOUT):
        await until(lambda: bool(log.messages))
        replace(bundle, pem("one"))
        assert await problems.get() == ""
    watch.cancel()
    assert [each.split(" reason=")[0] for each in log.messages] == [
        "no CA certificates, no policy can be fetched",
        RENEWED.format(1),
    ]
    assert 'advice="install the package ca-certificates, or set https.ca_file"' in log.messages[0]
