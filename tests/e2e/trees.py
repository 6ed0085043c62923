"""Two Debian systems in folders: 12 with Postfix 3.7, 13 with Postfix 3.10 and DNS servers.

debootstrap builds them once, from the mirror that this machine's apt uses, in
${XDG_CACHE_HOME:-~/.cache}/postfix-mta-sts; a tree that does not work is built again. This module
starts nothing in a tree. The machine's own Postfix is not touched.

`python -m tests.e2e.trees` builds missing trees and prints their paths.
"""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class Release:
    """A Debian release and the version of its Postfix."""

    suite: str
    postfix: str
    servers: tuple[str, ...] = ()
    """Additional packages, each with a program of its name in /usr/sbin."""


# The machine's apt would start the DNS servers, so they are installed here.
WITH_DNS: Final = Release("trixie", "3.10", ("nsd", "unbound"))
RELEASES: Final = (Release("bookworm", "3.7"), WITH_DNS)

_UNNEEDED: Final = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man")
"""Removed to keep copies of a tree small."""
_WITH_PROC: Final = 'mount -t proc proc "$0/proc" && exec chroot "$0" "$@"'


class NoTreeError(Exception):
    """This machine cannot build a tree; `str()` is the reason."""


def tree(release: Release) -> Path:
    """Return the folder of a release's tree, built if it is missing; copy it before a change.

    Raises `NoTreeError`.
    """
    place = _cache() / release.suite
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _works(place, release):
            _build(place, release)
    return place


def extended(place: Path, suffix: str, packages: Sequence[str]) -> Path:
    """Return a copy of a tree with more of its Debian's packages. Raises `NoTreeError`."""
    more = place.with_name(f"{place.name}-{suffix}")
    with more.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has(more, packages):
            new = more.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            _run("cp", "--archive", str(place), str(new))
            # Some packages need /proc to be configured; the mount ends with the command.
            inside = ("unshare", "--mount", "sh", "-c", _WITH_PROC, str(new))
            apt = (*inside, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes")
            _run(*apt, "update")
            _run(*apt, "install", "--no-install-recommends", *packages)
            for folder in _UNNEEDED:
                shutil.rmtree(new / folder)
            shutil.rmtree(more, ignore_errors=True)
            new.rename(more)
    return more


def _has(place: Path, packages: Sequence[str]) -> bool:
    known = place / "var/lib/dpkg/info"
    return all((known / f"{package}.list").exists() for package in packages)


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "postfix-mta-sts"


def _works(place: Path, release: Release) -> bool:
    programs = [place / "usr/sbin" / each for each in release.servers]
    if not place.is_dir() or not all(each.exists() for each in programs):
        return False
    said = _chroot(place, "postconf", "-d", "-h", "mail_version")
    return said.returncode == 0 and said.stdout.startswith(f"{release.postfix}.")


def _build(place: Path, release: Release) -> None:
    if not shutil.which("debootstrap"):
        raise NoTreeError("no debootstrap")
    new = place.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    packages = ",".join(("postfix", *release.servers))
    options = ("--variant=minbase", f"--include={packages}")
    _run("debootstrap", "--foreign", *options, release.suite, str(new), _mirror())
    # Set before any package is configured: packages must not start services (invoke-rc.d(8)).
    no_start = new / "usr/sbin/policy-rc.d"
    no_start.write_text("#!/bin/sh\nexit 101\n")
    no_start.chmod(0o755)
    # In a mount namespace: debootstrap mounts /proc and /sys, and leaves them if it is killed.
    _run("unshare", "--mount", "chroot", str(new), "/debootstrap/debootstrap", "--second-stage")
    for folder in _UNNEEDED:
        shutil.rmtree(new / folder)
    if not _works(new, release):
        raise NoTreeError(f"{release.suite} lacks Postfix {release.postfix} or {release.servers}")
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)


def _mirror() -> str:
    """Return the mirror from which apt gets this machine's Debian packages."""
    fields = "$(ORIGIN)|$(LABEL)|$(CODENAME)|$(REPO_URI)"
    for line in _run("apt-get", "indextargets", "--format", fields).splitlines():
        origin, label, codename, address = line.split("|")
        if (origin, label) == ("Debian", "Debian") and codename.isalpha():  # not SUITE-updates
            return address
    raise NoTreeError("apt knows no Debian mirror; was `apt-get update` run?")


def _chroot(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["chroot", str(place), *words], check=False, capture_output=True, text=True
    )


def _run(*words: str) -> str:
    try:
        done = subprocess.run(words, check=False, capture_output=True, text=True)
    except OSError as error:
        raise NoTreeError(f"{words[0]}: {error}") from error
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise NoTreeError(f"{words[0]} ended with {done.returncode}:\n{tail}")
    return done.stdout


if __name__ == "__main__":
    for each in RELEASES:
        sys.stdout.write(f"{tree(each)}\n")
