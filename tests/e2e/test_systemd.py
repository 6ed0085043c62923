"""The unit, its sockets and its restrictions, under the systemd of Debian 12 and 13."""

import json
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from postfix_mta_sts.network.sandbox.confine import OLD_KERNEL
from tests.e2e.client import ask, ask_repeatedly, secure
from tests.e2e.machines import CONFIG, UNIT, Machine, booted, install, with_systemd
from tests.e2e.namespace import Namespace
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.sinks import SINKS
from tests.e2e.trees import RELEASES, NoTreeError, Release
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

QUEUE_SOCKET = "/var/spool/postfix/run/mta-sts/socketmap.sock"
OWN_SOCKET = "/run/postfix-mta-sts/socketmap.sock"
MAX_EXPOSURE = 1.5
TIMEOUT = 10.0
HOOK_PORT = 8099
HOOK = f"http://127.0.0.1:{HOOK_PORT}/"
RECIPIENT = "alerts@admin.test"
CONFINED = "confined.service"
"""A unit with the restrictions of the daemon's, and a program that tests them."""
TRIES = """\
import ctypes, errno, mmap, os, socket

def tried(what, attempt):
    try:
        attempt()
        print(what, "done")
    except OSError as error:
        print(what, errno.errorcode[error.errno])

def unshared():
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x10000000):
        raise OSError(ctypes.get_errno(), "unshare")

tried("executable", lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC))
tried("etc", lambda: open("/etc/here", "w"))
tried("usr", lambda: open("/usr/here", "w"))
tried("home", lambda: os.listdir("/home"))
tried("device", lambda: open("/dev/kmsg"))
tried("packet", lambda: socket.socket(socket.AF_PACKET))
tried("setuid", lambda: os.setuid(0))
tried("chown", lambda: os.chown("/run/postfix-mta-sts", -1, -1))
tried("namespace", unshared)
tried("state", lambda: open("/var/lib/postfix-mta-sts/here", "w"))
tried("runtime", lambda: open("/run/postfix-mta-sts/here", "w"))
"""
REFUSED = {
    "etc": "EROFS",
    "usr": "EROFS",
    "home": "EACCES",
    "device": "ENOENT",
    "packet": "EAFNOSUPPORT",
    "setuid": "EPERM",
    "chown": "EPERM",
    "namespace": "EPERM",
    "state": "done",
    "runtime": "done",
}


@pytest.fixture(scope="module", params=RELEASES, ids=lambda release: release.suite)
def machine(
    request: pytest.FixtureRequest,
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Machine]:
    """Each Debian, with the daemon installed and running."""
    release: Release = request.param
    place = folder / f"{release.suite}-system"
    place.mkdir()
    root = place / "root"
    try:
        subprocess.run(["cp", "--archive", with_systemd(trees[release.postfix]), root], check=True)
        install(root, stock(release.suite))
        _configure(root, own_world)
        with booted(root, own_namespace, place, logs / f"{release.suite}-boot.log") as made:
            yield made
            (logs / f"{release.suite}-unit.log").write_text(made.journal())
    except NoTreeError as error:
        cannot(str(error))


def _configure(root: Path, own_world: World) -> None:
    shutil.copy(own_world.ca_file, root / "etc/mta-sts-ca.pem")
    addresses = ("127.0.0.1:8461", f"unix:{QUEUE_SOCKET}", f"unix:{OWN_SOCKET}")
    listeners = [{"socketmap": address} for address in addresses]
    settings = {
        "listen": listeners,
        "dns": {"nameservers": [DAEMON_DNS], "timeout": "2s"},
        "https": {"ca_file": "/etc/mta-sts-ca.pem", "allow_private_addresses": True},
    }
    settings["alerts"] = {"command": ["/bin/sh", "/etc/alert.sh"]}
    (root / "etc/alert.sh").write_text(alert_script())
    (root / CONFIG).write_text(json.dumps(settings))  # JSON is YAML
    (root / "etc/confined.py").write_text(TRIES)
    unit = (root / "etc/systemd/system" / UNIT).read_text()
    unit = re.sub(r"ExecStart=.*", "ExecStart=python3 /etc/confined.py", unit)
    unit = re.sub(r"(Type=).*", r"\1oneshot", unit)
    unit = re.sub(r"(?m)^(Restart|WatchdogSec|ExecReload)=.*", "", unit)
    (root / "etc/systemd/system" / CONFINED).write_text(unit)


def alert_script() -> str:
    """Run each command of docs/alerts.md with the event; each goes to a server of the test."""
    page = (Path(__file__).parents[2] / "docs/alerts.md").read_text("utf-8")
    webhook, mail = re.findall(r"^    alerts:\n      command: (.*)$", page, re.MULTILINE)
    words = [*yaml.safe_load(webhook)[:-1], HOOK]
    script = yaml.safe_load(mail)[2].replace("127.0.0.1", SINKS["no STARTTLS"][0])
    script = script.replace("--mail-rcpt root@localhost", f"--mail-rcpt {RECIPIENT}")
    sendmail = re.search(r"`\[/bin/sh, -c, '(.*sendmail.*)'\]`", page)
    assert sendmail
    return f"""\
event=$(cat)
echo "$event" | sh -c {shlex.quote(script)} && echo "$event" | {shlex.join(words)}
echo "$event" | timeout 3 sh -c {shlex.quote(sendmail[1])}
"""


def test_started(machine: Machine) -> None:
    """The unit and its sockets are active, and the daemon uses both sockets."""
    assert machine.unit("ActiveState") == "active"
    journal = machine.journal()
    assert "listening wire=socketmap address=127.0.0.1:8461" in journal
    assert f"listening wire=socketmap address=unix:{QUEUE_SOCKET}" in journal
    assert "inherited socket fits no listener" not in journal
    order = machine.unit("Before").split()
    assert "postfix.service" in order


def test_user_and_privileges(machine: Machine) -> None:
    """The process has the static user, no capabilities, and a filter of system calls."""
    pid = machine.unit("MainPID")
    status = dict(
        line.split(":\t", 1) for line in machine.output("cat", f"/proc/{pid}/status").splitlines()
    )
    uid = machine.output("id", "--user", "postfix-mta-sts")
    assert uid != "0"
    assert status["Uid"].split() == [uid] * 4
    for each in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[each], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_sandbox_of_the_network_process(machine: Machine) -> None:
    """The unit allows what the process needs to restrict itself; only the kernel limits it."""
    # Null while the network process starts.
    eventually(lambda: _status(machine)["sandbox"])
    held = _status(machine)["sandbox"]
    assert (held["files"], held["unix_sockets"], held["processes"]) == (True, True, True)
    if held["missing"]:
        assert held["missing"] == [f"ports: {OLD_KERNEL}"]
    else:
        assert {25, 443} < set(held["ports"])


def test_restrictions_are_in_force(machine: Machine) -> None:
    """Only the two folders are writable, and memory cannot be made executable."""
    machine.output("systemctl", "start", CONFINED)
    said = re.findall(r"^(\w+) (done|E[A-Z]+)$", machine.journal(CONFINED), re.MULTILINE)
    assert dict(said) == REFUSED | {"executable": dict(said)["executable"]}
    assert dict(said)["executable"] in {"EPERM", "EACCES"}  # from a filter, or from the kernel


def _status(machine: Machine) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(machine.output("postfix-mta-sts", "status", "--json"))
    return shown


def eventually(holds: Callable[[], object]) -> None:
    """Wait until this is true: systemd may report a reload as done after the signal."""
    deadline = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_limits_are_in_force(machine: Machine) -> None:
    """The memory limit hits the network process first, and nothing but that (OOMPolicy)."""
    wanted = {"OOMPolicy": "continue", "MemoryMax": str(400 * 2**20), "TasksMax": "150"}
    assert {name: machine.unit(name) for name in wanted} == wanted
    eventually(lambda: oom_score(machine, network_process(machine)) == 500)
    assert oom_score(machine, machine.unit("MainPID")) == 0


def oom_score(machine: Machine, pid: str) -> int:
    """What the kernel adds to the badness of a process (proc(5))."""
    return int(machine.output("cat", f"/proc/{pid}/oom_score_adj"))


def network_process(machine: Machine) -> str:
    """The process id of the network process."""
    pid = machine.unit("MainPID")
    return machine.output("cat", f"/proc/{pid}/task/{pid}/children").split()[0]


def test_the_network_process_is_killed(
    machine: Machine, own_namespace: Namespace, own_world: World
) -> None:
    """Under the restrictions too another one is started, and systemd restarts nothing."""
    main, killed = machine.unit("MainPID"), network_process(machine)
    machine.output("sh", "-c", f"kill -KILL {killed}")
    domain = own_world.fresh("killed")
    own_world.policy(domain, "enforce")
    assert ask(own_namespace, domain) == secure(domain)
    assert (machine.unit("MainPID"), network_process(machine) != killed) == (main, True)


def test_looks_up_under_the_restrictions(
    machine: Machine, own_namespace: Namespace, own_world: World
) -> None:
    """Under the restrictions a domain is looked up over DNS and HTTPS, and stored."""
    domain = own_world.fresh("confined")
    own_world.policy(domain, "enforce")
    assert ask(own_namespace, domain) == secure(domain)
    assert ask(own_namespace, own_world.fresh("none")) == "NOTFOUND "
    listing = machine.output("stat", "--format=%U %a", "/var/lib/postfix-mta-sts/policies.db")
    assert listing.split()[0] == "postfix-mta-sts"
    assert machine.output("postfix-mta-sts", "healthcheck") == "socketmap 127.0.0.1:8461: answers"


def test_alert_commands(machine: Machine, own_namespace: Namespace, own_world: World) -> None:
    """The webhook and the mail of docs/alerts.md work under the restrictions; sendmail does not."""
    machine.output("systemctl", "restart", UNIT)  # the confined unit has removed the control socket
    domain = own_world.fresh("weaker")
    own_world.policy(domain, "enforce")
    assert ask(own_namespace, domain) == secure(domain)
    own_world.policy(domain, "testing", policy_id="2")
    received = len(own_world.receipts(RECIPIENT))
    with own_namespace.listen("127.0.0.1", HOOK_PORT) as listener:
        listener.settimeout(TIMEOUT)
        machine.output("postfix-mta-sts", "policy", "refresh", domain)
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            head = b"".join(iter(stream.readline, b"\r\n"))
            length = re.search(rb"(?i)content-length: ([0-9]+)", head)
            assert length
            event = json.loads(stream.read(int(length[1])))
            stream.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert (event["domain"], event["kind"], event["after"]) == (domain, "mode", "testing")
    assert b"application/json" in head
    assert len(own_world.receipts(RECIPIENT)) == received + 1
    says = "alert command failed command=/bin/sh"
    eventually(lambda: says in machine.journal())
    failed = next(line for line in machine.journal().splitlines() if says in line)
    assert "postdrop: warning: mail_queue_enter: create file" in failed
    history = machine.output("postfix-mta-sts", "policy", "history", "--weaker", "--since", "1d")
    assert re.search(rf"^{re.escape(domain)} .* weaker: mode", history, re.MULTILINE)


def test_socket_in_the_chroot(machine: Machine, own_world: World) -> None:
    """Only Postfix's user can use the socket in its queue directory."""
    domain = own_world.fresh("chroot")
    own_world.policy(domain, "enforce")
    table = f"socketmap:unix:{QUEUE_SOCKET}:postfix"
    done = machine.run("postmap", "-q", domain, table, user="postfix")
    assert done.stdout.strip() == secure(domain).removeprefix("OK ")
    assert machine.run("postmap", "-q", domain, table, user="nobody").returncode != 0


def test_restart_loses_no_look_up(
    machine: Machine, own_namespace: Namespace, own_world: World
) -> None:
    """Look-ups during a restart are answered: systemd holds the socket."""
    domain = own_world.fresh("restart")
    own_world.policy(domain, "enforce")
    before = machine.unit("MainPID")
    with ask_repeatedly(own_namespace, domain) as replies:
        for _ in range(2):
            machine.output("systemctl", "restart", UNIT)
    assert set(replies) == {secure(domain)}
    assert machine.unit("MainPID") != before


def test_reload(machine: Machine) -> None:
    """The same process applies a configuration, and refuses a bad one; STATUS= shows it."""
    pid = machine.unit("MainPID")
    good = (machine.root / CONFIG).read_text()
    try:
        (machine.root / CONFIG).write_text(json.dumps({"lookup": {"timeout": "soon"}}))
        machine.output("systemctl", "reload", UNIT)
        bad = "reload failed: /etc/postfix-mta-sts.yml:1: lookup.timeout: "
        eventually(lambda: machine.unit("StatusText").startswith(bad))
    finally:
        (machine.root / CONFIG).write_text(good)
    machine.output("systemctl", "reload", UNIT)
    counted = re.compile("[0-9]+ polic(y|ies); [0-9]+ look-ups?")
    eventually(lambda: counted.match(machine.unit("StatusText")))
    assert machine.unit("MainPID") == pid


def test_postconf_can_be_run(machine: Machine) -> None:
    """Under the restrictions postconf can be run: `dane.mode: auto` follows main.cf."""
    main_cf = machine.root / "etc/postfix/main.cf"
    before = main_cf.read_text() if main_cf.exists() else ""
    main_cf.write_text("compatibility_level = 3.6\nsmtp_dns_support_level = enabled\n")
    try:
        machine.output("systemctl", "reload", UNIT)
        eventually(lambda: "smtp_dns_support_level is enabled in Postfix" in machine.journal())
    finally:
        main_cf.write_text(before)


def test_exposure(machine: Machine) -> None:
    """systemd-analyze gives at most 1.5, and finds no fault in the units."""
    analyze = ("systemd-analyze", "security", "--no-pager", UNIT)
    verdict = re.search(rf"exposure level for {UNIT}: ([0-9.]+)", machine.output(*analyze))
    assert verdict
    assert float(verdict[1]) <= MAX_EXPOSURE
    units = [UNIT, "postfix-mta-sts.socket", "postfix-mta-sts-chroot.socket"]
    paths = [f"/etc/systemd/system/{unit}" for unit in units]
    done = machine.run("systemd-analyze", "verify", *paths)
    assert done.stdout + done.stderr == ""
    assert done.returncode == 0


def test_the_two_lines_of_the_warning(machine: Machine, own_world: World) -> None:
    """A socket that the daemon makes is closed to Postfix until the unit has the lines (D6)."""
    domain = own_world.fresh("own-socket")
    own_world.policy(domain, "enforce")
    table = f"socketmap:unix:{OWN_SOCKET}:postfix"
    assert machine.run("postmap", "-q", domain, table, user="postfix").returncode != 0
    says = (
        rf"may not connect to a listener address=unix:{OWN_SOCKET} .*\[Service\].*: (\S+), (\S+)\""
    )
    warning = re.search(says, machine.journal())
    assert warning
    drop_in = machine.root / f"etc/systemd/system/{UNIT}.d/group.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("\n".join(("[Service]", *warning.groups(), "")))
    try:
        machine.output("systemctl", "daemon-reload")
        machine.output("systemctl", "restart", UNIT)
        assert machine.output("stat", "--format=%G %a", OWN_SOCKET) == "postfix 660"
        done = machine.run("postmap", "-q", domain, table, user="postfix")
        assert done.stdout.strip() == secure(domain).removeprefix("OK ")
        assert machine.run("postmap", "-q", domain, table, user="nobody").returncode != 0
    finally:
        shutil.rmtree(drop_in.parent)
        machine.output("systemctl", "daemon-reload")


class TestWatchdog:
    """A daemon that does not answer is killed and restarted."""

    @pytest.fixture
    def short_watchdog(self, machine: Machine) -> Iterator[None]:
        """A watchdog of two seconds."""
        folder = f"/run/systemd/system/{UNIT}.d"
        text = "[Service]\nWatchdogSec=2\nTimeoutAbortSec=1\n"
        machine.output(
            "sh", "-c", f"mkdir -p {folder}; printf '{text}' > {folder}/short_watchdog.conf"
        )
        machine.output("systemctl", "daemon-reload")
        machine.output("systemctl", "restart", UNIT)
        yield
        machine.output("rm", "-r", folder)
        machine.output("systemctl", "daemon-reload")
        machine.output("systemctl", "restart", UNIT)

    @pytest.mark.usefixtures("short_watchdog")
    def test_a_stuck_daemon_is_replaced(
        self, machine: Machine, own_namespace: Namespace, own_world: World
    ) -> None:
        """While it notifies, it runs; when stuck, it is killed, and its successor answers."""
        domain = own_world.fresh("watchdog")
        own_world.policy(domain, "enforce")
        assert ask(own_namespace, domain) == secure(domain)
        pid = machine.unit("MainPID")
        until = time.monotonic() + 3  # one and a half of its intervals
        while time.monotonic() < until:
            assert ask(own_namespace, domain) == secure(domain)
        assert machine.unit("MainPID") == pid
        machine.output("sh", "-c", f"kill -STOP {pid}")
        assert ask(own_namespace, domain) == secure(domain)
        assert machine.unit("MainPID") != pid
        assert "Watchdog timeout" in machine.journal()
