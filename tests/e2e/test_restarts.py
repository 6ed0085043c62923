"""The daemon stops or is killed, and starts again: no mail and no policy is lost."""

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.wires import SOCKETMAP_TCP, WIRES, listeners, policy_maps, unix_path
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

ACTIVATED_PORT = 8471
"""The port of the daemon whose listening sockets stay open while it does not run."""
KILLED_PORT = 8481
RESTARTS = 3


@pytest.fixture(scope="module")
def activated(
    inside: Namespace,
    mtas: dict[str, Mta],
    settings: dict[str, object],
    folder: Path,
    logs: Path,
) -> Iterator[Daemon]:
    """A daemon that inherits its sockets, so that clients do not notice a restart."""
    folders = [mta.sockets for mta in mtas.values()]
    with contextlib.ExitStack() as stack:
        sockets = [
            inside.listen("127.0.0.1", port) for port in (ACTIVATED_PORT, ACTIVATED_PORT + 1)
        ]
        sockets += [_listen_unix(unix_path(ACTIVATED_PORT, each)) for each in folders]
        for each in sockets:
            stack.enter_context(each)
        own_settings = settings | {"listen": listeners(ACTIVATED_PORT, folders)}
        made = Daemon(
            inside, folder / "activated", logs / "daemon-activated.log", own_settings, sockets
        )
        yield stack.enter_context(running(made))


def _listen_unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.bind(str(path))
    path.chmod(0o666)
    made.listen(256)
    return made


@pytest.fixture
def killable(
    inside: Namespace, settings: dict[str, object], mta: Mta, folder: Path, logs: Path
) -> Iterator[Daemon]:
    """A daemon for one test, which kills it."""
    own_settings = settings | {"listen": listeners(KILLED_PORT, [])}
    place = folder / f"killable-{mta.version}"
    with running(Daemon(inside, place, logs / f"daemon-{place.name}.log", own_settings)) as made:
        yield made


@contextlib.contextmanager
def _traffic(mta: Mta, domain: str) -> Iterator[list[str]]:
    """Submit mail without a pause; yield the growing list of recipients."""
    recipients: list[str] = []
    enough = threading.Event()

    def submit() -> None:
        while not enough.is_set():
            recipients.append(mta.submit(domain))

    thread = threading.Thread(target=submit)
    thread.start()
    try:
        yield recipients
    finally:
        enough.set()
        thread.join()


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("end", [Daemon.stop, Daemon.kill])
def test_a_restart_under_traffic_defers_nothing(
    mta: Mta, activated: Daemon, world: World, wire: str, end: Callable[[Daemon], None]
) -> None:
    """Restarted while mail is submitted: each message is sent as Verified."""
    domain = world.fresh("busy")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce")
    mta.use(policy_maps(wire, ACTIVATED_PORT))
    start = mta.log.mark

    with _traffic(mta, domain) as recipients:
        for _ in range(RESTARTS):
            mta.log.wait(r"status=sent", mta.log.mark)
            end(activated)
            away = mta.log.mark
            mta.log.wait(r"postfix/qmgr.*\(queue active\)", away)  # a message waits for the daemon
            activated.start()

    for recipient in recipients:
        mta.log.wait(rf"to=<{recipient}>.* status=sent", start)
    # Mail that an earlier test left in the queue may be tried again meanwhile.
    log = [line for line in mta.log.since(start) if domain in line]
    assert not [line for line in log if "status=deferred" in line]
    connected = [line for line in log if "TLS connection" in line]
    assert connected
    assert not [line for line in connected if "Verified TLS" not in line]
    assert mta.queue().keys().isdisjoint(recipients)
    taken = world.receipts(f"@{domain}")
    assert sorted(receipt.recipient for receipt in taken) == sorted(recipients)
    assert {receipt.sni for receipt in taken} == {f"mx.{domain}"}


def test_a_policy_outlives_kill_9(mta: Mta, killable: Daemon, world: World) -> None:
    """Killed, DNS and Policy Host down: the policy is stored with its age, and enforced."""
    domain = world.fresh("survivor")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce")
    mta.use(policy_maps(SOCKETMAP_TCP, KILLED_PORT))
    first = mta.send(domain)
    assert (first.status, first.tls(f"mx.{domain}")) == ("sent", "Verified"), first
    killable.kill()
    fetched_at = _fetched_at(killable.store, domain)

    with world.without("dns", "policy host"):
        killable.start()
        good = mta.send(domain)
        world.mail_host(domain, "wrong name")
        bad = mta.send(domain)

    assert (good.status, good.tls(f"mx.{domain}")) == ("sent", "Verified"), good
    assert good.delay_reason is None
    assert (bad.status, bad.dsn) == ("deferred", "4.7.5"), bad
    assert bad.delay_reason is not None
    assert bad.receipts == ()
    assert _fetched_at(killable.store, domain) == fetched_at


def _fetched_at(store: Path, domain: str) -> float:
    """Return when the stored policy was fetched, in epoch seconds."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT fetched_at FROM policies WHERE domain = ?", [domain]).fetchall()
    (row,) = rows
    return float(row[0])
