"""A Postfix on another machine, of which there is a main.cf, or what `postconf` printed there.

Pure. Parameters that the text does not have are those of postconf(5). Nothing is known of its
master.cf, so there is one service, which has no options.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.postfix.authorities import EMPTY, Authorities
from postfix_mta_sts.postfix.installed.instances import PRIMARY
from postfix_mta_sts.postfix.installed.main_cf_file import parse_main_cf
from postfix_mta_sts.postfix.installed.parameters import shown
from postfix_mta_sts.postfix.installed.values import Instance, Service
from postfix_mta_sts.postfix.main_cf import to_main_cf
from postfix_mta_sts.postfix.smtp_client.values import MainCf

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


def instance_of(text: str) -> tuple[Instance, Mapping[str, str]]:
    """The instance, and the parameters whose values are not known, each with the reason."""
    found = parse_main_cf(text)
    if found.problem:
        problem = printable(found.problem)
        return Instance(PRIMARY, DEFAULTS["config_directory"], problem=problem), found.unseen
    values = {**DEFAULTS, **{name: shown(value) for name, value in found.parameters.items()}}
    main_cf = to_main_cf(values)
    authorities = _authorities(main_cf)
    service = Service(_SERVICE, "smtp", False, main_cf, authorities=authorities)  # noqa: FBT003 (its chroot is not known)
    directory = values["config_directory"]
    return Instance(PRIMARY, directory, values, (service,), authorities=authorities), found.unseen


def _authorities(main_cf: MainCf) -> Authorities:
    """The files that the parameters name; they are on the other machine."""
    file, folder = main_cf.smtp_tls_CAfile, main_cf.smtp_tls_CApath
    return Authorities(
        Path(file) if file else None,
        Path(folder) if folder else None,
        main_cf.tls_append_default_CA,
        problem="" if file or folder else EMPTY,
    )
