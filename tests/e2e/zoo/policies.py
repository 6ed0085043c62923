"""Domains with a policy that is special, in the DNS or at the Policy Host."""

from collections.abc import Iterator
from typing import Final

from tests.e2e.zoo.animal import Animal, Data, Mx, Policy, Wish

_TOP: Final = ("version: STSv1", "mode: enforce")
_END: Final = "max_age: 604800"


def _text(*lines: str) -> str:
    return "".join(f"{line}\r\n" for line in lines)


_BODY: Final = _text(*_TOP, "mx: mx.{d}", _END)
_BAD: Final = (Mx("wrong name"),)


def policies() -> Iterator[Animal]:
    """A bad host (wrong name), and why the policy is enforced or is not."""
    yield _not_had("testing", "mode testing", Policy("testing"))
    yield _not_had("none", "mode none", Policy("none", ()))
    yield _not_had("no-record", "no record and no policy", None)
    yield _not_had("record-only", "a record, but no policy file (404)", Policy(status=404))
    for name, what, record in _RECORDS:
        yield Animal(name, what, Wish.NOTHING, _BAD, records={"_mta-sts.{d} TXT": record})
    for name, what, body in _BODIES:
        yield _not_had(name, what, Policy(body=body))
    html = {"content_type": "text/html"}
    yield _not_had("html-type", "policy sent as text/html", Policy(fields=html))
    elsewhere = Policy(status=301, body="", fields={"location": "https://www.{d}/"})
    yield _not_had("redirect", "redirect in place of the policy", elsewhere)
    error = Policy(status=500, body="")
    yield _not_had("server-error", "error 500 in place of the policy", error)
    for name, kind in (("host-expired", "expired"), ("host-wrong-name", "wrong name")):
        what = f"the Policy Host's certificate: {kind}"
        yield _not_had(name, what, Policy(certificate=kind))
    what = "the Policy Host is down, no policy is cached"
    yield _not_had("host-down", what, Policy(is_down=True))
    cached = Policy(is_down=True, is_cached=True)
    what = "the Policy Host is down, a policy is cached"
    yield Animal("host-down-cached", what, Wish.HOLD, _BAD, cached)
    what = "the same, and the MX host is good"
    yield Animal("host-down-cached-good", what, Wish.DELIVER, policy=cached)
    lines = Policy(body=_BODY.replace("\r", ""))
    yield Animal("lf-only", "line ends without CR", Wish.DELIVER, policy=lines)


_RECORDS: Final[tuple[tuple[str, str, Data], ...]] = (
    ("policy-only", "a policy file, but no record", ()),
    ("two-records", "two records", ('"v=STSv1; id=1;"', '"v=STSv1; id=2;"')),
    ("record-servfail", "SERVFAIL for the record", "SERVFAIL"),
    ("record-v", "`v=STS1` in the record", ('"v=STS1; id=1;"',)),
    ("record-id", "`-` in the id of the record", ('"v=STSv1; id=2026-01-01;"',)),
    ("record-order", "`id` before `v` in the record", ('"id=1; v=STSv1;"',)),
    ("record-quotes", "quotes in the record", (r'"\"v=STSv1; id=1;\""',)),
    ("record-no-id", "no id in the record", ('"v=STSv1;"',)),
)
"""In place of a right record."""

_BODIES: Final = (
    ("nmx", "`nmx:` for `mx:`", _text(*_TOP, "nmx: mx.{d}", _END)),
    ("mx-list", "`mx:` with a list", _text(*_TOP, "mx: mx.{d}, mx2.{d}", _END)),
    ("mx-preference", "`mx:` with a preference", _text(*_TOP, "mx: 10 mx.{d}", _END)),
    ("final-dot", "`mx:` with a final dot", _text(*_TOP, "mx: mx.{d}.", _END)),
    ("bom", "BOM before the policy", f"\ufeff{_BODY}"),
    ("html", "HTML page in place of the policy", "<!DOCTYPE html><html>Hello</html>"),
    ("no-version", "no version in the policy", _text("mode: enforce", "mx: mx.{d}", _END)),
    ("no-max-age", "no max_age in the policy", _text(*_TOP, "mx: mx.{d}")),
    ("mode-typo", "`mode: enforced`", _text(_TOP[0], "mode: enforced", "mx: mx.{d}", _END)),
    ("empty", "empty policy file", ""),
)
"""In place of a right policy file."""


def _not_had(name: str, what: str, policy: Policy | None) -> Animal:
    """No policy is enforced, so that the bad host gets the mail."""
    return Animal(name, what, Wish.NOTHING, _BAD, policy)
