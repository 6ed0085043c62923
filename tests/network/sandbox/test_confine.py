"""A hostile program in the place of the network process tries what it must not do."""

import asyncio
import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.network.messages import Discover, FetchPolicy, Probe
from postfix_mta_sts.network.process import NetworkProcess
from postfix_mta_sts.network.sandbox import confine as confine_module
from postfix_mta_sts.network.sandbox import kernel, landlock
from postfix_mta_sts.network.sandbox.calls import this_machine
from postfix_mta_sts.network.sandbox.confine import confine
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.smtp.trust_content import with_content
from postfix_mta_sts.network.smtp.values import ProbePlan, ProbeResult, TrustFiles
from postfix_mta_sts.network.supervisor import Supervisor
from postfix_mta_sts.network.timing import Timing
from postfix_mta_sts.values import replace
from tests.support import hostile
from tests.support.capabilities import held_capabilities
from tests.support.daemons import TIMEOUT
from tests.support.internet import Internet, authority
from tests.support.network_processes import Programs
from tests.support.obstacles import cannot
from tests.support.smtp_host import SmtpHost

GOOD: Final = parse_domain("good.test")


def offered() -> int:
    """The version of Landlock on this machine; 0: none."""
    try:
        return landlock.abi()
    except landlock.NoLandlockError:
        return 0


ABI: Final = offered() if kernel.is_usable() else 0


@pytest.fixture(scope="module", autouse=True)
def _kernel() -> None:
    """Only a kernel with both confines a program."""
    if not ABI or this_machine() is None:
        cannot("this kernel has no Landlock, or its calls are not known here")


CANNOT: Final = {
    # one number has several names, and Python gives one of them
    errno.errorcode[number]
    for number in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.EAGAIN)
}
"""The answers of a file system that cannot do what was tried."""
CAP_NET_ADMIN: Final = 1 << 12


def rules_network() -> bool:
    """Whether this process may change addresses and routes."""
    return bool(held_capabilities("CapEff") & CAP_NET_ADMIN)


ALLOWED: Final = {
    "send datagram to any port",  # docs/systemd.md says so
    "read CA file",
    "read resolv.conf",
    "connect to Policy Host",
    "connect to mail server",
    "ask name server",
    "find localhost",
    "open netlink socket",
    "open pair of stream sockets",
    "make socket non-blocking",
    "start thread",
    "signal oneself",
    "import OpenSSL",
    "import redis",
    "import asyncpg",
    "import idna codec",
    "make callback",
    "format traceback",
}


@dataclass(frozen=True, slots=True)
class Told:
    """What the hostile program has printed: outcomes in both threads, and how it began."""

    first: Mapping[str, str]
    later: Mapping[str, str]
    threads: int
    descriptors: list[str]

    @property
    def done(self) -> set[str]:
        """What it could do; both threads are told the same."""
        assert self.first == self.later
        return {name for name, outcome in self.first.items() if outcome == "done"}

    @property
    def errors(self) -> set[str]:
        """How the kernel refused the rest."""
        return set(self.first.values()) - {"done"}


@pytest.fixture
def targets(net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is there to be reached: files beside the daemon's, sockets, another TCP server."""
    store, key, own = (tmp_path / name for name in ("policies.db", "key", "own"))
    for each in (store, key, own):
        each.write_text("secret")
    with ExitStack() as stack:
        control = stack.enter_context(socket.socket(socket.AF_UNIX))
        control.bind(str(tmp_path / "control.sock"))
        control.listen()
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{tmp_path}")
        abstract.listen()
        other = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        smtp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        found = {
            "parent": os.getpid(),
            "store": str(store),
            "key": str(key),
            "own": str(own),
            "folder": str(tmp_path),
            "ca_file": str(net.ca_file),
            "control": str(tmp_path / "control.sock"),
            "abstract": str(tmp_path),
            "other_port": other.getsockname()[1],
            "smtp_port": smtp.getsockname()[1],
            "https_port": net.hosts.port,
            "dns_port": net.dns.address.rpartition(":")[2],
        }
        monkeypatch.setenv(hostile.TARGETS, json.dumps({k: str(v) for k, v in found.items()}))
        yield


def settings_of(net: Internet, folder: Path) -> NetworkSettings:
    """Those of a daemon with a sandbox."""
    found = json.loads(os.environ[hostile.TARGETS])
    settings = NetworkSettings.of(net.settings(folder), net.hosts.port, int(found["smtp_port"]))
    return replace(settings, sandbox=True)


@asynccontextmanager
async def hostile_process(
    net: Internet,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    settings: NetworkSettings | None = None,
) -> AsyncIterator[tuple[NetworkProcess, Told]]:
    """The process in use is the hostile program; with what it has printed."""
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)  # it would write a file
    Programs(monkeypatch).usual = hostile.PROGRAM
    supervisor = Supervisor(Timing(late_after=TIMEOUT))
    supervisor.start(settings or settings_of(net, folder))
    try:
        async with asyncio.timeout(TIMEOUT):
            process = await supervisor.process()
        lines = capfd.readouterr().out.splitlines()
        yield process, Told(**json.loads(lines[-1]))
    finally:
        await supervisor.stop()


@pytest.mark.usefixtures("targets")
async def test_what_it_can_do(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Only what a network process needs, in threads too; and it works as ever."""
    async with hostile_process(net, tmp_path, monkeypatch, capfd) as (process, told):
        without_ports = set() if ABI >= landlock.PORTS_ABI else {"connect to another port", "bind"}
        assert told.done == ALLOWED | without_ports
        assert told.errors <= {"EPERM", "EACCES"}
        assert await process.call(Discover, GOOD)
        assert await process.call(FetchPolicy, GOOD)
        assert process.confinement
        assert process.confinement.files
        assert process.confinement.unix_sockets
        assert process.confinement.processes
    assert (tmp_path / "own").read_text() == "secret"


@pytest.mark.usefixtures("targets")
async def test_how_it_begins(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """With one thread, and with nothing open but the standard streams and the channel."""
    async with hostile_process(net, tmp_path, monkeypatch, capfd) as (_, told):
        assert told.threads == 1
        assert len([each for each in told.descriptors if each.startswith("socket:")]) == 1
        assert not [each for each in told.descriptors if str(tmp_path) in each]


@pytest.mark.usefixtures("targets")
@pytest.mark.parametrize("version", range(7))
async def test_older_kernels(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    version: int,
) -> None:
    """With each version of Landlock, and without: what holds is what is said to hold."""
    if version > ABI:
        pytest.skip(f"this kernel has version {ABI}")
    monkeypatch.setenv(hostile.ABI, str(version))
    async with hostile_process(net, tmp_path, monkeypatch, capfd) as (process, told):
        held = process.confinement
        assert held
        assert held.files is (version > 0)
        assert (held.ports is None) is (version < 4)
        assert bool(held.missing) is (version < 4)
        more = told.done - ALLOWED
        ports = {"connect to another port", "bind"} if version < 4 else set[str]()
        reads = {name for name in told.first if name.startswith(("read ", "list "))}
        assert more <= ports | (reads if version == 0 else set())
        assert ports <= more
        assert told.done >= ALLOWED
        assert await process.call(FetchPolicy, GOOD)


@pytest.mark.usefixtures("targets")
async def test_off(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Without the sandbox it can do it: the tries are real ones."""
    settings = replace(settings_of(net, tmp_path), sandbox=False)
    async with hostile_process(net, tmp_path, monkeypatch, capfd, settings) as (process, told):
        signals = [name for name in told.first if name.startswith(("let the kernel", "ask for"))]
        assert len(signals) == 6
        usual = ("read store", "connect to control socket", "fork", "signal daemon", "listen")
        for name in (*usual, *signals, "choose the signal"):
            assert told.first[name] == "done", name
        for name in ("connect to another port", "make file", "change mode", "run program"):
            assert told.first[name] in {"done", "ENOENT", "EEXIST"}, name
        for name in ("change flags", "change flags and project", "hold up writers of a file"):
            assert told.first[name] in {"done", *CANNOT}, name
        locks = [name for name in told.first if name.startswith(("lock", "wait for parts"))]
        assert len(locks) == 5
        assert {told.first[name] for name in locks} == {"done"}
        root = {told.first[name] for name in ("set MTU", "add address")}
        assert root <= {"done", "EEXIST"} if rules_network() else root == {"EPERM"}
        assert process.confinement == Confinement(
            is_wanted=False, missing=("network.sandbox is off",)
        )


@pytest.mark.usefixtures("targets")
async def test_mail_servers_can_be_probed(
    net: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The CAs of Postfix, which the process may not read, reach it by the daemon."""
    host = SmtpHost(authority().issue("mx1.good.test"))
    monkeypatch.setenv(
        "SSL_CERT_FILE", str(tmp_path / "nowhere.pem")
    )  # the CA is not one of the system
    (tmp_path / "postfix").mkdir()
    ca_file = authority().write(tmp_path / "postfix")
    async with host:
        settings = replace(settings_of(net, tmp_path), smtp_port=host.port)
        async with hostile_process(net, tmp_path, monkeypatch, capfd, settings) as (process, _):
            for trust in (TrustFiles(str(ca_file)), TrustFiles()):
                plan = ProbePlan(
                    "good.test",
                    (replace(host.target(), host="mx1.good.test"),),
                    with_content(trust),
                    "client.test",
                    (),
                    TIMEOUT,
                )
                found: tuple[ProbeResult, ...] = await process.call(Probe, plan)
                tls = found[0].tls
                assert tls, found
                assert (tls.error is None) is bool(trust.ca_file)


def test_no_ctypes(net_settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ctypes cannot be used there is no sandbox, and that is said."""
    monkeypatch.setattr(kernel, "is_usable", lambda: False)
    held = confine(net_settings).confinement
    assert held == Confinement(missing=("Python's ctypes cannot be used here",))


def test_a_bug(net_settings: NetworkSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of the sandbox itself does not end the process."""

    def fail(_: object) -> None:
        raise LookupError("a bug")

    monkeypatch.setattr(confine_module, "find_rules", fail)
    sandbox = confine(net_settings)
    assert sandbox.confinement == Confinement(missing=("internal error: LookupError('a bug')",))
    assert sandbox.replaced() is None


@pytest.fixture
def net_settings(net: Internet, tmp_path: Path) -> NetworkSettings:
    """Settings with a sandbox; nothing in this process must be restricted."""
    return replace(NetworkSettings.of(net.settings(tmp_path)), sandbox=True)
