"""What a shared store has to prove with TLS."""

import ssl
from pathlib import Path

import pytest

from postfix_mta_sts.store.fleet.tls import client_context
from tests.support.tls import Authority


def test_the_authorities() -> None:
    """Without ca_file those of the system count; with it they do not."""
    ours = Authority().certificate.decode()
    assert len(client_context(ours).get_ca_certs()) == 1
    assert client_context(None).verify_mode is ssl.CERT_REQUIRED
    assert client_context(None).check_hostname


def test_a_file_of_session_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The environment of the daemon cannot have session keys written to a file."""
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert client_context(None).keylog_filename is None
