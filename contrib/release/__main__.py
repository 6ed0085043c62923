"""The command `python -m contrib.release`, which `make release` runs in the root of a checkout."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contrib.release import ReleaseError, building, parts, signature
from contrib.release.building import Order
from contrib.release.containers import BASE
from contrib.release.programs import need
from contrib.release.tag import tag_of

ROOT: Final = Path(__file__).parents[2]


def main(arguments: Sequence[str]) -> int:
    """Build a release; return 1 if that is impossible, with the reason on stderr."""
    options = _parser().parse_args(arguments)
    os.umask(0o022)
    try:
        release(options)
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


def release(options: argparse.Namespace) -> None:
    """Build and sign what the options say. Raises `ReleaseError`."""
    need("git", "a release")
    order = Order(tag_of(ROOT), parts.chosen(options.only), options.wheels, options.tools)
    final = options.into or ROOT / "dist/release" / order.tag.version
    if final.exists():
        raise ReleaseError(f"{final} exists: move it away first")
    parts.check(order.parts)
    building.check(order)
    if options.key:
        signature.check(options.key)
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        made = _build(order, Path(folder), is_twice=options.reproduce)
        if not options.into:
            sums = signature.write_sums(made)
            if options.key:
                signature.sign(sums, options.key)
        final.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(made, final)
    if not options.into:
        _report(options, final)


def _build(order: Order, folder: Path, *, is_twice: bool) -> Path:
    """Build into a folder in `folder`, and return it; if wanted, compare it with a second build."""
    work, made = folder / "work", folder / "made"
    work.mkdir()
    order = building.build(order, work, made)
    if is_twice:
        building.build_again(order, work, made)
    return made


def _report(options: argparse.Namespace, final: Path) -> None:
    lines = [f"{final}:", *(f"  {file.name}" for file in sorted(final.iterdir()))]
    lines.append("Two builds were equal." if options.reproduce else "Not built twice: REPRODUCE=1.")
    lines.append(f"Signed with {options.key}." if options.key else "Not signed: KEY=FILE.")
    lines.append("Nothing was published.")
    sys.stdout.write("\n".join(lines) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("release", description=__doc__, allow_abbrev=False)
    parser.add_argument("--only", default="", help=f"parts to build: {' '.join(parts.PARTS)}")
    parser.add_argument("--key", type=Path, help="SSH key that signs, or its public half")
    parser.add_argument("--wheels", type=Path, help="folder with the wheels of all libraries")
    parser.add_argument("--reproduce", action="store_true", help="build twice, and compare")
    parser.add_argument("--tools", default=BASE, help="image in which the package is built")
    parser.add_argument("--into", type=Path, help="only build, into this new folder")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
