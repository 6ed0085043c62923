"""Whether the daemon can keep policies and find new ones: its store, CA certificates, DNS. Pure."""

import shlex
from collections.abc import Iterator
from typing import Final

from postfix_mta_sts.admin.doctor import config_line, service
from postfix_mta_sts.admin.doctor.commands import then_run
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Resolver, Snapshot, StoreFile
from postfix_mta_sts.stats.labels import Part

_USER: Final = "postfix-mta-sts"
"""The user of the unit, and the name of its folder."""
_STATE: Final = f"/var/lib/{_USER}"
_NAMESERVERS: Final = "dns.nameservers"
_INSTALL_CA: Final = "apt-get install -y ca-certificates && update-ca-certificates"


def store(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon cannot read its store, or not write to it."""
    if reason := _reading(snapshot):
        yield Finding(
            "store",
            Effect.UNPROTECTED,
            f"the daemon cannot read its store: {reason}",
            "The policies there protect no mail until they are fetched again",
            _own(snapshot),
        )
    elif reason := _writing(snapshot):
        yield Finding(
            "store",
            Effect.NONE,
            f"the daemon cannot write to its store: {reason}",
            "Policies that are fetched now are lost when the daemon restarts",
            _own(snapshot),
        )


def daemon_ca(snapshot: Snapshot) -> Iterator[Finding]:
    """The daemon trusts no CA certificate."""
    if reason := _ca_problem(snapshot):
        yield Finding(
            "daemon-ca",
            Effect.UNPROTECTED,
            f"the daemon has no CA certificates: {reason}",
            "It cannot verify Policy Hosts, so that no policy is fetched or renewed",
            _get_ca(snapshot),
        )


def daemon_dns(snapshot: Snapshot) -> Iterator[Finding]:
    """No name server of the daemon answers."""
    resolver = snapshot.daemon_resolver
    if reason := service.trouble(snapshot, Part.DNS) or _silent(resolver):
        servers = f" of {', '.join(resolver.servers)}" if resolver and resolver.servers else ""
        yield Finding(
            "daemon-dns",
            Effect.UNPROTECTED,
            f"the daemon gets no answer from the DNS{servers}: {reason}",
            "It finds no policy that it does not know yet; name a server that answers in "
            f"{_resolv_conf(resolver)}",
            _ask_system(snapshot),
        )


def _reading(snapshot: Snapshot) -> str:
    """Why the store cannot be read; the daemon knows better than its permissions say."""
    found = snapshot.store
    if snapshot.daemon.status or not found or found.is_readable:
        return service.trouble(snapshot, Part.STORE_READING)
    return f"its user may not read {found.path}"


def _writing(snapshot: Snapshot) -> str:
    found, reason = snapshot.store, service.trouble(snapshot, Part.STORE_WRITING)
    if reason or not found or found.is_writable:
        return reason
    return f"its user may not write to {found.path} or its folder"


def _own(snapshot: Snapshot) -> str:
    """The command that gives the store to the daemon's user, if that is the fault.

    A folder with other things in it is left alone, and one that only the daemon names: root would
    give it what the daemon chooses.
    """
    found = snapshot.store
    if found is None or (found.is_readable and found.is_writable):
        return ""
    if not service.is_service(snapshot) or found.folder not in _folders(snapshot):
        return ""
    return then_run(_give(found), service.restart(snapshot))


def _folders(snapshot: Snapshot) -> Iterator[str]:
    """The folders that the unit and the configuration give to the daemon, and nothing else."""
    yield _STATE
    path = snapshot.settings.cache.path if snapshot.settings else None
    if path is not None and path.parent.name == _USER:
        yield str(path.parent)


def _give(found: StoreFile) -> str:
    change = shlex.join(("chown", "-R", f"{_USER}:", found.folder))
    return then_run(change, shlex.join(("chmod", "-R", "u+rwX", found.folder)))


def _ca_problem(snapshot: Snapshot) -> str:
    """Why no certificate is trusted: of the daemon that runs, else of the next start."""
    found = snapshot.ca_problem
    seen = "" if service.is_of_user(snapshot, found) else found
    errors = (each.reason for each in service.ca_errors(snapshot))
    return service.trouble(snapshot, Part.CA_CERTIFICATES) or seen or next(errors, "")


def _get_ca(snapshot: Snapshot) -> str:
    """The command that lets the daemon use the certificates of the system, or installs them."""
    place, then = snapshot.places.get(service.CA_FILE), service.apply(snapshot)
    install = "" if snapshot.ca_bundle else _INSTALL_CA
    if not _has_ca_file(snapshot):
        return then_run(install or _INSTALL_CA, then)
    edit = config_line.with_value(place, "ca_file", "null", then)
    return then_run(install, edit) if edit else ""


def _has_ca_file(snapshot: Snapshot) -> bool:
    """Whether `https.ca_file` is set, if only to something that is not valid."""
    if snapshot.settings is not None:
        return snapshot.settings.https.ca_file is not None
    return service.CA_FILE in snapshot.places or bool(service.ca_errors(snapshot))


def _silent(resolver: Resolver | None) -> str:
    """Why the DNS cannot work, if none of the servers answers."""
    if resolver is None or not resolver.servers or set(resolver.servers) - set(resolver.silent):
        return ""
    return "no name server answers"


def _resolv_conf(resolver: Resolver | None) -> str:
    return resolver.file if resolver and resolver.file else _NAMESERVERS


def _ask_system(snapshot: Snapshot) -> str:
    """The command that makes the daemon ask the name servers of the system, if these answer."""
    settings, other = snapshot.settings, snapshot.postfix_resolver
    if not settings or not settings.dns.nameservers or other is None or _silent(other):
        return ""
    place = snapshot.places.get(_NAMESERVERS)
    return config_line.with_value(place, "nameservers", "[]", service.apply(snapshot))


RULES: Final = (store, daemon_ca, daemon_dns)
