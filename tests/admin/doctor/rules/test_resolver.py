"""The name servers that smtp(8) asks."""

from dataclasses import replace

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.resolver import RULES
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Snapshot
from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import DaneSettings, DnsSettings, Settings
from postfix_mta_sts.postfix.dane import status_by_dns, status_by_mode
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.postconf import Postfix
from postfix_mta_sts.values import replace as replace_value
from tests.support.judged import found, ids, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    instance,
    with_parameters,
    with_status,
)

SYSTEM, COPY = "/etc/resolv.conf", "/var/spool/postfix/etc/resolv.conf"
LOCAL, FAR, OTHER = "127.0.0.1:53", "192.0.2.1:53", "[2001:db8::1]:53"
OTHER_ADDRESS = TcpAddress("2001:db8::1", 53)
COPIED = f"install -D -m 0644 {SYSTEM} {COPY} && postfix reload"


def resolvers(
    snapshot: Snapshot, postfix: Resolver | None, daemon: Resolver | None = None
) -> Snapshot:
    """The snapshot with these name servers of smtp(8) and of the system."""
    system = daemon or Resolver(SYSTEM, (LOCAL,))
    return replace(snapshot, postfix_resolver=postfix, daemon_resolver=system)


def with_dane() -> Snapshot:
    """A Postfix and a daemon that do DANE."""
    seen = with_parameters(good(), smtp_tls_security_level="dane", smtp_dns_support_level="dnssec")
    status = status_by_mode("auto", Postfix("dnssec", "dane"))
    return with_status(seen, dane={"on": status.on, "reason": status.reason})


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """One validating name server on this machine, for both."""
    assert not found(RULES, good(version))
    assert not found(RULES, with_dane())
    assert not found(RULES, resolvers(with_dane(), None))


def test_silent() -> None:
    """A copy in the chroot whose servers are gone holds all mail; it hides that it differs."""
    seen = resolvers(good(), Resolver(COPY, (FAR,), silent=(FAR,)))
    finding = next(each for each in found(RULES, seen) if each.id == "resolver-silent")
    assert (finding.effect, finding.mend) == (Effect.HELD, COPIED)
    assert finding.what == f"no name server of {COPY} answers: {FAR}"


def test_one_answers() -> None:
    """One that answers is enough."""
    servers = Resolver(COPY, (LOCAL, FAR), silent=(FAR,))
    assert not found(RULES, resolvers(good(), servers, replace(servers, file=SYSTEM)))


@pytest.mark.parametrize(
    "daemon",
    [
        Resolver(SYSTEM, (FAR,), silent=(FAR,)),
        Resolver(SYSTEM, ()),
        Resolver("", (LOCAL,)),
    ],
    ids=["silent", "none", "dns.nameservers"],
)
def test_silent_everywhere(daemon: Resolver) -> None:
    """A copy of a file that is no better, or was not looked at, mends nothing."""
    seen = resolvers(good(), Resolver(COPY, (FAR,), silent=(FAR,)), daemon)
    assert [each.mend for each in found(RULES, seen) if each.id == "resolver-silent"] == [""]


def test_silent_without_chroot() -> None:
    """There is no copy to renew if smtp(8) reads the file itself."""
    servers = Resolver(SYSTEM, (FAR,), silent=(FAR,))
    for daemon in (Resolver("", (LOCAL,)), Resolver(SYSTEM, (FAR,))):
        assert only(RULES, resolvers(good(), servers, daemon)).mend == ""


def test_differs() -> None:
    """A copy with other servers than the system's file is old."""
    finding = only(RULES, resolvers(good(), Resolver(COPY, (FAR,))))
    assert (finding.id, finding.effect) == ("resolv-conf-differs", Effect.NONE)
    assert finding.what == f"{COPY} names {FAR}, and {SYSTEM} {LOCAL}"
    assert finding.mend == COPIED


def test_same_in_another_order() -> None:
    """The order of servers is no difference."""
    seen = resolvers(good(), Resolver(COPY, (LOCAL, FAR)), Resolver(SYSTEM, (FAR, LOCAL)))
    assert not found(RULES, seen)


def test_daemon_has_its_own() -> None:
    """Servers of dns.nameservers say nothing of the system's file."""
    assert not found(RULES, resolvers(good(), Resolver(COPY, (FAR,)), Resolver("", (LOCAL,))))


def test_not_validating() -> None:
    """Servers that prove nothing are of no use for DANE, in the words of the daemon."""
    servers = Resolver(SYSTEM, (FAR, OTHER), not_validating=(OTHER,))
    seen = with_status(resolvers(with_dane(), servers, servers), dane={"on": False})
    finding = only(RULES, seen)
    assert (finding.id, finding.effect) == ("resolver-not-validating", Effect.NONE)
    assert finding.what.endswith(f"by {SYSTEM}: does not validate: name server {OTHER}")
    advice = status_by_dns(status_by_mode("on", None), (), (OTHER_ADDRESS,)).advice
    assert advice
    assert finding.why.endswith(advice)
    assert finding.mend == (
        "apt-get install -y unbound && "
        f"sed -i -e 's/^nameserver/#&/' -e '1i nameserver 127.0.0.1' {SYSTEM} && postfix reload"
    )


def test_not_validating_in_chroot() -> None:
    """In a chroot the new file is copied as well."""
    servers = Resolver(COPY, (FAR,), not_validating=(FAR,))
    finding = only(RULES, resolvers(with_dane(), servers, replace(servers, file=SYSTEM)))
    assert finding.mend.startswith("apt-get install -y unbound && sed ")
    assert finding.mend.endswith(f" && {COPIED}")


def test_the_system_validates() -> None:
    """If only the copy is bad, a new copy mends it; the daemon's verdicts hold mail until then."""
    seen = resolvers(with_dane(), Resolver(COPY, (FAR,), not_validating=(FAR,)))
    by_id = {each.id: each for each in found(RULES, seen)}
    assert by_id.keys() == {"resolver-not-validating", "resolv-conf-differs"}
    assert by_id["resolver-not-validating"].effect is Effect.HELD
    assert {each.mend for each in by_id.values()} == {COPIED}


@pytest.mark.parametrize("settings", [None, Settings(), Settings(dane=DaneSettings(answer="dane"))])
def test_consequence(settings: Settings | None) -> None:
    """Mail is held only by the answer dane-only, which is the default."""
    servers = Resolver(SYSTEM, (FAR,), not_validating=(FAR,))
    seen = replace(resolvers(with_dane(), servers, servers), settings=settings)
    is_held = settings is None or settings.dane.answer == "dane-only"
    assert (only(RULES, seen).effect is Effect.HELD) == is_held


def test_local_and_not_validating() -> None:
    """A server of this machine is not replaced by a command."""
    servers = Resolver(SYSTEM, (LOCAL,), not_validating=(LOCAL,))
    assert only(RULES, resolvers(with_dane(), servers, servers)).mend == ""


def test_far_away() -> None:
    """A server of another machine is not believed, unless a setting says so."""
    servers = Resolver(SYSTEM, (FAR,), are_local=False)
    seen = resolvers(with_dane(), servers, servers)
    finding = only(RULES, seen)
    assert (finding.id, finding.effect) == ("resolver-not-validating", Effect.NONE)
    assert "not on this machine" in finding.what
    assert not found(RULES, replace(seen, settings=Settings(dns=DnsSettings(trust_ad=True))))


def test_dnssec_is_not_asked_for() -> None:
    """Without DNSSEC in Postfix it does not matter who validates."""
    servers = Resolver(SYSTEM, (FAR,), not_validating=(FAR,), are_local=False)
    assert not found(RULES, resolvers(good(), servers, servers))


def test_instance_of_the_copy() -> None:
    """A copy belongs to the instance in whose queue directory it is."""
    second = instance(folder="/etc/postfix-out", name="out")
    second = _with_queue(second, "/var/spool/postfix-out")
    copy = "/var/spool/postfix-out/etc/resolv.conf"
    seen = replace(good(), instances=(*good().instances, second))
    finding = only(RULES, resolvers(seen, Resolver(copy, (FAR,))))
    assert finding.instance == "out"
    assert finding.mend == (
        f"install -D -m 0644 {SYSTEM} {copy} && postfix -c /etc/postfix-out reload"
    )


def test_no_postfix_here() -> None:
    """Without any Postfix nothing is reloaded."""
    seen = replace(resolvers(good(), Resolver(COPY, (FAR,))), instances=())
    assert only(RULES, seen).mend == f"install -D -m 0644 {SYSTEM} {COPY}"


def test_no_server_named() -> None:
    """A file without servers stands for the server of this machine."""
    finding = only(RULES, resolvers(good(), Resolver(COPY, ())))
    assert "none, which stands for 127.0.0.1" in finding.what
    assert ids(RULES, changed(good(), services=())) == []


def _with_queue(one: Instance, queue: str) -> Instance:
    return replace_value(one, parameters={**one.parameters, "queue_directory": queue})


def test_another_instance() -> None:
    """The chroot of each instance counts, and the command is for that one."""
    file = "/var/spool/postfix-out/etc/resolv.conf"
    first, other = instance(), instance(folder="/etc/postfix-out", name="postfix-out")
    queue = {**other.parameters, "queue_directory": "/var/spool/postfix-out"}
    other = replace_value(other, parameters=queue)
    seen = replace(
        good(),
        instances=(first, other),
        daemon_resolver=Resolver(SYSTEM, (FAR,)),
        postfix_resolver=Resolver(COPY, (FAR,)),
        other_resolvers=(Resolver(file, (LOCAL,), silent=(LOCAL,)),),
    )
    silent, differs = found(RULES, seen)
    assert (silent.id, silent.instance, silent.effect) == (
        "resolver-silent",
        "postfix-out",
        Effect.HELD,
    )
    assert (differs.id, differs.instance) == ("resolv-conf-differs", "postfix-out")
    assert silent.mend == (
        f"install -D -m 0644 {SYSTEM} {file} && postfix -c /etc/postfix-out reload"
    )
