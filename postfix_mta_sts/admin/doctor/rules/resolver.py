"""Rules for the name servers that smtp(8) asks, by the resolv.conf(5) that it reads.

In a chroot this is a copy in the queue directory, made when Postfix was started.
"""

import shlex
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from postfix_mta_sts.admin.doctor.commands import also_reload, then_run
from postfix_mta_sts.admin.doctor.dane_here import (
    address_of,
    asks_for_dnssec,
    by_resolver,
    of_daemon,
)
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Snapshot
from postfix_mta_sts.network.resolv_conf import LOCAL
from postfix_mta_sts.postfix.installed.values import Instance

_SYSTEM: Final = "/etc/resolv.conf"
_UNBOUND: Final = (
    "apt-get install -y unbound && "
    f"sed -i -e 's/^nameserver/#&/' -e '1i nameserver {LOCAL}' {_SYSTEM}"
)
_LOOPBACK: Final = frozenset({LOCAL, "::1"})
_STALE: Final = "Postfix copies {} into its chroot only when it starts, and smtp(8) reads the copy"


def _of_each(rule: Callable[[Snapshot], Iterator[Finding]]) -> Callable[..., Iterator[Finding]]:
    """The rule for each resolv.conf of Postfix: it looks at `postfix_resolver`."""

    def of_each(snapshot: Snapshot) -> Iterator[Finding]:
        yield from rule(snapshot)
        for other in snapshot.other_resolvers:
            yield from rule(replace(snapshot, postfix_resolver=other))

    return of_each


def silent(snapshot: Snapshot) -> Iterator[Finding]:
    """`resolver-silent`: none of them answers."""
    resolver = snapshot.postfix_resolver
    if resolver and _is_silent(resolver):
        yield _finding(
            snapshot,
            "resolver-silent",
            Effect.HELD,
            f"no name server of {resolver.file} answers: {_joined(resolver)}",
            "smtp(8) finds no MX host, and all mail waits",
            _copy(snapshot, resolver) if _is_system_fine(snapshot) else "",
        )


def differs(snapshot: Snapshot) -> Iterator[Finding]:
    """`resolv-conf-differs`: the copy in the chroot has other name servers than the file."""
    resolver, system = snapshot.postfix_resolver, _system(snapshot)
    if resolver and system and _servers(resolver) != _servers(system):
        yield _finding(
            snapshot,
            "resolv-conf-differs",
            Effect.NONE,
            f"{resolver.file} names {_joined(resolver)}, and {_SYSTEM} {_joined(system)}",
            _STALE.format(_SYSTEM),
            _copy(snapshot, resolver),
        )


def not_validating(snapshot: Snapshot) -> Iterator[Finding]:
    """`resolver-not-validating`: smtp(8) asks for DNSSEC those that are of no use for it."""
    resolver = snapshot.postfix_resolver
    if resolver is None or not asks_for_dnssec(snapshot):
        return
    status = by_resolver(snapshot, resolver)
    if not status.on:
        effect, why = _consequence(snapshot, resolver)
        yield _finding(
            snapshot,
            "resolver-not-validating",
            effect,
            f"smtp(8) asks for DNSSEC by {resolver.file}: {status.reason}",
            f"{why}: {status.advice}",
            _mend(snapshot, resolver),
        )


RULES: Final = tuple(_of_each(rule) for rule in (silent, differs, not_validating))


def _consequence(snapshot: Snapshot, resolver: Resolver) -> tuple[Effect, str]:
    """What happens to mail; the daemon does DANE only if its own name servers validate."""
    daemon = of_daemon(snapshot)
    answer = snapshot.settings.dane.answer if snapshot.settings else "dane-only"
    if resolver.not_validating and daemon and daemon.on and answer == "dane-only":
        return Effect.HELD, "The daemon answers dane-only, and smtp(8) defers what is not signed"
    return Effect.NONE, "DANE protects no mail as long as nobody proves TLSA records"


def _mend(snapshot: Snapshot, resolver: Resolver) -> str:
    """A copy of the system's file, if that is better; else a name server that validates."""
    system = _system(snapshot)
    if system and by_resolver(snapshot, system).on and _is_system_fine(snapshot):
        return _copy(snapshot, resolver)
    if any(address_of(each).host in _LOOPBACK for each in resolver.servers):
        return ""  # a name server that is there already, and cannot be told apart from here
    if resolver.file == _SYSTEM:
        return _reload(snapshot, _UNBOUND)
    return then_run(_UNBOUND, _copy(snapshot, resolver))


def _system(snapshot: Snapshot) -> Resolver | None:
    """What the system's resolv.conf says; None: smtp(8) reads it, or nobody has looked."""
    daemon, postfix = snapshot.daemon_resolver, snapshot.postfix_resolver
    is_copied = postfix is not None and postfix.file != _SYSTEM
    return daemon if daemon and daemon.file == _SYSTEM and is_copied else None


def _is_system_fine(snapshot: Snapshot) -> bool:
    system = _system(snapshot)
    return system is not None and bool(system.servers) and not _is_silent(system)


def _is_silent(resolver: Resolver) -> bool:
    return bool(resolver.servers) and set(resolver.servers) <= set(resolver.silent)


def _servers(resolver: Resolver) -> frozenset[str]:
    return frozenset(resolver.servers)


def _joined(resolver: Resolver) -> str:
    return ", ".join(resolver.servers) or f"none, which stands for {LOCAL}"


def _copy(snapshot: Snapshot, resolver: Resolver) -> str:
    """The system's file into the chroot."""
    words = ("install", "-D", "-m", "0644", _SYSTEM, resolver.file)
    return _reload(snapshot, shlex.join(words))


def _reload(snapshot: Snapshot, command: str) -> str:
    instance = _instance(snapshot)
    return also_reload(instance, command) if instance else command


def _instance(snapshot: Snapshot) -> Instance | None:
    """The one whose resolv.conf was looked at: that in its queue directory, or the first."""
    file = snapshot.postfix_resolver.file if snapshot.postfix_resolver else ""
    instances = snapshot.instances
    found = (each for each in instances if file.startswith(f"{_queue(each)}/"))
    return next(found, instances[0] if instances else None)


def _queue(instance: Instance) -> str:
    return instance.parameters.get("queue_directory", "/var/spool/postfix")


def _finding(
    snapshot: Snapshot, id_: str, effect: Effect, what: str, why: str, mend: str
) -> Finding:
    instance = _instance(snapshot)
    return Finding(id_, effect, what, why, mend, instance.name if instance else "")
