"""Shell commands that mend what `doctor` found: one line each, for root, quoted for sh(1).

Pure. A command for an instance other than the one in /etc/postfix names its folder (`-c`).
"""

import shlex
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts.postfix.installed.values import Instance

RESTART: Final = "systemctl restart postfix-mta-sts"
RELOAD: Final = "systemctl reload postfix-mta-sts"
START: Final = "systemctl start postfix-mta-sts.socket postfix-mta-sts.service"
"""Both at once: systemd starts no socket whose service runs."""
ADMIT_POSTFIX: Final = (
    "mkdir -p /etc/systemd/system/postfix-mta-sts.service.d && "
    r"printf '[Service]\nSupplementaryGroups=postfix\nSystemCallFilter=@chown\n' "
    "> /etc/systemd/system/postfix-mta-sts.service.d/group.conf && "
    f"systemctl daemon-reload && {RESTART}"
)
"""Let the daemon give its sockets to Postfix (docs/systemd.md)."""

LIMIT: Final = 4_000
"""Characters of a command. A longer one is not copied whole from every terminal."""
_DEFAULT_FOLDER: Final = "/etc/postfix"


def pasteable(command: str) -> str:
    """The command if what a terminal shows of it is what sh(1) gets; else the empty text.

    A file of main.cf may have a name that a terminal cannot show, or that is shown escaped.
    """
    is_shown = command.isascii() and command.isprintable() and len(command) <= LIMIT
    return command if is_shown else ""


def postconf_set(instance: Instance, name: str, value: str) -> str:
    """Set a parameter in main.cf, and reload Postfix (postconf(1), `-e`)."""
    return also_reload(instance, _postconf(instance, "-e", f"{name} = {value}".rstrip()))


def postconf_unset(instance: Instance, *names: str) -> str:
    """Remove parameters from main.cf, so that defaults apply; see `also_reload` (`-X`)."""
    return _postconf(instance, "-X", *_no_options(names))


def service_unset(instance: Instance, service: str, name: str) -> str:
    """Remove an `-o` option of a service such as `smtp/unix`; see `also_reload` (`-PX`)."""
    return _postconf(instance, "-PX", *_no_options((f"{service}/{name}",)))


def leave_chroot(instance: Instance, *services: str) -> str:
    """Run services such as `smtp/unix` outside of the chroot, and reload Postfix (`-Fe`)."""
    columns = _no_options(tuple(f"{each}/chroot=n" for each in services))
    return also_reload(instance, _postconf(instance, "-Fe", *columns))


def set_command(instance: Instance, service: str, command: str) -> str:
    """Give a service such as `smtp/unix` another command, and reload Postfix (`-Fe`)."""
    column = _no_options((f"{service}/command={command}",))
    return also_reload(instance, _postconf(instance, "-Fe", *column))


def delete_entry(file: str, line: int, then: str) -> str:
    """Remove a line of main.cf, and those that continue it: they would belong to the one before."""
    edit = f"{line},/^[^[:space:]]/{{{line}d;/^[[:space:]]/d;}}"
    return then_run(_words("sed", "-i", edit, file), then)


def open_folder(folder: str) -> str:
    """Let every user pass through a folder."""
    return _words("chmod", "o+x", folder)


def also_reload(instance: Instance, command: str) -> str:
    """Run a command, and reload Postfix if it succeeds."""
    return then_run(command, _words("postfix", *_folder(instance), "reload"))


def then_run(*commands: str) -> str:
    """Run one command after the other, until one fails; empty ones are left out."""
    return " && ".join(filter(None, commands))


def _no_options(words: Sequence[str]) -> tuple[str, ...]:
    """The words, none of which a program takes for an option, whatever it begins with."""
    return ("--", *words) if any(each.startswith("-") for each in words) else tuple(words)


def _postconf(instance: Instance, option: str, *words: str) -> str:
    return _words("postconf", *_folder(instance), option, *words)


def _folder(instance: Instance) -> tuple[str, ...]:
    """The option for the folder of an instance; empty for the default one."""
    folder = instance.config_directory
    return () if folder in {"", _DEFAULT_FOLDER} else ("-c", folder)


def _words(*words: str) -> str:
    return shlex.join(words)
