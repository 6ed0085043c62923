"""Values that the parts of a daemon get at its start, and that a reload does not replace."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.network.timing import Timing

Clock: TypeAlias = Callable[[], float]
"""Returns epoch seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Values that a reload does not change."""

    config: str | None
    """The configuration file; None: the defaults."""
    control_path: Path
    """Path of the control socket if the settings name none."""
    store_path: Path
    """The file that is open."""
    default_store_path: Path
    """Path of the store if the settings name none."""
    clock: Clock
    files: int
    """File descriptors that the process may open."""
    https_port: int
    """Port of the Policy Hosts."""
    smtp_port: int
    """Port of mail servers that are checked."""
    timing: Timing
    """Times of the network process."""

    @property
    def private(self) -> tuple[Path, ...]:
        """The files of the daemon that its network process must not read."""
        config = (Path(self.config),) if self.config else ()
        return self.store_path, self.control_path, *config

    def needs_restart(self, settings: Settings) -> list[str]:
        """Return the keys of these settings that are not in force before a restart."""
        wanted = settings.cache.path or self.default_store_path
        return [] if wanted == self.store_path else ["cache.path"]


@dataclass(slots=True)
class SizeLimit:
    """Returns the bytes that the rows of the store may take; a reload changes them."""

    size: int

    def __call__(self) -> int:
        """Return the limit."""
        return self.size
