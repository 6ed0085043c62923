"""Where the store and the control socket are, if no setting says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

_STATE_FOLDER: Final = Path("/var/lib")


def default_cache_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the store for a configuration without `cache.path`.

    The folder is the first of $STATE_DIRECTORY (systemd.exec(5)), else $XDG_STATE_HOME if it is
    absolute (XDG Base Directory Specification), else ~/.local/state. A user without a home gets
    that of the systemd service, so that the daemon starts, and the log names what is missing.
    """
    if state := environ.get("STATE_DIRECTORY"):
        return Path(state.split(":")[0]) / "policies.db"
    xdg = Path(environ.get("XDG_STATE_HOME", ""))
    folder = xdg if xdg.is_absolute() else _state_folder(environ)
    return folder / "postfix-mta-sts" / "policies.db"


def _state_folder(environ: Mapping[str, str]) -> Path:
    try:
        return Path(environ.get("HOME") or Path.home()) / ".local" / "state"
    except RuntimeError:  # no $HOME, and passwd(5) does not know the user
        return _STATE_FOLDER


def default_control_path(environ: Mapping[str, str]) -> Path:
    """Return the path of the control socket for a configuration without `control.path`.

    The folder is $RUNTIME_DIRECTORY (systemd.exec(5)), else that of `default_cache_path`.
    """
    if runtime := environ.get("RUNTIME_DIRECTORY"):
        return Path(runtime.split(":")[0]) / "control.sock"
    return default_cache_path(environ).with_name("control.sock")
