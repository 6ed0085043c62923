"""Two Debian systems in folders, each with its own Postfix: 12 has 3.7, 13 has 3.10 and the DNS.

Built once with debootstrap, from the mirror that this machine's apt uses, and kept in
${XDG_CACHE_HOME:-~/.cache}/postfix-mta-sts; a tree that does not work is built anew. Nothing is
started in a tree here, and nothing of the machine's own Postfix is touched.

`python -m tests.e2e.trees` builds what is missing and prints where it is.
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
    """A Debian release and the Postfix that it must have."""

    suite: str
    postfix: str
    servers: tuple[str, ...] = ()
    """Packages besides, each with a program of its name in /usr/sbin."""


# The DNS servers come this way, and not by the machine's apt, since they would be started there.
WITH_DNS: Final = Release("trixie", "3.10", ("nsd", "unbound"))
RELEASES: Final = (Release("bookworm", "3.7"), WITH_DNS)

_UNNEEDED: Final = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man")
"""Removed, so that copies of a tree are small."""


class NoTreeError(Exception):
    """This machine cannot build a tree; `str()` says why."""


def tree(release: Release) -> Path:
    """The folder of a release's tree, built if need be; copy it, it is kept as it is.

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
    """A tree with further packages of its Debian, kept beside it; copy it. Raises `NoTreeError`."""
    more = place.with_name(f"{place.name}-{suffix}")
    with more.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _has(more, packages):
            new = more.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            _run("cp", "--archive", str(place), str(new))
            apt = ("chroot", str(new), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes")
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
    # Before anything is configured: no package may start what it brings (invoke-rc.d(8)).
    no_start = new / "usr/sbin/policy-rc.d"
    no_start.write_text("#!/bin/sh\nexit 101\n")
    no_start.chmod(0o755)
    _run("chroot", str(new), "/debootstrap/debootstrap", "--second-stage")
    for folder in _UNNEEDED:
        shutil.rmtree(new / folder)
    if not _works(new, release):
        raise NoTreeError(f"{release.suite} lacks Postfix {release.postfix} or {release.servers}")
    shutil.rmtree(place, ignore_errors=True)
    new.rename(place)


def _mirror() -> str:
    """The address from which apt has this machine's own Debian packages."""
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
