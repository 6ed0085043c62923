"""The settings by which an administrator departs from the standard, or tries it out.

These are exceptions, the trial, the checks of both, alerts, and TLS reports. They are part of
`settings`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Struct

from postfix_mta_sts.config import field_types
from postfix_mta_sts.config.decode import ConflictError
from postfix_mta_sts.config.field_types import FieldType
from postfix_mta_sts.mtasts.exceptions import (
    InvalidExceptionError,
    PolicyException,
    Scope,
    Use,
    parse_exception,
    parse_scope,
)


class ExceptionSettings(Struct, frozen=True, kw_only=True):
    """What decides about a domain in place of its policy; see `mtasts.exceptions`."""

    use: Annotated[
        Literal["ignore", "may", "encrypt", "enforce", "pin"],
        FieldType("ignore, may, encrypt, enforce or pin"),
    ]
    reason: field_types.Reason
    until: field_types.Until = None
    """Its end, in epoch seconds."""
    forever: field_types.Switch = False
    """It has no end; needed instead of `until`."""
    mx: tuple[field_types.MxText, ...] = ()
    """The patterns of a pin."""
    dane: Annotated[Literal["ignore"] | None, FieldType("ignore, or null")] = None
    anyway: field_types.Switch = False
    """Needed for all domains below a top-level domain."""

    def __post_init__(self) -> None:
        if self.until is None and not self.forever:
            raise ConflictError(["until"], "an end is needed; write a date, or forever: true")
        if self.until is not None and self.forever:
            raise ConflictError(["forever"], "until is given, too; write one of them")
        try:
            exception_of("example.com", self)
        except InvalidExceptionError as error:
            raise ConflictError(["use"], str(error)) from None


class TrialSettings(Struct, frozen=True, kw_only=True):
    """Ask for policies, enforce none, and find out which mail would be held."""

    enabled: field_types.Switch = False
    """`trial: true` sets it, and without it `trial: {dane: true}`; see `shorthands`."""
    dane: field_types.Switch = False
    """Put DANE verdicts on trial as well."""
    every: Annotated[float, field_types.duration("1m", "30d")] = 6 * 3600.0
    """Seconds between two checks of a domain."""


class CheckSettings(Struct, frozen=True, kw_only=True):
    """Checks that the daemon makes of mail servers, beside those of a trial."""

    exceptions: field_types.Switch = True
    """Once a day, whether domains with an exception would verify again."""


class AlertSettings(Struct, frozen=True, kw_only=True):
    """What is run when a domain's protection becomes weaker."""

    command: field_types.Command = ()
    """A program and its arguments; the event is on its standard input. Empty: none."""


class TlsrptSettings(Struct, frozen=True, kw_only=True):
    """What the daemon adds to the TLS reports of Postfix."""

    socket: field_types.FilePath = None
    """The socket of tlsrpt-collectd; None: nothing is reported."""


def exception_of(name: str, settings: ExceptionSettings) -> PolicyException:
    """Make the exception of an entry; raise `InvalidExceptionError`."""
    return parse_exception(
        parse_scope(name, anyway=True),
        Use(settings.use),
        settings.reason,
        settings.until,
        mx=settings.mx,
        ignores_dane=settings.dane == "ignore",
    )


def whole_top_level_domains(exceptions: Mapping[str, ExceptionSettings]) -> Sequence[str]:
    """Return the keys, such as `*.com`, of entries that do not say that they mean it."""
    return [
        name
        for name, each in exceptions.items()
        if not each.anyway and _is_top_level(parse_scope(name, anyway=True))
    ]


def _is_top_level(scope: Scope) -> bool:
    return scope.startswith("*.") and scope.count(".") == 1
