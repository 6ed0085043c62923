"""Which daemon a command speaks to.

Border: from the arguments to a `ControlClient`; what is asked of it is the command's own matter.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from postfix_mta_sts.admin.client import CLIENT_TIMEOUT, ControlClient
from postfix_mta_sts.cli.parser import settings
from postfix_mta_sts.config.settings import Settings, default_control_path

SERVICE: Final = Path("/run/postfix-mta-sts/control.sock")
"""Where the daemon has it as a service of systemd."""


def control_client(args: argparse.Namespace, timeout: float = CLIENT_TIMEOUT) -> ControlClient:
    """The daemon that the arguments, or the surroundings, name. Raises `ConfigError`."""
    return ControlClient(control_path(settings(args), os.environ), timeout)


def control_path(chosen: Settings, environ: Mapping[str, str], service: Path = SERVICE) -> Path:
    """Where its control socket is.

    Where neither the settings say so nor the default place has one, it is that of the service.
    """
    if chosen.control.path:
        return chosen.control.path
    default = default_control_path(environ)
    return service if service.exists() and not default.exists() else default
