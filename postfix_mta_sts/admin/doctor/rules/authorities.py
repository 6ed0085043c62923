"""Rules for the CA certificates that smtp(8) trusts (postconf(5), smtp_tls_CAfile)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.doctor.commands import then_run
from postfix_mta_sts.admin.doctor.for_services import concerned, set_for, smtp_services
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.authorities import EMPTY, NO_CERTIFICATES, Authorities
from postfix_mta_sts.postfix.installed.values import Instance, Service

_CA_FILE: Final = "smtp_tls_CAfile"
_DEBIAN_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_INSTALL: Final = (
    "{ command -v update-ca-certificates > /dev/null || apt-get install -y ca-certificates; } "
    "&& update-ca-certificates --fresh"
)
_HELD: Final = "smtp(8) can verify no certificate: mail to every domain with a policy waits"
_TLS_OFF: Final = (
    "smtp(8) turns TLS off: mail to domains with a policy waits, and all other mail is sent in "
    "plain text"
)
_DENIED: Final = "Permission denied"  # strerror(EACCES)


def none(snapshot: Snapshot) -> Iterator[Finding]:
    """`ca-none`: Postfix has no CA certificates by default, and Debian 13 sets none."""
    for instance in snapshot.instances:
        services = [each for each in smtp_services(instance) if not _has_authorities(each)]
        if services:
            yield Finding(
                "ca-none",
                Effect.HELD,
                "smtp_tls_CAfile and smtp_tls_CApath are empty",
                _HELD,
                _mend(snapshot, instance, services),
                instance.name,
                concerned(instance, services),
            )


def unusable(snapshot: Snapshot) -> Iterator[Finding]:
    """`ca-file-missing`, `ca-file-empty`, `ca-path-in-chroot`: they are set, and of no use."""
    for instance in snapshot.instances:
        for found, services in _seen(instance):
            if _is_known(snapshot, found.problem):
                yield Finding(
                    _id(found),
                    Effect.HELD,
                    _what(services, found),
                    _HELD if found.is_loadable else _TLS_OFF,
                    _mend(snapshot, instance, services, bad=found.ca_file),
                    instance.name,
                    concerned(instance, services),
                )


RULES: Final = (none, unusable)


def _has_authorities(service: Service) -> bool:
    return bool(service.main_cf.smtp_tls_CAfile or service.main_cf.smtp_tls_CApath)


def _seen(instance: Instance) -> Iterator[tuple[Authorities, Sequence[Service]]]:
    """What services trust; those with the same problem together."""
    by_problem: dict[str, tuple[Authorities, list[Service]]] = {}
    for each in smtp_services(instance):
        if seen := each.authorities or instance.authorities:
            by_problem.setdefault(seen.problem, (seen, []))[1].append(each)
    yield from by_problem.values()


def _is_known(snapshot: Snapshot, problem: str) -> bool:
    """Whether this is a problem of smtp(8), which starts as root, and not only of this user."""
    is_own = problem.endswith(_DENIED) and not snapshot.is_root
    return problem not in {"", EMPTY} and not is_own


def _id(found: Authorities) -> str:
    if found.is_loadable:
        return "ca-path-in-chroot"
    return "ca-file-empty" if found.problem.endswith(NO_CERTIFICATES) else "ca-file-missing"


def _what(services: Sequence[Service], found: Authorities) -> str:
    if found.is_loadable and any(each.is_chrooted for each in services):
        return f"smtp(8) looks for CA certificates inside its chroot: {found.problem}"
    return found.problem


def _mend(
    snapshot: Snapshot,
    instance: Instance,
    services: Sequence[Service],
    *,
    bad: Path | None = None,
) -> str:
    """Name the bundle of this system; make one first if there is none, or it is the bad file."""
    bundle = snapshot.ca_bundle
    if not bundle or bundle == str(bad):
        return then_run(_INSTALL, set_for(instance, services, _CA_FILE, _DEBIAN_BUNDLE))
    return set_for(instance, services, _CA_FILE, bundle)
