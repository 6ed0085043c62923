"""What of the settings goes over: the CAs' text, whatever stands around it."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from postfix_mta_sts.config.settings import HttpsSettings, Settings
from postfix_mta_sts.network.connect import client_context
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.tls import Authority


def terms(path: Path) -> NetworkSettings:
    """Those of settings with this CA file."""
    return NetworkSettings.of(Settings(https=HttpsSettings(ca_file=path)))


def written(folder: Path, data: bytes) -> Path:
    """A file with that."""
    path = folder / "some.pem"
    path.write_bytes(data)
    return path


def subjects(authorities: str | None) -> list[object]:
    """Who is trusted."""
    return [each["subject"] for each in client_context(authorities).get_ca_certs()]


def test_text_around(tmp_path: Path) -> None:
    """All certificates of a file count, whatever people wrote beside them, in whatever letters."""
    pem = Authority().write(tmp_path).read_bytes()
    others = Authority().write(tmp_path).read_bytes()
    text = "# Büro, 株式会社\nsubject=x\n".encode() + b"\xff\0\r\n"
    came = terms(written(tmp_path, text + pem + text + others + text)).authorities
    assert len(subjects(came)) == 2


def test_as_openssl_reads_the_file(tmp_path: Path) -> None:
    """What is in a file is what OpenSSL finds in it by itself."""
    path = Path(ssl.get_default_verify_paths().openssl_cafile)
    path = path if path.exists() else Authority().write(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    found = context.get_ca_certs(binary_form=True)
    ours = client_context(terms(path).authorities).get_ca_certs(binary_form=True)
    assert sorted(ours) == sorted(found)


def test_no_file(tmp_path: Path) -> None:
    """A file that is not there, or a folder, is told as that."""
    with pytest.raises(FileNotFoundError):
        terms(tmp_path / "nowhere.pem")
    with pytest.raises(IsADirectoryError):
        terms(tmp_path)


@pytest.mark.parametrize("data", [b"", b"no certificate", "Büro".encode(), b"\0"])
def test_no_certificate(tmp_path: Path, data: bytes) -> None:
    """So is one that holds no certificate."""
    with pytest.raises(OSError, match="no certificate in PEM"):
        terms(written(tmp_path, data))


def test_broken(tmp_path: Path) -> None:
    """A certificate that is cut short, or has letters that are none of its own, is refused."""
    pem = Authority().write(tmp_path).read_bytes()
    half = len(pem) // 2
    for data in (pem[:half], pem[:half] + "ü".encode() + pem[half:]):
        with pytest.raises(OSError, match="no certificate in PEM"):
            terms(written(tmp_path, data))


def test_the_system(tmp_path: Path) -> None:
    """Without a file the system's authorities count."""
    assert NetworkSettings.of(Settings()).authorities is None


def test_spared() -> None:
    """The process that asks the network does without what reads configurations."""
    script = """
        import sys
        import postfix_mta_sts.network.child
        print(*{"aiosqlite", "yaml", "postfix_mta_sts.config.settings"} & set(sys.modules))
    """
    words = [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines()))]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"
