"""Where Postfix takes its CA certificates from."""

from pathlib import Path

import pytest

from postfix_mta_sts.postfix.authorities import EMPTY, Authorities, read_authorities
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from tests.support.tls import Authority


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """A file with the certificate of a CA."""
    return Authority().write(tmp_path)


def test_none() -> None:
    """Without both parameters the default CAs do not count either."""
    assert read_authorities(MainCf(tls_append_default_CA=True)) == Authorities(problem=EMPTY)


def test_a_file(ca_file: Path) -> None:
    """The file is read outside the chroot."""
    main_cf = MainCf(
        smtp_tls_CAfile=str(ca_file), tls_append_default_CA=True, smtp_is_chrooted=True
    )
    assert read_authorities(main_cf) == Authorities(ca_file, append_default=True)


def test_a_relative_file(ca_file: Path) -> None:
    """A relative path begins at the queue directory."""
    main_cf = MainCf(smtp_tls_CAfile=ca_file.name, queue_directory=str(ca_file.parent))
    assert read_authorities(main_cf) == Authorities(ca_file)


def test_a_missing_file(ca_file: Path, tmp_path: Path) -> None:
    """A file that cannot be read is a problem, whatever else there is."""
    path = tmp_path / "missing"
    main_cf = MainCf(smtp_tls_CAfile=str(path), smtp_tls_CApath=str(tmp_path))
    problem = f"smtp_tls_CAfile {path}: No such file or directory"
    assert read_authorities(main_cf) == Authorities(
        path, tmp_path, is_loadable=False, problem=problem
    )


@pytest.mark.parametrize("damage", [0, -40], ids=["empty", "cut"])
def test_a_damaged_file(ca_file: Path, damage: int) -> None:
    """A file in which OpenSSL finds no certificate is a problem: smtp(8) goes on without TLS."""
    ca_file.write_text(ca_file.read_text()[:damage])
    found = read_authorities(MainCf(smtp_tls_CAfile=str(ca_file)))
    assert found.problem == f"smtp_tls_CAfile {ca_file} has no certificates that OpenSSL can read"
    assert not found.is_loadable


@pytest.mark.parametrize("chrooted", [True, False])
def test_a_folder(tmp_path: Path, *, chrooted: bool) -> None:
    """The folder is searched inside the chroot."""
    queue, outside = tmp_path / "queue", tmp_path / "certs"
    inside = queue / str(outside).lstrip("/")
    for folder in (inside, outside):
        folder.mkdir(parents=True)
    main_cf = MainCf(
        smtp_tls_CApath=str(outside), queue_directory=str(queue), smtp_is_chrooted=chrooted
    )
    expected = inside if chrooted else outside
    empty = f"smtp_tls_CApath {expected} has no hashed certificates (openssl rehash)"
    assert read_authorities(main_cf) == Authorities(ca_path=expected, problem=empty)
    (expected / "5ed36f99.0").touch()
    assert read_authorities(main_cf) == Authorities(ca_path=expected)


def test_a_missing_folder(tmp_path: Path) -> None:
    """A folder that is not inside the chroot is a problem, unless there are other CAs."""
    main_cf = MainCf(smtp_tls_CApath="/certs", queue_directory=str(tmp_path), smtp_is_chrooted=True)
    problem = f"smtp_tls_CApath {tmp_path}/certs: No such file or directory"
    assert read_authorities(main_cf).problem == problem
