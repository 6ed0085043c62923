"""What `doctor` was told, and what it has read, before it looks at anything. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Place
from postfix_mta_sts.config.settings import Settings
from postfix_mta_sts.mtasts.domain import Domain


@dataclass(frozen=True, slots=True)
class Given:
    """The arguments, and the daemon's configuration."""

    settings: Settings
    """What is valid of the configuration, with defaults for the rest."""
    store_path: Path
    """Where the store is, unless the daemon says something else."""
    is_valid: bool = True
    config_file: Path | None = None
    """None: there is none, and the defaults hold."""
    config_problems: tuple[ConfigProblem, ...] = ()
    places: Mapping[str, Place] = field(default_factory=dict)
    main_cf_file: Path | None = None
    """Of `--main-cf`; None: the Postfix of this machine."""
    main_cf_text: str = ""
    master_cf_text: str | None = None
    """The master.cf beside it; None: there is none, or it could not be read."""
    outward: Domain | None = None
    unseen: tuple[Unseen, ...] = ()
    """What the command could not read."""
