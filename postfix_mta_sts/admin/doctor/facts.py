"""What `doctor` shows whether or not something is wrong: what there is, in short lines. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from postfix_mta_sts.admin.diagnosis.setup import describe
from postfix_mta_sts.admin.doctor.dane_here import of_daemon
from postfix_mta_sts.admin.doctor.report import Fact
from postfix_mta_sts.admin.doctor.service import is_started_on_demand, is_stopped
from postfix_mta_sts.admin.doctor.snapshot import DaemonState, Resolver, Snapshot
from postfix_mta_sts.postfix.installed.values import Instance, Service

_STATES: Final = {
    DaemonState.ANSWERS: "answers",
    DaemonState.NOT_RUNNING: "does not run",
    DaemonState.NO_CONTROL: "answers Postfix, and no command",
    DaemonState.HANGS: "does not answer",
    DaemonState.DENIED: "was not asked",
}
_KEPT_FROM: Final = {
    "files": "files that it does not need",
    "ports": "other ports",
    "unix_sockets": "sockets of other programs",
    "processes": "other processes",
}
"""By the keys of `sandbox` in `status --json`."""


def facts(snapshot: Snapshot) -> Iterator[Fact]:
    """Yield them by subject: the daemon, each instance of Postfix, DANE, the queue."""
    yield from _of_daemon(snapshot)
    for instance in snapshot.instances:
        suffix = f" ({instance.name})" if len(snapshot.instances) > 1 else ""
        for label, text in _of_instance(instance):
            yield Fact(f"{label}{suffix}", text)
    yield from _of_dns(snapshot)
    if snapshot.waiting is not None:
        yield Fact("waiting mail", _waiting(snapshot.waiting))


def _of_daemon(snapshot: Snapshot) -> Iterator[Fact]:
    status = snapshot.daemon.status or {}
    version, pid = status.get("version"), status.get("pid")
    words = [_state(snapshot), version and f"version {version}", pid and f"pid {pid}"]
    yield Fact("daemon", ", ".join(filter(None, words)))
    yield Fact("configuration", snapshot.config_file or "defaults, no file")
    if listening := status.get("listening"):
        yield Fact("listeners", ", ".join(map(str, listening)))
    sandbox = status.get("sandbox")
    if isinstance(sandbox, Mapping):
        yield Fact("network process", _confined(sandbox))


def _state(snapshot: Snapshot) -> str:
    """Whether it runs, or what starts it."""
    state = _STATES[snapshot.daemon.state]
    if is_stopped(snapshot) and is_started_on_demand(snapshot) and snapshot.unit:
        sockets = " and ".join(snapshot.unit.sockets)
        return f"{state}; the next look-up starts it, by {sockets}"
    return state


def _of_instance(instance: Instance) -> Iterator[tuple[str, str]]:
    if instance.problem:
        yield "Postfix", instance.problem
        return
    parameters, version = instance.parameters, ".".join(map(str, instance.version))
    yield "Postfix", f"{version or 'of unknown version'}, {instance.config_directory}"
    yield "services", ", ".join(map(_service, instance.services)) or "none that sends mail"
    yield "policy map", parameters.get("smtp_tls_policy_maps") or "none"
    yield "TLS level", parameters.get("smtp_tls_security_level") or "none"
    if instance.authorities:
        yield "CA certificates", describe(instance.authorities)


def _of_dns(snapshot: Snapshot) -> Iterator[Fact]:
    if dane := of_daemon(snapshot):
        yield Fact("DANE", f"{'on' if dane.on else 'off'}: {dane.reason}")
    if snapshot.daemon_resolver:
        yield Fact("name servers", _servers(snapshot.daemon_resolver))
    for resolver in filter(None, (snapshot.postfix_resolver, *snapshot.other_resolvers)):
        yield Fact("name servers of smtp(8)", _servers(resolver))


def _service(service: Service) -> str:
    return f"{service.name} (chroot)" if service.is_chrooted else service.name


def _servers(resolver: Resolver) -> str:
    source = resolver.file or "dns.nameservers"
    return f"{', '.join(resolver.servers) or 'none'}, by {source}"


def _confined(sandbox: Mapping[str, Any]) -> str:
    """What keeps the network process from what, and what does not (`network.sandbox`)."""
    kept_from = [words for key, words in _KEPT_FROM.items() if sandbox.get(key)]
    holds = f"kept from {', '.join(kept_from)}" if kept_from else "not confined"
    return "; ".join([holds, *map(str, sandbox.get("missing") or ())])


def _waiting(count: int) -> str:
    if not count:
        return "none because of a policy"
    messages = "1 message waits" if count == 1 else f"{count} messages wait"
    return f"{messages} because of a policy; postqueue -f tries again now"
