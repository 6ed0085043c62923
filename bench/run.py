"""Measure the shapes and print the table.

    python -m bench.run [--quick] [--only SHAPE]... [--rounds N] [--soak MINUTES]
                        [--against CHECKOUT] [--results FILE]

README.md says what is measured and how.
"""

import argparse
import json
import os
import platform
import resource
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from bench import (
    against,
    cached,
    cold,
    dane,
    fleet,
    fleet_relays,
    programs,
    soak,
    space,
    standing,
    stored,
    stores,
    trial,
)
from bench.process import BenchError
from bench.servers import Servers
from bench.shape import Bench, Shape, progress
from bench.sheet import Sheet

SHAPES: Final[dict[str, Shape]] = {
    shape.name: shape
    for module in (cached, stored, cold, dane, trial, fleet, fleet_relays, standing, soak)
    for shape in module.SHAPES
}
_FILES: Final = 16_384


def main(argv: Sequence[str]) -> int:
    """Run the bench; return 0 if all marks are kept, 1 if one is missed, 2 if it cannot run."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.inside:
            return _measure(arguments, arguments.inside)
        return _prepare(argv, _shapes(arguments))
    except (BenchError, space.NoSpaceError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", allow_abbrev=False)
    parser.add_argument(
        "--quick", action="store_true", help="check that everything works; ignore the figures"
    )
    parser.add_argument(
        "--only",
        metavar="SHAPE",
        action="append",
        choices=SHAPES,
        help=f"one of {', '.join(SHAPES)}; may be repeated",
    )
    parser.add_argument(
        "--against",
        metavar="CHECKOUT",
        type=Path,
        help="measure only this checkout and that one, in turns; it needs a .venv of its own",
    )
    parser.add_argument("--rounds", type=int, help="5; quick: 1")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="10; quick: 0.5")
    parser.add_argument(
        "--results",
        metavar="FILE",
        type=Path,
        default=programs.BUILD / "results.json",
        help="write every single value to FILE; default: build/bench/results.json",
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser


def _shapes(arguments: argparse.Namespace) -> list[Shape]:
    if arguments.against:
        return [against.compare(arguments.against.resolve())]
    return [SHAPES[name] for name in arguments.only or SHAPES]


def _prepare(argv: Sequence[str], shapes: Sequence[Shape]) -> int:
    """Build what is needed, then run again in new namespaces, with a temporary folder."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    progress("preparing")
    programs.compile_all()
    if any(shape.has_peer for shape in shapes):
        programs.install_peer()
    if any(shape.has_stores for shape in shapes):
        stores.prepare()
    with tempfile.TemporaryDirectory(prefix="run-", dir=programs.cache()) as folder:
        return space.run_inside("bench.run", [*argv, "--inside", folder])


def _measure(arguments: argparse.Namespace, folder: Path) -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, _FILES), hard))
    space.set_up(folder)
    servers, sheet = Servers(folder), Sheet()
    quick = arguments.quick
    bench = Bench(
        servers,
        sheet,
        rounds=arguments.rounds or (1 if quick else 5),
        seconds=0.3 if quick else 2.0,
        scale=0.05 if quick else 1.0,
        soak=60 * (arguments.soak or (0.5 if quick else 10.0)),
        folder=folder,
    )
    shapes = _shapes(arguments)
    with servers.network():
        broken = [shape.name for shape in shapes if not _completed(shape, bench, arguments.results)]
    return _report(sheet, shapes, broken)


def _completed(shape: Shape, bench: Bench, results: Path) -> bool:
    """Measure one shape; return whether it was completed. The other shapes are measured anyway.

    All values so far are written to `results` each time: the last shape may take an hour.
    """
    try:
        shape.run(bench)
    except BenchError as error:
        progress(f"{shape.name} failed: {error}")
        return False
    finally:
        results.write_text(json.dumps(bench.sheet.dump(), indent=1))
    return True


def _report(sheet: Sheet, shapes: Sequence[Shape], broken: Sequence[str]) -> int:
    lines = [line for shape in shapes for line in shape.lines]
    peer = any(shape.has_peer for shape in shapes)
    sys.stdout.write(
        f"{_machine(programs.peer_version() if peer else 'none')}\n\n{sheet.table(lines)}\n"
    )
    failed = [*sheet.failed(lines), *broken]
    for line in failed:
        sys.stderr.write(f"mark missed: {line}\n")
    return 1 if failed else 0


def _machine(peer: str) -> str:
    cpus = Path("/proc/cpuinfo").read_text("ascii").splitlines()
    model = next((line.split(":")[1].strip() for line in cpus if "model name" in line), "?")
    return (
        f"{os.cpu_count()} x {model}, Linux {platform.release()}, Python "
        f"{platform.python_version()}, peer {peer}; load at the end "
        f"{os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
