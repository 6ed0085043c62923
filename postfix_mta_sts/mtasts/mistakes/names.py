"""The names at which administrators put the TXT records by mistake."""

from collections.abc import Mapping
from typing import Final

from postfix_mta_sts.mtasts.domain import Domain

NEAR_RECORD: Final[Mapping[str, str]] = {
    "record-name-underscore": "_mta_sts.{domain}",
    "record-name-no-underscore": "mta-sts.{domain}",
    "record-name-no-hyphen": "_mtasts.{domain}",
    "record-name-doubled": "_mta-sts.{domain}.{domain}",
    "record-name-parent": "{domain}",
}
"""For the record of `_mta-sts.`: the code of the mistake, and where the record is."""

NEAR_TLSRPT: Final[Mapping[str, str]] = {
    "tlsrpt-name-tls": "_smtp.tls.{domain}",
    "tlsrpt-name-one-label": "_smtp_tls.{domain}",
    "tlsrpt-name-hyphen": "_smtp-tls.{domain}",
    "tlsrpt-name-smtp": "smtp._tls.{domain}",
    "tlsrpt-name-order": "_tls._smtp.{domain}",
    "tlsrpt-name-short": "_tls.{domain}",
    "tlsrpt-name-doubled": "_smtp._tls.{domain}.{domain}",
    "tlsrpt-name-parent": "{domain}",
}
"""The same for the record of `_smtp._tls.`."""


def near_names(domain: Domain) -> tuple[str, ...]:
    """Return the names to ask for TXT records, without the right ones, each once."""
    templates = [*NEAR_RECORD.values(), *NEAR_TLSRPT.values()]
    return tuple(dict.fromkeys(template.format(domain=domain) for template in templates))
