"""`python -m tests.torture.prove`: show that a run finds the faults that are put in on purpose.

Each file in `faults/` is a patch with some lines before it: the fault in a sentence, then
`episode`, `expects` (what a violation says), and perhaps `seed` and `minutes`. The patch is applied
to a copy of the package, the episode is run on it, and a violation that says so is expected. The
same run must show none on the package as it is.
"""

import argparse
import asyncio
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from tests.torture import schedule
from tests.torture.daemon import ROOT
from tests.torture.run import run

FAULTS: Final = Path(__file__).parent / "faults"
PACKAGE: Final = "postfix_mta_sts"


@dataclass(frozen=True, slots=True)
class Patch:
    """A fault that is put in, and how a run shows it."""

    path: Path
    episode: str
    expects: str
    seed: int
    minutes: float

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the lines before the patch."""
        head = path.read_text("utf-8").partition("\ndiff ")[0].splitlines()
        fields = {
            name: value.strip() for name, sep, value in (x.partition(":") for x in head) if sep
        }
        return cls(
            path,
            fields["episode"],
            fields["expects"],
            int(fields.get("seed", "1")),
            float(fields.get("minutes", "0.6")),
        )

    @property
    def name(self) -> str:
        """The name of its file."""
        return self.path.stem

    def apply(self, folder: Path, base: Path = ROOT) -> None:
        """Copy the package of `base` into a folder, and put the fault in."""
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(base / PACKAGE, folder / PACKAGE, ignore=ignored)
        # One line of context is enough: the code around the fault may change.
        subprocess.run(["git", "apply", "-C1", str(self.path)], cwd=folder, check=True)


def patches() -> list[Patch]:
    """All patches, by name."""
    return [Patch.read(path) for path in sorted(FAULTS.glob("*.patch"))]


def violations(patch: Patch, package: Path) -> Counter[str]:
    """Run the episode of a patch on this package; the violations by kind."""
    seconds = 60 * patch.minutes
    actions = schedule.build(patch.seed, seconds, [patch.episode])
    with tempfile.TemporaryDirectory(prefix="prove") as folder:
        work = run(actions, seconds, Path(folder), seed=patch.seed, package=package)
        return asyncio.run(work).counts


def found(patch: Patch, base: Path) -> Counter[str]:
    """The violations that the patch causes, of the kind that it expects."""
    with tempfile.TemporaryDirectory(prefix="package") as made:
        patch.apply(Path(made), base)
        counts = violations(patch, Path(made))
    return Counter({kind: n for kind, n in counts.items() if patch.expects in kind})


def main() -> int:
    """Run all patches, or those that are named; 1 if one is not found."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture.prove", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these patches")
    parser.add_argument("--no-control", action="store_true", help="skip the runs without the fault")
    parser.add_argument("--package", type=Path, default=ROOT, help="the code of the daemon")
    args = parser.parse_args()
    chosen = [patch for patch in patches() if not args.names or patch.name in args.names]
    control = not args.no_control
    wrong = [each.name for each in chosen if not _prove(each, args.package, control=control)]
    _print(f"{len(chosen) - len(wrong)} of {len(chosen)} found; not: {', '.join(wrong) or 'none'}")
    return 1 if wrong else 0


def _prove(patch: Patch, base: Path, *, control: bool) -> bool:
    """Whether the fault is found, and nothing without it."""
    before = violations(patch, base) if control else Counter[str]()
    after = found(patch, base)
    most = ", ".join(f"{count} x {kind}" for kind, count in after.most_common(2)) or "nothing"
    _print(f"{patch.name}: {most}")
    if before:
        _print(f"  without the fault: {dict(before)}")
    return bool(after) and not before


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
