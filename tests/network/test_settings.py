"""The settings of the network process: the text of the CA file, whatever else is in it."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from postfix_mta_sts.config.field_types import CA_FILE_LIMIT
from postfix_mta_sts.config.settings import HttpsSettings, Settings
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.tls import client_context
from tests.support.tls import Authority


def network_settings(path: Path) -> NetworkSettings:
    """Network settings with this CA file."""
    return NetworkSettings.of(Settings(https=HttpsSettings(ca_file=path)))


def write(folder: Path, data: bytes) -> Path:
    """Write a file with these bytes."""
    path = folder / "some.pem"
    path.write_bytes(data)
    return path


def subjects(authorities: str | None) -> list[object]:
    """The subjects of the trusted certificates."""
    return [each["subject"] for each in client_context(authorities).get_ca_certs()]


def test_text_between_certificates(tmp_path: Path) -> None:
    """All certificates of a file are used, whatever text in whatever encoding is between them."""
    pem = Authority().write(tmp_path).read_bytes()
    others = Authority().write(tmp_path).read_bytes()
    text = "# Büro, 株式会社\nsubject=x\n".encode() + b"\xff\0\r\n"
    came = network_settings(write(tmp_path, text + pem + text + others + text)).authorities
    assert len(subjects(came)) == 2


def test_same_certificates_as_openssl(tmp_path: Path) -> None:
    """The certificates are those that OpenSSL finds in the file."""
    path = Path(ssl.get_default_verify_paths().openssl_cafile)
    path = path if path.exists() else Authority().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    found = context.get_ca_certs(binary_form=True)
    ours = client_context(network_settings(path).authorities).get_ca_certs(binary_form=True)
    assert sorted(ours) == sorted(found)


def test_no_file(tmp_path: Path) -> None:
    """A missing file or a folder raises the error of the system."""
    with pytest.raises(FileNotFoundError):
        network_settings(tmp_path / "nowhere.pem")
    with pytest.raises(IsADirectoryError):
        network_settings(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no certificate", "Büro".encode(), b"\0"])
def test_no_certificate(tmp_path: Path, data: bytes) -> None:
    """A file without a certificate is refused."""
    with pytest.raises(OSError, match="no certificate in PEM"):
        network_settings(write(tmp_path, data))


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    """It is refused, whatever is in it, and not read to its end."""
    pem = Authority().write(tmp_path).read_bytes()
    with pytest.raises(OSError, match="larger than 4194304 bytes"):
        network_settings(write(tmp_path, pem + b"#" * CA_FILE_LIMIT))
    with pytest.raises(OSError, match="larger than 4194304 bytes"):
        network_settings(Path("/dev/zero"))


def test_broken_certificate(tmp_path: Path) -> None:
    """A certificate that is cut off or has other characters in it is refused."""
    pem = Authority().write(tmp_path).read_bytes()
    half = len(pem) // 2
    for data in (pem[:half], pem[:half] + "ü".encode() + pem[half:]):
        with pytest.raises(OSError, match="no certificate in PEM"):
            network_settings(write(tmp_path, data))


def test_authorities_of_the_system(tmp_path: Path) -> None:
    """Without a file the authorities of the system are used."""
    assert NetworkSettings.of(Settings()).authorities is None


def test_imports_of_the_network_process() -> None:
    """It imports nothing that reads configurations, nor what only a fleet needs."""
    script = """
        import sys
        import postfix_mta_sts.network.child
        unwanted = {"aiosqlite", "yaml", "postfix_mta_sts.config.settings", "redis", "asyncpg"}
        unwanted |= {f"postfix_mta_sts.store.fleet.{name}" for name in ("client", "opening")}
        print(*unwanted & set(sys.modules))
    """
    command = [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines()))]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"
