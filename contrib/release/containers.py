"""Builds the package for Debian and the image, each in a container of Debian 13, by buildah(1)."""

import shutil
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from contrib.release import ReleaseError
from contrib.release.layout import pack, read
from contrib.release.programs import output
from contrib.release.sbom import NAME, sbom, text
from contrib.release.tag import Tag
from contrib.release.wheels import hashes

BASE: Final = "debian:trixie-slim"
"""The base of the image, as the Dockerfile names it."""
_PIP: Final = "[global]\nno-index = true\nfind-links = /wheels\n"
_TOOLS: Final = """\
command -v dh >/dev/null || {
    apt-get update && apt-get install --yes --no-install-recommends debhelper python3-venv
}
"""


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What both are built from."""

    tag: Tag
    source: Path
    """A folder with the files of the tag."""
    wheels: Path
    tools: str
    """The image in which the package is built; debhelper is installed if it has none."""
    work: Path
    """An empty folder."""


def check(image: str) -> None:
    """Raise `ReleaseError` if there is no such image: the release does not fetch one by itself."""
    try:
        _buildah("inspect", "--type=image", image)
    except ReleaseError as error:
        raise ReleaseError(f"no image {image}: buildah pull {image}\n{error}") from error


def build_package(made_of: Ingredients, out: Path) -> None:
    """Build the package by contrib/debian/build, as user nobody."""
    made = made_of.work / "package"
    made.mkdir()
    made.chmod(0o777)  # nobody writes here; the folder above is the maintainer's alone
    tag = made_of.tag
    environ = _environ(tag) | {"DEBFULLNAME": tag.name, "DEBEMAIL": tag.address, "HOME": "/tmp"}  # noqa: S108 - the container's
    mounts = (
        f"--volume={made_of.source}:/source:ro",
        f"--volume={made_of.wheels}:/wheels:ro",
        f"--volume={made}:/out",
    )
    with ExitStack() as stack:
        container = _buildah("from", "--pull=never", made_of.tools)
        stack.callback(_buildah, "rm", container)
        _buildah("run", "--user=0:0", container, "--", "sh", "-ec", _TOOLS)
        variables = [f"--env={name}={value}" for name, value in environ.items()]
        command = ("/source/contrib/debian/build", "/out", "/wheels")
        _buildah("run", "--user=nobody", *variables, *mounts, container, "--", *command)
    for package in made.glob("*.deb"):
        shutil.copyfile(package, out / package.name)


def build_image(made_of: Ingredients, out: Path) -> None:
    """Build the image by the Dockerfile, as an OCI archive, and the list of what it contains."""
    tag, layout = made_of.tag, made_of.work / "layout"
    conf = made_of.work / "pip.conf"
    conf.write_text(_PIP)
    mounts = (f"--volume={made_of.wheels}:/wheels:ro", f"--volume={conf}:/etc/pip.conf:ro")
    how = ("--layers=false", "--pull=never", "--format=oci", "--identity-label=false", "--quiet")
    when = (f"--timestamp={tag.epoch}", f"--build-arg=SOURCE_DATE_EPOCH={tag.epoch}")
    labels = (
        f"--label=org.opencontainers.image.version={tag.version}",
        f"--label=org.opencontainers.image.revision={tag.commit}",
    )
    with ExitStack() as stack:
        built = _buildah("build", *how, *when, *labels, *mounts, made_of.source)
        stack.callback(_buildah, "rmi", built)
        _buildah("push", "--quiet", built, f"oci:{layout}:{NAME}:{tag.version}")
    image = read(layout)
    stem = f"{NAME}-{tag.version}-{image.architecture}"
    pack(layout, out / f"{stem}.oci.tar", tag.epoch)
    listed = sbom(image, tag.version, tag.epoch, hashes(made_of.wheels))
    (out / f"{stem}.cdx.json").write_text(text(listed), "utf-8")


def _environ(tag: Tag) -> dict[str, str]:
    return {"SOURCE_DATE_EPOCH": str(tag.epoch), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def _buildah(*words: str | Path) -> str:
    return output("buildah", *words).decode().strip()
