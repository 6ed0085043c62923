"""Ways of mail on which policies do not apply."""

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.routing import RULES
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.installed.values import Service
from tests.support.judged import found, only
from tests.support.snapshots import VERSIONS, changed, good, with_parameters

HOST = "smtp:[127.0.0.11]"


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """Mail leaves directly."""
    assert not found(RULES, good(version))


def test_relayhost() -> None:
    """All mail to one host."""
    finding = only(RULES, with_parameters(good(), relayhost="[127.0.0.11]"))
    assert (finding.id, finding.effect) == ("relayhost", Effect.NONE)
    assert finding.what == "relayhost is [127.0.0.11]"
    assert finding.mend == "postconf -e 'relayhost =' && postfix reload"


@pytest.mark.parametrize("value", [HOST, "uucp", "smtp:mx.x.test", "lmtp"])
def test_default_transport(value: str) -> None:
    """All mail to one host, or by another program."""
    finding = only(RULES, with_parameters(good(), default_transport=value))
    assert finding.id == "default-transport"
    assert finding.mend == "postconf -e 'default_transport = smtp' && postfix reload"


@pytest.mark.parametrize("value", ["smtp", "smtp:", "relay"])
def test_default_transport_of_smtp(value: str) -> None:
    """A service that runs smtp(8), without a host, is direct."""
    assert not found(RULES, with_parameters(good(), default_transport=value))


def test_own_service() -> None:
    """The same for a service that the administrator made."""
    services = good().instances[0].services
    out = Service("out/unix", "smtp", is_chrooted=True, main_cf=services[0].main_cf)
    seen = changed(good(), services=(*services, out))
    assert not found(RULES, with_parameters(seen, default_transport="out"))
    assert found(RULES, with_parameters(good(), default_transport="out"))


def catch_all(maps: str, entry: str = HOST) -> Snapshot:
    """A snapshot whose transport_maps have an entry for any domain."""
    return changed(with_parameters(good(), transport_maps=maps), catch_all=entry)


@pytest.mark.parametrize(
    ("maps", "mend"),
    [
        ("inline:{ {*=smtp:[127.0.0.11]} }", "postconf -e 'transport_maps ='"),
        ("regexp:/etc/postfix/t, static:x:y", "postconf -e 'transport_maps ='"),
        ("hash:relative", "postconf -e 'transport_maps ='"),
        (
            "texthash:/etc/postfix/transport",
            r"sed -i '/^\*[[:space:]]/d' /etc/postfix/transport",
        ),
        (
            "proxy:hash:/etc/t'x inline:{x=y}",
            r"""sed -i '/^\*[[:space:]]/d' '/etc/t'"'"'x' && postmap 'hash:/etc/t'"'"'x'""",
        ),
    ],
)
def test_catch_all(maps: str, mend: str) -> None:
    """The entry is removed where a file can have it; else the parameter is emptied."""
    finding = only(RULES, catch_all(maps))
    assert finding.id == "transport-catch-all"
    assert finding.what == f"transport_maps sends mail for any domain to {HOST}"
    assert finding.mend == f"{mend} && postfix reload"


@pytest.mark.parametrize("entry", ["smtp:", ":", "relay:", ""])
def test_harmless_catch_all(entry: str) -> None:
    """An entry that names no host changes nothing."""
    assert not found(RULES, catch_all("static:x", entry))


def test_by_sender() -> None:
    """Both parameters are one finding, and go together."""
    seen = with_parameters(
        good(),
        sender_dependent_relayhost_maps="hash:/etc/postfix/relay_by_sender",
        sender_dependent_default_transport_maps="hash:/etc/postfix/transport_by_sender",
    )
    finding = only(RULES, seen)
    assert finding.id == "sender-relayhost"
    assert finding.what == (
        "sender_dependent_relayhost_maps is hash:/etc/postfix/relay_by_sender, "
        "sender_dependent_default_transport_maps is hash:/etc/postfix/transport_by_sender"
    )
    assert finding.mend == (
        "postconf -X sender_dependent_relayhost_maps sender_dependent_default_transport_maps "
        "&& postfix reload"
    )


def test_by_some_senders() -> None:
    """Only the parameter that is set is named."""
    seen = with_parameters(good(), sender_dependent_relayhost_maps="static:[mx.x.test]")
    assert only(RULES, seen).mend == "postconf -X sender_dependent_relayhost_maps && postfix reload"


def test_not_read() -> None:
    """An instance whose main.cf could not be read has no way of mail."""
    assert not found(RULES, changed(good(), parameters={}, services=(), problem="bad line"))
