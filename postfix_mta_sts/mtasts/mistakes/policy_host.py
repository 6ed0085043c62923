"""Mistakes of the web server of the policy: name, certificate, redirect, path, media type."""

from collections.abc import Iterator, Mapping
from typing import Final

from postfix_mta_sts.mtasts.errors import MediaTypeError, printable
from postfix_mta_sts.mtasts.mistakes.values import Mistake, Place, Seen
from postfix_mta_sts.mtasts.policy import POLICY_PATH
from postfix_mta_sts.mtasts.response import REDIRECTS, Head, check_head

_CERTIFICATE: Final[Mapping[str, tuple[str, str]]] = {
    "hostname mismatch": ("certificate-name", "get a certificate for {host}"),
    "certificate has expired": (
        "certificate-expired",
        "renew the certificate of {host}, and let the web server load it",
    ),
    "not yet valid": ("certificate-not-yet-valid", "get a valid certificate for {host}"),
    "self-signed": ("certificate-self-signed", "get a certificate of a public CA for {host}"),
    "self signed": ("certificate-self-signed", "get a certificate of a public CA for {host}"),
    "unable to get local issuer": (
        "certificate-chain",
        "let the web server send the intermediate certificates (fullchain.pem)",
    ),
    "unable to verify the first": (
        "certificate-chain",
        "let the web server send the intermediate certificates (fullchain.pem)",
    ),
}
"""Part of OpenSSL's text (X509_verify_cert_error_string(3)), code, and what to do."""


def find_policy_host_mistakes(seen: Seen) -> Iterator[Mistake]:
    """Yield why the Policy Host gives no policy (RFC 8461 §3.3), as far as it is a mistake."""
    for find in (_name, _certificate, _redirect, _path, _media_type):
        yield from find(seen)


def _host(seen: Seen) -> str:
    return f"mta-sts.{seen.domain}"


def _url(seen: Seen) -> str:
    return f"https://{_host(seen)}{POLICY_PATH}"


def _name(seen: Seen) -> Iterator[Mistake]:
    if seen.host_exists is False:
        write = f"{_host(seen)}. IN A (or AAAA, CNAME) of the web server that has the policy"
        yield _mistake("host-missing", f"{_host(seen)} has no address", write)


def _certificate(seen: Seen) -> Iterator[Mistake]:
    error = seen.certificate_error
    if error is None:
        return
    kinds = (kind for part, kind in _CERTIFICATE.items() if part in error.lower())
    code, write = next(kinds, ("certificate", "get a valid certificate for {host}"))
    of = f"; it is for {', '.join(seen.certificate_names[:3])}" if seen.certificate_names else ""
    yield _mistake(code, f"the certificate: {error}{of}", write.format(host=_host(seen)))


def _redirect(seen: Seen) -> Iterator[Mistake]:
    if seen.status in REDIRECTS:
        to = f" to {seen.location}" if seen.location else ""
        found = f"HTTP {seen.status}: a redirect{to}; no mail server may follow it"
        yield _mistake("redirect", found, f"serve the file itself at {_url(seen)}")


def _path(seen: Seen) -> Iterator[Mistake]:
    status = f"HTTP {seen.status} at {_url(seen)}"
    if seen.status in {404, 410} and seen.near_path:
        found = f"{status}; the file is at {seen.near_path}"
        yield _mistake("wrong-path", found, f"serve it at {_url(seen)}")
    elif seen.status in {404, 410}:
        yield _mistake("no-file", status, f"serve the policy at {_url(seen)}")
    elif seen.status in {401, 403}:
        yield _mistake("not-allowed", status, "let everybody read the file, without a password")


def _media_type(seen: Seen) -> Iterator[Mistake]:
    if seen.status != 200 or seen.media_type is None:
        return
    try:
        check_head(Head(200, [seen.media_type] if seen.media_type else [], length=0))
    except MediaTypeError:
        found = f"Content-Type: {seen.media_type}" if seen.media_type else "no Content-Type"
        yield _mistake("media-type", found, "Content-Type: text/plain")


def _mistake(code: str, found: str, write: str) -> Mistake:
    return Mistake(code, Place.POLICY_HOST, printable(found, 400), printable(write, 400))
