"""CA certificates of Postfix that the daemon reads for its network process."""

from pathlib import Path

import pytest

from postfix_mta_sts.network.smtp import trust_content
from postfix_mta_sts.network.smtp.probe_thread import ProbeThread
from postfix_mta_sts.network.smtp.trust_content import in_memory, with_content
from postfix_mta_sts.network.smtp.values import ProbePlan, TrustFiles
from tests.support.smtp_host import SmtpHost
from tests.support.tls import Authority, Credential


def hashed(folder: Path, authority: Authority) -> Path:
    """A folder as openssl-rehash(1) makes it, with this CA."""
    (folder / "certs").mkdir()
    (folder / "certs" / "0a0b0c0d.0").symlink_to(authority.write(folder))
    (folder / "certs" / "README").write_text("no certificate")
    return folder / "certs"


@pytest.mark.parametrize("kind", ["file", "folder", "none"])
async def test_used(
    authority: Authority, credential: Credential, tmp_path: Path, kind: str
) -> None:
    """The same CAs count as if the process that probes had opened the files itself."""
    folder = hashed(tmp_path, authority)
    trust = {
        "file": TrustFiles(str(tmp_path / "ca.pem")),
        "folder": TrustFiles(ca_path=str(folder)),
        "none": TrustFiles(),
    }[kind]
    read = with_content(trust)
    for each in tmp_path.glob("*.pem"):
        each.rename(tmp_path / "gone")
    if trust.ca_file:
        (tmp_path / "ca.pem").write_text("hidden")
    probes = ProbeThread()
    try:
        async with SmtpHost(credential) as host:
            plan = ProbePlan("good.test", (host.target(),), read, "client.test", (), 60.0)
            found = await probes.probe(plan)
    finally:
        probes.close()
    assert found[0].tls
    assert (found[0].tls.error is None) is (kind != "none")


def test_unreadable(tmp_path: Path) -> None:
    """What cannot be read is left to the process that probes, which says why."""
    for trust in (TrustFiles(str(tmp_path / "no.pem")), TrustFiles(ca_path=str(tmp_path / "no"))):
        assert with_content(trust) == trust


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not sent."""
    (tmp_path / "ca.pem").write_bytes(b"x" * 11)
    monkeypatch.setattr(trust_content, "LIMIT", 10)
    trust = TrustFiles(str(tmp_path / "ca.pem"))
    assert with_content(trust) == trust


def test_a_file_in_memory() -> None:
    """It has the content, and is gone afterwards."""
    with in_memory(b"content") as path:
        assert Path(path).read_bytes() == b"content"
    assert not Path(path).exists()
