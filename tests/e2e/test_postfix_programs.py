"""What the commands read from the programs of a real Postfix, of both versions."""

import time
from functools import partial
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.authorities import read_authorities
from postfix_mta_sts.postfix.installed.instances import read_instances
from postfix_mta_sts.postfix.installed.reading import is_running, read_instance
from postfix_mta_sts.postfix.mail_log import find_mail_log
from postfix_mta_sts.postfix.main_cf import read_main_cf
from postfix_mta_sts.postfix.policy_maps import look_up, read_tables
from postfix_mta_sts.postfix.queue import waiting_for
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.postfix.verify import ask_postfix
from postfix_mta_sts.values import replace
from tests.e2e.daemon import Daemon
from tests.e2e.mta import PUBLIC, QUEUE, Mta
from tests.e2e.wires import PORT, unix_path
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

NOT_OFFERED = "TLS is required, but was not offered by host ..."
NOT_VERIFIED = "Server certificate not verified"


@pytest.fixture
def programs(mta: Mta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts the programs of this Postfix first on PATH, each in the same working directory."""
    monkeypatch.setenv("PATH", str(mta.programs(tmp_path / "bin")), prepend=":")


@pytest.fixture
async def main_cf(mta: Mta, programs: None) -> MainCf:
    """The parameters of this Postfix, with its queue directory as the test sees it."""
    found = await read_main_cf()
    assert found
    assert found.queue_directory == f"/{QUEUE}"
    return replace(found, queue_directory=str(mta.root / QUEUE))


async def test_main_cf(mta: Mta, programs: None) -> None:
    """Version, values, chroot; an option of smtp/unix in master.cf wins."""
    try:
        mta.run("postconf", "-P", "smtp/unix/smtp_helo_name=out.$mydomain")
        mta.run("postconf", "-e", "smtp_tls_policy_maps = inline:{ { a.test = may }, {b.test=x} }")
        found = await read_main_cf()
    finally:
        mta.run("postconf", "-PX", "smtp/unix/smtp_helo_name")
        mta.run("postconf", "-e", "smtp_tls_policy_maps =")
    assert found
    assert ".".join(map(str, found.version[:2])) == mta.version
    assert found.myhostname == "relay.test"
    assert found.smtp_helo_name == "out.test"
    assert found.smtp_tls_security_level == "may"
    assert found.smtp_tls_policy_maps == "inline:{ { a.test = may }, {b.test=x} }"
    assert found.smtp_is_chrooted
    assert found.smtp_tls_insecure_mx_policy == ("may" if mta.version == "3.7" else "dane")
    assert found.own_addresses == ("127.0.0.1",)


async def test_instance(mta: Mta, programs: None) -> None:
    """The one instance: its parameters, what it does not use, and the services that send mail."""
    try:
        mta.run("postconf", "-e", "smtp_tls_policy_map = static:may", "relayhost = [a.test]")
        mta.run(
            "postconf", "-P", "relay/unix/smtp_tls_policy_maps=", "lmtp/unix/lmtp_tls_CAfile=/x"
        )
        mta.run("postconf", "-F", "relay/unix/chroot=n")
        ((name, directory),) = await read_instances()
        found = await read_instance(name, directory)
    finally:
        mta.run("postconf", "-X", "smtp_tls_policy_map", "relayhost")
        mta.run("postconf", "-PX", "relay/unix/smtp_tls_policy_maps", "lmtp/unix/lmtp_tls_CAfile")
        mta.run("postconf", "-F", "relay/unix/chroot=y")
    assert (found.name, found.config_directory, found.problem) == ("-", "/etc/postfix", "")
    assert ".".join(map(str, found.version[:2])) == mta.version
    assert found.parameters["relayhost"] == "[a.test]"
    assert found.parameters["config_directory"] == "/etc/postfix"
    assert ("smtp_tlsrpt_enable" in found.parameters) == (mta.version != "3.7")
    assert found.unused == ("smtp_tls_policy_map=static:may",)
    assert {"socketmap", "texthash"} < {*found.table_types}
    services = {each.name: each for each in found.services}
    assert [*services] == ["smtp/unix", "relay/unix", "lmtp/unix"]
    assert [each.is_chrooted for each in found.services] == [True, False, True]
    assert services["relay/unix"].overrides["smtp_tls_policy_maps"] == ""
    assert services["relay/unix"].overrides["syslog_name"] == "postfix/relay"
    assert services["smtp/unix"].main_cf.smtp_tls_CAfile == "/etc/postfix/ca.pem"
    assert services["lmtp/unix"].main_cf.smtp_tls_CAfile == "/x"
    assert is_running(mta.root / QUEUE)


async def test_a_broken_main_cf(mta: Mta, programs: None) -> None:
    """The instance is named all the same, with the file and the line of its error."""
    main_cf = mta.root / "etc/postfix/main.cf"
    before = main_cf.read_text()
    try:
        main_cf.write_text(f"{before}nonsense\n")
        ((name, directory),) = await read_instances()
        found = await read_instance(name, directory)
    finally:
        main_cf.write_text(before)
    line = before.count("\n") + 1
    assert (name, directory) == ("-", "/etc/postfix")
    assert f"/etc/postfix/main.cf, line {line}: missing '='" in found.problem


async def test_authorities(mta: Mta, main_cf: MainCf) -> None:
    """The CA file is the one of main.cf."""
    assert main_cf.smtp_tls_CAfile == "/etc/postfix/ca.pem"
    outside = replace(main_cf, smtp_tls_CAfile=str(mta.root / "etc/postfix/ca.pem"))
    assert not read_authorities(outside).problem


async def test_tables(mta: Mta, main_cf: MainCf) -> None:
    """Entries, no entry, and failures of real tables; the daemon's is recognised."""
    ours = f"socketmap:unix:{PUBLIC}/{PORT}.sock:postfix"
    names = (
        "inline:{ {.sub.test = encrypt} }",
        "static:{secure match=x.test}",
        "inline:{ {b.test = may} }",
        "texthash:/etc/postfix/nonesuch",
        "socketmap:inet:127.0.0.1:9:postfix",
        "nonesuch:x",
        ours,
    )
    listener = ListenerSettings(socketmap=UnixAddress(unix_path(PORT, mta.sockets)))
    changed = replace(main_cf, smtp_tls_policy_maps=" ".join(names))
    found = await read_tables(changed, [listener], ["a.sub.test", ".sub.test", ".test"])
    tables, maps = [each for each, _ in found], [own for _, own in found]
    assert [each.name for each in tables] == list(names)
    assert [(each.found, each.key) for each in tables[:3]] == [
        ("encrypt", ".sub.test"),
        ("secure match=x.test", "a.sub.test"),
        (None, None),
    ]
    assert [each.error for each in tables[:3]] == ["", "", ""]
    assert "/etc/postfix/nonesuch: No such file or directory" in tables[3].error
    assert "Connection refused" in tables[4].error
    assert "unsupported dictionary type" in tables[5].error
    assert tables[6].is_ours
    assert maps[6]
    assert (maps[6].listener, maps[6].map_name) == (listener, "postfix")


async def test_a_relative_socket(mta: Mta, daemon: Daemon, main_cf: MainCf, world: World) -> None:
    """Its path begins at the queue directory, also for postmap."""
    domain = world.fresh("programs")
    world.policy(domain, "enforce")
    table = f"socketmap:unix:{PUBLIC}/{PORT}.sock:postfix"
    found = await look_up(table, [domain], main_cf.queue_directory)
    assert found.found == f"secure match=mx.{domain} servername=hostname"


async def test_waiting(mta: Mta, programs: None, world: World) -> None:
    """What is deferred is counted, and others that wait for the same reason."""
    start = int(time.time())
    theirs, other = world.fresh("waiting"), world.fresh("waiting")
    mta.use(f"inline:{{ {{{theirs} = encrypt}}, {{{other} = encrypt}} }}")
    for domain in (theirs, other):
        world.mail_host(domain, "no STARTTLS")
        assert mta.send(domain).status == "deferred"
    found = await waiting_for(Domain(theirs))
    assert (found.messages, found.reasons, found.error) == (1, (NOT_OFFERED,), "")
    assert found.oldest
    assert found.oldest >= start
    assert found.others_with_reason >= 1


@pytest.mark.parametrize(
    ("sink", "status", "dsn", "text"),
    [
        ("good", "deliverable", "2.0.0", "250 "),
        ("wrong name", "undeliverable", "4.7.5", NOT_VERIFIED),
    ],
)
async def test_through_postfix(
    mta: Mta,
    main_cf: MainCf,
    world: World,
    logs: Path,
    *,
    sink: str,
    status: str,
    dsn: str,
    text: str,
) -> None:
    """Its words are those of the log, and nobody gets a report of the probe."""
    domain = world.fresh("verify")
    world.mail_host(domain, sink)
    mta.use(f"inline:{{ {{{domain} = secure match=mx.{domain} servername=hostname}} }}")
    mark = mta.log.mark
    # The file is a copy of Postfix's log, which goes to /dev/stdout.
    file = logs / f"postfix-{mta.version}.log"
    find_log = partial(find_mail_log, files=[file], journal=["no-such-program"])
    found = await ask_postfix(Domain(domain), replace(main_cf, maillog_file=""), find_log=find_log)
    assert (found.status, found.dsn, found.error) == (status, dsn, "")
    assert found.text.startswith(text)
    assert found.relay.startswith(f"mx.{domain}[127.0.0.")
    mta.log.wait("not sending trace/success notification", mark)
    assert not world.receipts(f"@{domain}")
