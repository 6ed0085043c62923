"""Probes in a thread: the same results, bounded, and no look-up waits for them."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.mtasts.errors import CannotProbeError
from postfix_mta_sts.network.smtp import probe_thread
from postfix_mta_sts.network.smtp.probe_thread import NAME_LIMIT, NAMES_KEPT, ProbeThread
from postfix_mta_sts.network.smtp.values import FailureKind, ProbePlan, ProbeTarget, TrustFiles
from tests.support.smtp_host import SILENCE, SmtpHost
from tests.support.tls import Authority, Credential

SECONDS = 60.0
"""Enough for a busy machine."""


@pytest.fixture
async def probes() -> AsyncIterator[ProbeThread]:
    """A thread, which may never start."""
    made = ProbeThread()
    yield made
    made.close()


def plan(*targets: ProbeTarget, ca_file: Path | str = "", names: tuple[str, ...] = ()) -> ProbePlan:
    """What a check asks for."""
    return ProbePlan("good.test", targets, TrustFiles(str(ca_file)), "client.test", names, SECONDS)


async def test_results(
    probes: ProbeThread, authority: Authority, credential: Credential, tmp_path: Path
) -> None:
    """They are in the order of the plan, and have no more than a verdict needs."""
    ca_file = authority.write(tmp_path)
    async with SmtpHost(credential) as one, SmtpHost(plain={"EHLO": b"250 mx.test\r\n"}) as other:
        first, second = await probes.probe(plan(one.target(), other.target(), ca_file=ca_file))
        again = await probes.probe(plan(one.target(), ca_file=ca_file))
    assert first.tls
    assert first.tls.error is None
    assert first.steps == ()
    assert [each.dns_names for each in first.tls.chain] == [("mx.test",)]
    assert second.offers_starttls is False
    assert again[0].tls
    assert again[0].tls.error is None
    assert sum(each.name == "probes" for each in threading.enumerate()) == 1


async def test_another_ca_file(
    probes: ProbeThread, authority: Authority, credential: Credential, tmp_path: Path
) -> None:
    """A file that was written again, or another one, counts from the next probe on."""
    path = tmp_path / "ca.pem"
    path.write_bytes(Authority().certificate)
    async with SmtpHost(credential) as host:
        before = await probes.probe(plan(host.target(), ca_file=path))
        authority.write(tmp_path)
        after = await probes.probe(plan(host.target(), ca_file=path))
    assert before[0].tls
    assert before[0].tls.error
    assert after[0].tls
    assert after[0].tls.error is None


async def test_many_names(probes: ProbeThread, authority: Authority) -> None:
    """Of a certificate with thousands of names the first are kept, and those that may fit."""
    names = [f"h{number}.test" for number in range(500)]
    wanted = ("a.fits.test", "*.parent.test", "b.under.test", "mx.test")
    host = SmtpHost(authority.issue(*names, *wanted, *(f"{n}.under.test" for n in range(300))))
    references = ("a.fits.test", "x.parent.test", ".under.test")
    async with host:
        found = await probes.probe(plan(host.target(), names=references))
    assert found[0].tls
    kept = found[0].tls.chain[0].dns_names
    assert set(wanted) <= set(kept)
    assert kept[:NAMES_KEPT] == tuple(names[:NAMES_KEPT])
    assert len(kept) <= 2 * NAMES_KEPT


def test_long_names() -> None:
    """A name that is too long to fit anything is left out."""
    presented = ("x" * (NAME_LIMIT + 1), "mx.test")
    assert list(probe_thread._kept(presented, ["mx.test"])) == ["mx.test"]


async def test_ca_file_that_cannot_be_read(probes: ProbeThread, tmp_path: Path) -> None:
    """It is a fault of this side, with its reason, and no connection is made."""
    damaged = tmp_path / "damaged.pem"
    damaged.write_text("no certificate")
    async with SmtpHost() as host:
        for path in (tmp_path / "missing.pem", damaged):
            with pytest.raises(CannotProbeError, match=str(path)):
                await probes.probe(plan(host.target(), ca_file=path))
    assert host.connections == 0


async def test_cancelled(probes: ProbeThread) -> None:
    """The conversations end at once, and the next probe works."""
    async with SmtpHost(plain={"": SILENCE}) as silent, SmtpHost() as refused:
        probing = asyncio.create_task(probes.probe(plan(silent.target())))
        await silent.reached.wait()
        probing.cancel()
        await silent.empty.wait()
        target = refused.target()
    found = await probes.probe(plan(target))
    assert found[0].failure
    assert found[0].failure.kind is FailureKind.REFUSED


async def test_close() -> None:
    """It ends conversations; one that was never used has nothing to end."""
    ProbeThread().close()
    probes = ProbeThread()
    async with SmtpHost(plain={"": SILENCE}) as silent:
        probing = asyncio.create_task(probes.probe(plan(silent.target())))
        await silent.reached.wait()
        probes.close()
        await silent.empty.wait()
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)


async def test_no_thread(probes: ProbeThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the limit of threads (`TasksMax`) the probe fails, and a later one may start it."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with SmtpHost(plain={"EHLO": b"250 mx.test\r\n"}) as host:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(CannotProbeError, match="no thread for probes: can't start"):
                await probes.probe(plan(host.target()))
        assert len(await probes.probe(plan(host.target()))) == 1
