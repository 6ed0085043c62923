"""What a start needs beside a valid configuration (fault D9)."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from postfix_mta_sts import occupants
from postfix_mta_sts.config.settings import parse
from postfix_mta_sts.daemon import preflight
from postfix_mta_sts.network import authorities
from postfix_mta_sts.permissions import Account

NOW = 1_800_000_000.0  # 2027-01-15


@pytest.fixture
def usual(tmp_path: Path) -> str:
    """The sections that the cases do not concern."""
    return f"cache: {{path: {tmp_path}/p.db}}\ncontrol: {{path: {tmp_path}/c}}\n"


@pytest.fixture(autouse=True)
def _certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has CA certificates, wherever the tests run."""
    monkeypatch.setattr(preflight, "system_problem", lambda _: "")


def found(text: str, folder: Path) -> list[tuple[str, str, bool]]:
    """What will go wrong with this configuration; FOLDER in it is a folder that exists."""
    settings = parse(text.replace("FOLDER", str(folder)), "x")
    environ = {"STATE_DIRECTORY": str(folder), "RUNTIME_DIRECTORY": str(folder)}
    checked = preflight.check(settings, environ, NOW)
    return [(each.key, each.reason, each.is_warning) for each in checked]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that something listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        ("cache: {path: p.db}", "cache.path", "p.db is relative to the folder in which the daem"),
        (
            "listen: [{socketmap: 'unix:FOLDER/s:postfix'}]",
            "listen[0].socketmap",
            "s:postfix ends with a map name; write unix:",
        ),
        (
            "exceptions: {a.test: {use: may, reason: x, until: 2026-12-31}}",
            "exceptions.a.test.until",
            "its end was 2026-12-31; it has no effect, remove a.test",
        ),
        ("alerts: {command: /no/such}", "alerts.command", "/no/such: there is no file; install it"),
        (
            "fleet: {url: 'redis://:p@192.0.2.1', key_file: /k}",
            "fleet.url",
            "the password crosses the network in the clear; use TLS",
        ),
        (
            "fleet: {key_file: /k}",
            "fleet.url",
            "it is not set, so that this relay shares nothing; write the URL",
        ),
        (
            "fleet: {url: 'redis://127.0.0.1', unsigned: true, name: localhost}",
            "fleet.name",
            "localhost may be the name of another relay, too; write another one",
        ),
    ],
)
def test_warned(tmp_path: Path, text: str, key: str, reason: str) -> None:
    """What a start accepts, but hardly anyone means, is a warning."""
    warnings = [each for each in found(text, tmp_path) if each[0] == key and each[2]]
    assert any(reason in each[1] for each in warnings), warnings


def test_good(tmp_path: Path, usual: str) -> None:
    """Nothing is found, and nothing is changed."""
    text = (
        f"listen: [{{socketmap: '127.0.0.1:0'}}, {{tcp_table: 'unix:{tmp_path}/s'}}]\n{usual}"
        "exceptions: {a.test: {use: may, reason: x, until: 2027-12-31}}"
    )
    assert found(text, tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "key", "reason"),
    [
        (
            "listen: [{socketmap: 'unix:FOLDER/s', group: nosuch}]",
            "listen[0].group",
            "there is no group 'nosuch' on this machine; create it, or write an id",
        ),
        (
            "listen: [{socketmap: 'unix:FOLDER/s', owner: nosuch}]",
            "listen[0].owner",
            "there is no user 'nosuch'",
        ),
        ("listen: [{socketmap: 'unix:FOLDER/no/s'}]", "listen[0].socketmap", "there is no folder "),
        ("listen: [{socketmap: 'unix:FOLDER/file'}]", "listen[0].socketmap", "is not a socket"),
        (
            "metrics: {listen: '0.0.0.0:8461'}",
            "metrics.listen",
            "0.0.0.0:8461 and 127.0.0.1:8461 of listen[0].socketmap are the same address",
        ),
        (
            "listen: [{socketmap: 'localhost:8461'}, {tcp_table: '127.0.0.1:8461'}]",
            "listen[1].tcp_table",
            "127.0.0.1:8461 and localhost:8461 of listen[0].socketmap are the same address",
        ),
        ("listen: [{socketmap: '192.0.2.1:0'}]", "listen[0].socketmap", "does not have that addr"),
        ("listen: [{socketmap: 'a.invalid:1'}]", "listen[0].socketmap", "has no address"),
        (
            "fleet: {url: 'redis://127.0.0.1', key_file: FOLDER/none}",
            "fleet.key_file",
            "none: No such file or directory",
        ),
        (
            "fleet: {url: 'redis://127.0.0.1', key_file: FOLDER/key}",
            "fleet.key_file",
            "each user of this machine can use it (mode 0644); chmod 640 ",
        ),
        ("cache: {path: FOLDER}", "cache.path", "is a folder; write the path of a file in it"),
        ("cache: {path: FOLDER/file/p.db}", "cache.path", "file is not a folder"),
        ("cache: {path: /dev/null}", "cache.path", "/dev/null is not a regular file"),
        (
            "listen: [{socketmap: 'unix:FOLDER/control.sock'}]",
            "control.path",
            "control.sock of listen[0].socketmap are the same address; use another one",
        ),
    ],
)
def test_found(tmp_path: Path, text: str, key: str, reason: str) -> None:
    """What prevents a start is found, with its key and what to do."""
    (tmp_path / "file").touch()
    (tmp_path / "key").write_text("ab" * 32)
    errors = [each for each in found(text, tmp_path) if not each[2]]
    assert [each[0] for each in errors] == [key]
    assert reason in errors[0][1]


def test_prefixes_without_effect(tmp_path: Path, usual: str) -> None:
    """A metadata service stays refused, and check-config says so of a prefix that names only it."""
    listed = "[10.0.0.0/8, 0.0.0.0/0, 169.254.169.254, 'fd00:ec2::/32']"
    listen = "listen: [{socketmap: '127.0.0.1:0'}]"
    text = f"{listen}\nhttps: {{allow_private_addresses: {listed}}}\n{usual}"
    why = "has no effect: it is a metadata service of a cloud, which is never asked"
    assert found(text, tmp_path) == [
        ("https.allow_private_addresses", f"{prefix} {why}", True)
        for prefix in ("169.254.169.254/32", "fd00:ec2::/32")
    ]


def test_no_ca_certificates(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without CA certificates is warned of, as at a start."""
    monkeypatch.setattr(preflight, "system_problem", authorities.system_problem)
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    text = f"listen: [{{socketmap: '127.0.0.1:0'}}]\n{usual}"
    [(key, reason, is_warning)] = found(text, tmp_path)
    assert (key, is_warning) == ("https.ca_file", True)
    assert reason.endswith("; install the package ca-certificates, or set https.ca_file")


def test_address_in_use(tmp_path: Path, usual: str, taken: int) -> None:
    """An address in use is a warning: the daemon that runs may have it. The process is named."""
    text = f"listen: [{{socketmap: '127.0.0.1:{taken}'}}]\n{usual}"
    [(key, reason, is_warning)] = found(text, tmp_path)
    assert (key, is_warning) == ("listen[0].socketmap", True)
    assert f"in use now: process {os.getpid()} (" in reason


def test_the_daemon_that_runs(
    tmp_path: Path, usual: str, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of the daemon that runs."""
    monkeypatch.setattr(occupants, "on_port", lambda _: ": process 1 (postfix-mta-sts)")
    assert found(f"listen: [{{socketmap: '127.0.0.1:{taken}'}}]\n{usual}", tmp_path) == []


def test_socket_in_use(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for a UNIX socket."""
    monkeypatch.setattr(preflight, "access_warnings", lambda *_: ())
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        [(_, reason, is_warning)] = found(
            f"listen: [{{socketmap: 'unix:{tmp_path}/s'}}]\n{usual}", tmp_path
        )
    assert is_warning
    assert f"in use now: process {os.getpid()} (" in reason


def test_a_socket_that_is_closed_to_postfix(
    tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning says what to change (D6)."""
    monkeypatch.setattr(preflight, "postfix_account", lambda: Account(12345, 12345))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        (tmp_path / "s").chmod(0o600)
        findings = found(f"listen: [{{socketmap: 'unix:{tmp_path}/s'}}]\n{usual}", tmp_path)
    key, reason, is_warning = findings[-1]
    assert (key, is_warning) == ("listen", True)
    assert reason.startswith("Postfix may not connect to ")


def test_ipv6_is_off(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with several addresses, one that this machine has is enough."""
    infos = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: infos)
    text = f"listen: [{{socketmap: 'two.test:0'}}]\n{usual}"
    assert found(text, tmp_path) == []
    del infos[1]
    assert [key for key, _, _ in found(text, tmp_path)] == ["listen[0].socketmap"]


def test_no_ipv6_address(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`[::]` alone on a machine without IPv6 is a warning: no client would reach it."""
    monkeypatch.setattr(preflight, "is_unreachable", lambda address: address.host == "::")
    text = f"listen: [{{socketmap: '[::]:0'}}]\n{usual}"
    assert found(text, tmp_path) == [
        (
            "listen[0].socketmap",
            "[::]:0: this machine has no IPv6 address; write 0.0.0.0:0",
            True,
        )
    ]


def test_accounts_of_others(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without root only the own user and groups can be given; ids are checked as names are."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "getgroups", lambda: [4712])
    text = "listen: [{socketmap: 'unix:FOLDER/s', owner: 4711, group: 4712}]\n" + usual
    assert found(text, tmp_path) == []
    assert found(text.replace("47", "46"), tmp_path) == [
        (f"listen[0].{key}", f"user 4711 may not give a file to {kind}; start as root", False)
        for key, kind in (("owner", "user 4611"), ("group", "group 4612"))
    ]


def test_control_socket(tmp_path: Path) -> None:
    """Mail does not depend on the control socket: what it lacks is a warning."""
    (tmp_path / "file").touch()
    text = "listen: [{socketmap: '127.0.0.1:0'}]\ncontrol: {path: FOLDER/file/c, group: nosuch}"
    assert [(key, is_warning) for key, _, is_warning in found(text, tmp_path)] == [
        ("control.group", True),
        ("control.path", True),
    ]


def test_not_writable(tmp_path: Path, usual: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and files that the user may not write are found."""
    (tmp_path / "p.db").touch()
    monkeypatch.setattr(os, "access", lambda *_: False)
    text = f"listen: [{{socketmap: 'unix:{tmp_path}/s'}}]\n{usual}"
    reasons = [reason for _, reason, _ in found(text, tmp_path)]
    assert len(reasons) == 4
    assert all(f"is not writable for user {os.geteuid()}" in reason for reason in reasons)


def test_link_local_name_servers(tmp_path: Path, usual: str) -> None:
    """A name server to which no interface leads is a warning; the address says which one it is."""
    servers = (
        "[192.0.2.1, 169.254.1.1, 'fe80::1%lo', '[fe80::1%1]:53', 'fe80::2', '[fe80::3%no]:9']"
    )
    text = f"listen: [{{socketmap: '127.0.0.1:0'}}]\ndns: {{nameservers: {servers}}}\n{usual}"
    assert found(text, tmp_path) == [
        (
            "dns.nameservers",
            "fe80::2 cannot be asked: a link-local address needs its interface, like fe80::2%eth0",
            True,
        ),
        (
            "dns.nameservers",
            "[fe80::3%no]:9 cannot be asked: this machine has no interface no",
            True,
        ),
    ]


def test_where_this_user_may_not_look(tmp_path: Path) -> None:
    """A folder that the system does not show is no error of the command: it says what it sees."""
    hidden, long = tmp_path / "hidden", "x" * 300
    hidden.mkdir(0)
    texts = [
        f"{{cache: {{path: {folder}/a/p.db}}, control: {{path: {folder}/b/c}}}}"
        for folder in (hidden, tmp_path / long)
    ]
    reasons = [reason for text in texts for _, reason, _ in found(text, tmp_path)]
    ours = [reason for reason in reasons if str(hidden) in reason]
    assert bool(ours) is (os.geteuid() != 0)
