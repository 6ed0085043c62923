"""A Postfix on another machine, of which there is a main.cf, or what `postconf` printed there.

Pure. Parameters that the text does not have are those of postconf(5).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts.postfix.authorities import EMPTY, Authorities
from postfix_mta_sts.postfix.installed.instances import PRIMARY
from postfix_mta_sts.postfix.installed.main_cf_file import expanded, read_assignments
from postfix_mta_sts.postfix.installed.master_cf_file import parse_master_cf, refused_column
from postfix_mta_sts.postfix.installed.parameters import shown
from postfix_mta_sts.postfix.installed.services import SMTP, services_of
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.main_cf import to_main_cf
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from postfix_mta_sts.values import replace

DEFAULTS: Final[Mapping[str, str]] = {
    "config_directory": "/etc/postfix",
    "default_transport": "smtp",
    "mail_owner": "postfix",
    "queue_directory": "/var/spool/postfix",
    "smtp_tls_loglevel": "0",
    "smtp_tls_session_cache_timeout": "3600s",
}
"""Those that are not empty, of the parameters that `doctor` looks at."""
_SERVICE: Final = "smtp/unix"


def instance_of(
    text: str, master_cf: str | None = None
) -> tuple[Instance, Mapping[str, str], Mapping[str, str]]:
    """The instance, and the parameters and services that are not known, each with the reason.

    Without the text of a master.cf there is one service, which has no options.
    """
    written, problem = read_assignments(text)
    values, unseen = expanded(written)
    problem = problem or refused_column(master_cf or "")
    if problem:
        return Instance(PRIMARY, DEFAULTS["config_directory"], problem=problem), unseen, {}
    known = {**DEFAULTS, **{name: shown(value) for name, value in values.items()}}
    unknown = frozenset(unseen)
    services, missed = _services(known, written, master_cf, unknown)
    of_smtp = (each.authorities for each in services if each.command == SMTP)
    instance = Instance(
        PRIMARY,
        known["config_directory"],
        known,
        services,
        authorities=next(of_smtp, None) or _authorities(to_main_cf(known)),
        unknown=unknown,
    )
    return instance, unseen, missed


def _services(
    values: Mapping[str, str],
    written: Mapping[str, str],
    master_cf: str | None,
    unknown: frozenset[str],
) -> tuple[tuple[Service, ...], Mapping[str, str]]:
    """The services that send mail, and what of them is not known."""
    if master_cf is None:
        main_cf = to_main_cf(values)
        alone = Service(_SERVICE, SMTP, is_chrooted=False, main_cf=main_cf, unknown=unknown)
        return (_with_authorities(alone),), {}
    found, unseen = parse_master_cf(master_cf, {**DEFAULTS, **written})
    return tuple(map(_with_authorities, services_of(found, values, unknown))), unseen


def _with_authorities(service: Service) -> Service:
    return replace(service, authorities=_authorities(service.main_cf))


def _authorities(main_cf: MainCf) -> Authorities:
    """The files that the parameters name; they are on the other machine."""
    file, folder = main_cf.smtp_tls_CAfile, main_cf.smtp_tls_CApath
    return Authorities(
        Path(file) if file else None,
        Path(folder) if folder else None,
        main_cf.tls_append_default_CA,
        problem="" if file or folder else EMPTY,
    )
