"""Builds the parts of a release into a folder, once or twice."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from contrib.release import ReleaseError, containers
from contrib.release.compare import first_difference
from contrib.release.containers import BASE, Ingredients
from contrib.release.programs import output
from contrib.release.tag import Tag, export
from contrib.release.wheels import download

_ELSEWHERE: Final = {"TZ": "Pacific/Chatham", "LC_ALL": "tr_TR.UTF-8"}
"""What the environment of the second build has instead."""
_UMASK: Final = 0o077


@dataclass(frozen=True, slots=True)
class Order:
    """What to build."""

    tag: Tag
    parts: tuple[str, ...]
    wheels: Path | None
    """A folder with the wheels of all libraries; they are downloaded if there is none."""
    tools: str
    """The image in which the package for Debian is built."""

    @property
    def needs_wheels(self) -> bool:
        """Whether a part contains the libraries."""
        return "deb" in self.parts or "image" in self.parts


def check(order: Order) -> None:
    """Raise `ReleaseError` if an image is missing."""
    if "deb" in order.parts:
        containers.check(order.tools)
    if "image" in order.parts:
        containers.check(BASE)


def build(order: Order, work: Path, out: Path) -> Order:
    """Build all parts into a new folder; `work` is an empty one. Raises `ReleaseError`.

    Returns the order with the wheels that were used, for a second build.
    """
    out.mkdir()
    source = work / "source"
    export(order.tag, source)
    if order.needs_wheels and not order.wheels:
        order = replace(order, wheels=download(source, work / "wheels"))
    _build_for_python(order, source, out)
    if order.wheels:
        made_of = Ingredients(order.tag, source, order.wheels.absolute(), order.tools, work)
        if "deb" in order.parts:
            containers.build_package(made_of, out)
        if "image" in order.parts:
            containers.build_image(made_of, out)
    return order


def _build_for_python(order: Order, source: Path, out: Path) -> None:
    """Build wheel and sdist with the build backend of this virtual environment."""
    kinds = [f"--{part}" for part in ("wheel", "sdist") if part in order.parts]
    if kinds:
        words = [sys.executable, "-m", "build", "--no-isolation", *kinds, f"--outdir={out}"]
        output(*words, source, environ={"SOURCE_DATE_EPOCH": str(order.tag.epoch)})


def build_again(order: Order, work: Path, first: Path) -> None:
    """Build in another folder, with other settings; raise `ReleaseError` at a difference."""
    second = work / "second"
    words = [sys.executable, "-m", "contrib.release", f"--only={' '.join(order.parts)}"]
    words += [f"--tools={order.tools}", f"--into={second}"]
    words += [f"--wheels={order.wheels.absolute()}"] if order.wheels else []
    done = subprocess.run(
        words,
        cwd=order.tag.checkout,
        env={**os.environ, **_ELSEWHERE, "TMPDIR": str(work)},
        umask=_UMASK,
        check=False,
    )
    if done.returncode:
        raise ReleaseError("the second build failed")
    difference = first_difference(first, second)
    if difference:
        raise ReleaseError(f"two builds differ: {difference}")
