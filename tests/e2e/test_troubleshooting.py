"""The lines of docs/troubleshooting.md, as Postfix 3.7 and 3.10 write them."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT
from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Delivery, Mta
from tests.e2e.namespace import Namespace
from tests.e2e.wires import PORT
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

EXAMPLE = ROOT / "config.example.yml"
PAGE = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text("utf-8")
LINES = re.findall(r"^\| `([^`]+)` \|", PAGE, re.MULTILINE)
DEFERRING_PORT = 8499
MAP = f"socketmap:inet:127.0.0.1:{PORT}:postfix"
TLSRPT = f"socketmap:inet:127.0.0.1:{PORT}:QUERYwithTLSRPT"
NOT_VERIFIED = "status=deferred (Server certificate not verified)"
PROBLEM = "status=deferred (client TLS configuration problem)"
NO_MX = "status=deferred (server unavailable or unable to receive mail)"

SINKS = {
    "good": ("Verified TLS connection established to …",),
    "wrong name": (
        "server certificate verification failed for …: num=62:hostname mismatch",
        NOT_VERIFIED,
    ),
    "expired": (
        "server certificate verification failed for …: certificate has expired",
        NOT_VERIFIED,
    ),
    "self-signed": (
        "certificate verification failed for …: self-signed certificate",
        "Untrusted TLS connection established to …",
        NOT_VERIFIED,
    ),
    "no STARTTLS": ("status=deferred (TLS is required, but was not offered by host …)",),
}
"""The SMTP server of a domain with a policy → the lines."""

MAPS = {
    "socketmap:inet:127.0.0.1:9999:postfix": "warning: connect to 127.0.0.1:…: Connection refused",
    "socketmap:unix:/run/x.sock:postfix": "warning: connect to …: No such file or directory",
    TLSRPT: 'invalid attribute name: "policy_type"',
}
"""What Postfix 3.7 is told to ask → the line before the deferral."""
MAPS |= {
    "inet:127.0.0.1:8461:postfix": ("warning: … is unavailable. unsupported dictionary type: …"),
    "texthash:/etc/postfix/nonesuch": (
        "warning: … is unavailable. open database …: No such file or directory"
    ),
}
FATAL = {
    MAP.removesuffix(":postfix"): "fatal: …: garbage after numerical service",
    MAP.replace("inet:", ""): "fatal: invalid transport name: … in service: …",
}
"""Maps with which no program of Postfix starts → its last words."""
LEVELS = {
    "maybe": ('next-hop destination "…": invalid security level "…"', PROBLEM),
    "dane-only": (
        "warning: …: dane-only configured with dnssec lookups disabled",
        PROBLEM,
    ),
}
"""The word in a static table → the lines."""
MISSPELT = "smtp_tls_policy_map"
OF_MAILCOW = "smtp_enforced_tls"
"""A service of its master.cf, which docs/wiring/mailcow.md names; no parameter."""
NO_DNSSEC = "status=deferred (non DNSSEC destination)"
NO_HANDSHAKE = "status=deferred (Cannot start TLS: handshake failure)"

OTHERS = (
    PROBLEM,
    NO_MX,
    "MX name '…' does not match STS MX pattern for '…'",
    "warning: connect to …: Permission denied",
    NO_DNSSEC,
    NO_HANDSHAKE,
    "socketmap server temporary error: MTA-STS: DNS failure for …",
    "certificate verification failed for …: untrusted issuer …",
    'cannot load Certification Authority data, CAfile="…": disabling TLS support',
    "status=deferred (TLS is required, but our TLS engine is unavailable)",
    "Trusted TLS connection established to …",
)
"""The lines of the other tests here."""
ELSEWHERE = (
    "socketmap server temporary error: write tcp:… in main.cf: this listener speaks tcp_table",
    "malformed reply: write socketmap:… in main.cf: this listener speaks socketmap",
)
"""The lines of test_wrong_protocol.py."""


def check(log: str | tuple[str, ...], *lines: str) -> None:
    """The log has these lines of the page."""
    text = log if isinstance(log, str) else "\n".join(log)
    for line in lines:
        assert line in LINES
        pattern = ".*".join(map(re.escape, line.split("…")))
        assert re.search(pattern, text), f"no line matches {line}:\n{text}"


def sent(mta: Mta, world: World, sink: str = "good", *, label: str = "mx") -> Delivery:
    """Send a message to a new domain with a policy."""
    domain = world.fresh("trouble")
    world.policy(domain, "enforce")
    world.mail_host(domain, sink, label=label)
    return mta.send(domain)


@pytest.fixture
def old(mtas: dict[str, Mta], daemon: Daemon) -> Iterator[Mta]:
    """Postfix 3.7 with the map of the daemon, and that again afterwards."""
    yield mtas["3.7"]
    mtas["3.7"].set(
        f"smtp_tls_policy_maps = {MAP}",
        "smtp_tls_CAfile = /etc/postfix/ca.pem",
        "smtp_dns_support_level =",
        "smtp_tls_mandatory_protocols = >=TLSv1",
    )


def test_every_line_has_a_test() -> None:
    """No line is on the page that no test has seen."""
    of_sinks = {line for lines in SINKS.values() for line in lines}
    of_levels = {line for lines in LEVELS.values() for line in lines}
    of_maps = {*MAPS.values(), *FATAL.values()}
    assert set(LINES) == {*of_sinks, *of_maps, *of_levels, *OTHERS, *ELSEWHERE}


def test_servers(mta: Mta, daemon: Daemon, world: World) -> None:
    """What a server is like that its policy does not allow, on both versions."""
    mta.use(MAP)
    for sink, lines in SINKS.items():
        check(sent(mta, world, sink).log, *lines)
    domain = world.fresh("plain")
    world.mail_host(domain, "good")
    check(mta.send(domain).log, "Trusted TLS connection established to …")


@pytest.mark.parametrize("policy_maps", MAPS)
def test_maps(old: Mta, world: World, policy_maps: str) -> None:
    """A map that cannot be asked, or that answers what Postfix does not know."""
    old.use(policy_maps)
    check(sent(old, world).log, MAPS[policy_maps], PROBLEM)


@pytest.mark.parametrize("policy_maps", FATAL)
def test_map_without_a_word(old: Mta, policy_maps: str) -> None:
    """A map without one of its words is fatal to every program of Postfix."""
    words = old.command("postmap", "-q", "a.test", policy_maps)
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    check(done.stderr, FATAL[policy_maps])


def test_levels(old: Mta, world: World) -> None:
    """Levels, in a static table, that this Postfix cannot obey."""
    domains = {level: world.fresh("level") for level in LEVELS}
    table = "".join(f"{domain} {level}\n" for level, domain in domains.items())
    (old.root / "etc/postfix/levels").write_text(table)
    old.use("texthash:/etc/postfix/levels")
    for level, lines in LEVELS.items():
        world.mail_host(domains[level], "good")
        check(old.send(domains[level]).log, *lines)
    old.set("smtp_dns_support_level = dnssec")  # resumes the destination; its server validates not
    check(old.send(domains["dane-only"]).log, NO_DNSSEC)


def test_handshake(old: Mta, world: World) -> None:
    """A server with which Postfix has no protocol in common."""
    old.set(f"smtp_tls_policy_maps = {MAP}", "smtp_tls_mandatory_protocols = !TLSv1.2, !TLSv1.3")
    check(sent(old, world).log, NO_HANDSHAKE)


def test_misspelt_parameter(old: Mta) -> None:
    """Only postconf says that a parameter is unknown."""
    (old.root / "etc/misspelt").mkdir()
    main_cf = (old.root / "etc/postfix/main.cf").read_text()
    (old.root / "etc/misspelt/main.cf").write_text(f"{main_cf}\n{MISSPELT} = x\n")
    words = old.command("postconf", "-c", "/etc/misspelt")
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert f"unused parameter: {MISSPELT}=x\n" in done.stderr


def test_parameters(trees: dict[str, Path]) -> None:
    """Postfix has each parameter that the pages name."""
    pages = [page.read_text("utf-8") for page in (*PAGES, EXAMPLE)]
    parameter = re.compile(r"(?<!/)\b(?:smtp|lmtp|maximal)_\w+\b(?!/)")  # no folder of the package
    named = {name for page in pages for name in parameter.findall(page)}
    named -= {MISSPELT, OF_MAILCOW}
    command = ["chroot", trees["3.10"], "postconf", "-d", *sorted(named)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (len(done.stdout.splitlines()), done.stderr) == (len(named), "")


def test_socket_of_another_user(old: Mta, world: World) -> None:
    """A socket that the user postfix cannot write to."""
    socket = old.sockets / f"{PORT}.sock"
    mode = socket.stat().st_mode
    socket.chmod(0o600)
    try:
        old.use(f"socketmap:unix:run/mta-sts/{PORT}.sock:postfix")
        check(sent(old, world).log, "warning: connect to …: Permission denied", PROBLEM)
    finally:
        socket.chmod(mode)


def test_no_ca(old: Mta, world: World) -> None:
    """No CA file, and one that does not exist."""
    old.set("smtp_tls_CAfile =", f"smtp_tls_policy_maps = {MAP}")
    check(
        sent(old, world).log,
        "certificate verification failed for …: untrusted issuer …",
        NOT_VERIFIED,
    )
    old.set("smtp_tls_CAfile = /etc/postfix/nonesuch.pem")
    check(
        sent(old, world).log,
        'cannot load Certification Authority data, CAfile="…": disabling TLS support',
        "status=deferred (TLS is required, but our TLS engine is unavailable)",
    )
    domain = world.fresh("plain")
    world.mail_host(domain, "good")
    plain = old.send(domain)
    assert plain.status == "sent"
    assert not plain.logged("TLS connection established")


def test_mx_host_that_the_policy_does_not_name(
    mtas: dict[str, Mta], daemon: Daemon, world: World
) -> None:
    """Postfix 3.10 skips an MX host that the policy does not name."""
    mtas["3.10"].use(TLSRPT)
    seen = sent(mtas["3.10"], world, "foreign", label="foreign")
    check(seen.log, "MX name '…' does not match STS MX pattern for '…'", NO_MX)


def test_dns_failure(
    old: Mta,
    world: World,
    inside: Namespace,
    folder: Path,
    logs: Path,
    settings: dict[str, dict[str, object]],
) -> None:
    """With `dns.on_failure: defer` a DNS that does not answer defers."""
    own = {
        "listen": [{"socketmap": f"127.0.0.1:{DEFERRING_PORT}"}],
        "dns": settings["dns"] | {"on_failure": "defer"},
        "lookup": {"timeout": "3s"},
    }
    deferring = Daemon(inside, folder / "trouble", logs / "trouble.log", {**settings, **own})
    old.use(f"socketmap:inet:127.0.0.1:{DEFERRING_PORT}:postfix")
    with running(deferring), world.without("dns"):
        line = "socketmap server temporary error: MTA-STS: DNS failure for …"
        check(sent(old, world).log, line, PROBLEM)
