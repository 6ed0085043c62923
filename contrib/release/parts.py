"""The parts of a release."""

from typing import Final

from contrib.release import ReleaseError
from contrib.release.programs import need

PARTS: Final = ("wheel", "sdist", "deb", "image")
_IN_CONTAINERS: Final = ("deb", "image")


def chosen(only: str) -> tuple[str, ...]:
    """Return the parts that a text names, or all if it names none. Raises `ReleaseError`."""
    names = only.replace(",", " ").split()
    for name in names:
        if name not in PARTS:
            raise ReleaseError(f"ONLY: there is no part '{name}', only {', '.join(PARTS)}")
    return tuple(part for part in PARTS if not names or part in names)


def check(parts: tuple[str, ...]) -> None:
    """Raise `ReleaseError` if the machine lacks a program for one of the parts."""
    inside = [part for part in parts if part in _IN_CONTAINERS]
    if inside:
        need("buildah", f"{' and '.join(inside)} (ONLY='wheel sdist' leaves them out)")
