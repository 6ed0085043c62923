"""Probe mail hosts in a thread with an event loop of its own, beside one that answers look-ups.

A handshake takes milliseconds of OpenSSL's time, and a certificate with thousands of names more, to
read it and to compare it. The thread starts with the first probe, and imports pyOpenSSL and
cryptography then: a process that never probes does without them.
"""

import asyncio
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.errors import CannotProbeError, printable
from postfix_mta_sts.network.smtp.trust_content import in_memory
from postfix_mta_sts.network.smtp.values import (
    Certificate,
    ProbePlan,
    ProbeResult,
    TlsSession,
    TrustFiles,
)
from postfix_mta_sts.values import replace

if TYPE_CHECKING:
    from postfix_mta_sts.network.smtp.tls import Trust

NAMES_KEPT: Final = 100
"""Names of a certificate that are kept, and as many that fit; some have 40,000."""
NAME_LIMIT: Final = 1_000
"""Characters of such a name."""
END_TIMEOUT: Final = 0.5
"""Seconds for the end of the thread; then the process ends without waiting for it."""


class ProbeThread:
    """Probes in a thread; call `close` last."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._trust: tuple[object, Trust] | None = None

    async def probe(self, plan: ProbePlan) -> tuple[ProbeResult, ...]:
        """See `MailChecks.probe`; cancelling it ends the conversations."""
        loop = self._loop or self._start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._run(plan), loop))

    def close(self) -> None:
        """End all probes, and the thread; waits `END_TIMEOUT` at most."""
        if self._loop and self._thread:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(END_TIMEOUT)

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.new_event_loop()
        # The end of the process does not wait for it: opening a CA file may hang.
        thread = threading.Thread(target=_serve, args=(loop,), name="probes", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            loop.close()
            raise CannotProbeError(f"no thread for probes: {error}") from None
        self._loop, self._thread = loop, thread
        return loop

    async def _run(self, plan: ProbePlan) -> tuple[ProbeResult, ...]:
        """Runs in the thread."""
        try:
            from postfix_mta_sts.network.smtp.probe import probe_all  # noqa: PLC0415
        except ImportError as error:  # no wheel for this machine (pyproject.toml)
            reason = f"pyOpenSSL and cryptography are needed: {printable(str(error))}"
            raise CannotProbeError(reason) from None
        results = await probe_all(
            plan.targets, self._trust_of(plan.trust), ehlo=plan.ehlo, deadline=plan.seconds
        )
        return tuple(_without_surplus(each, plan.names) for each in results)

    def _trust_of(self, files: TrustFiles) -> "Trust":
        """Read the CA certificates, if the last probe did not use the same ones."""
        try:
            key = (files, _changed_at(files.ca_file))
            if self._trust is None or self._trust[0] != key:
                self._trust = (key, _made(files))
        except (OSError, UserError) as error:
            raise CannotProbeError(printable(str(error))) from None
        except MemoryError:
            raise CannotProbeError("executable memory is forbidden, and OpenSSL needs it") from None
        return self._trust[1]


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """The thread: run until the loop is stopped, then end what is under way."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()


def _made(files: TrustFiles) -> "Trust":
    from postfix_mta_sts.network.smtp.tls import Trust  # noqa: PLC0415 (with the first probe)

    if not files.content:
        return Trust(files.ca_file, files.ca_path, files.append_default_ca)
    with in_memory(files.content) as path:
        return Trust(path, "", files.append_default_ca)


def _changed_at(path: str) -> int:
    return Path(path).stat().st_mtime_ns if path else 0


def _without_surplus(result: ProbeResult, names: Sequence[str]) -> ProbeResult:
    """A result without what no verdict needs, which a host could make very large."""
    tls = _first_certificate(result.tls, (*names, result.target.host)) if result.tls else None
    return replace(result, steps=(), tls=tls)


def _first_certificate(session: TlsSession, names: Sequence[str]) -> TlsSession:
    return replace(session, chain=tuple(_fewer_names(c, names) for c in session.chain[:1]))


def _fewer_names(certificate: Certificate, names: Sequence[str]) -> Certificate:
    common_name = certificate.common_name
    if common_name is not None and len(common_name) > NAME_LIMIT:
        common_name = common_name[:NAME_LIMIT]  # it fits no name either way
    kept = tuple(_kept(certificate.dns_names, names))
    return replace(certificate, common_name=common_name, dns_names=kept)


def _kept(presented: Sequence[str], names: Iterable[str]) -> Iterable[str]:
    """The first names, and the first others that may fit (`names.matches_dns_name`)."""
    lower = [name.lower() for name in names]
    exact, under = set(lower), tuple(name for name in lower if name.startswith("."))
    parents = {f"*.{name.partition('.')[2]}" for name in lower}
    room = NAMES_KEPT
    for number, name in enumerate(presented):
        if len(name) > NAME_LIMIT:
            continue
        if number < NAMES_KEPT:
            yield name
        elif room and (name in exact or name in parents or name.endswith(under)):
            room -= 1
            yield name
