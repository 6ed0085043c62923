"""What the daemon says of itself at the control socket; a value, which `daemon` makes."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from postfix_mta_sts.admin.fleet.asking import Fleet
from postfix_mta_sts.network.sandbox.confinement import Confinement
from postfix_mta_sts.postfix.answers import Answering
from postfix_mta_sts.postfix.dane import DaneStatus

_DEFAULTS: Final = Answering()


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonInfo:
    """Facts about the daemon that `status` reports; times are epoch seconds."""

    started_at: float
    configured_at: float
    """The start, or the last successful reload: what the file got later is not in use."""
    config: str | None
    """The configuration file; None: the built-in defaults."""
    listening: Sequence[str]
    store: str
    """The path of the store."""
    idle_after: float
    """`refresh.idle_after`, in seconds."""
    dane: DaneStatus
    answering: Answering = _DEFAULTS
    asked_at: float | None = None
    """When Postfix last asked for a domain; None: never."""
    exceptions_problem: str = ""
    """Why the exceptions that commands have added are not known; empty: they are."""
    next_tick: float | None = None
    """When the refresher next looks for policies that are due; None before its first run."""
    fleet: Fleet | None = None
    """None: this relay shares nothing."""
    confinement: Confinement | None = None
    """What the sandbox of the network process holds; None: none is ready."""
    pid: int = field(default_factory=os.getpid)
