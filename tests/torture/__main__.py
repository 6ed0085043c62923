"""`python -m tests.torture`: run a schedule, print what was wrong; `--help` lists the options."""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.torture import schedule
from tests.torture.daemon import ROOT
from tests.torture.run import Outcome, run
from tests.torture.violations import Violation

LONGEST: Final = 150
"""Characters of an answer that are printed."""


def main(words: Sequence[str] | None = None) -> int:
    """Run; return 1 if there was a violation."""
    args = parser().parse_args(words)
    seconds = 60 * args.minutes
    if args.replay:
        actions = schedule.parse(args.replay.read_text())
    else:
        actions = schedule.build(args.seed, seconds, args.only, hostile=not args.friendly)
    if args.print:
        _echo("\n".join(map(str, actions)))
        return 0
    _echo(f"seed {args.seed}, {args.minutes:g} minutes")
    with tempfile.TemporaryDirectory(prefix="torture") as made:
        folder = args.folder or Path(made)
        folder.mkdir(parents=True, exist_ok=True)
        outcome = asyncio.run(
            run(actions, seconds, folder, seed=args.seed, package=args.package, echo=_echo)
        )
    _echo(report(outcome, args.seed))
    return 1 if outcome.counts else 0


def report(outcome: Outcome, seed: int) -> str:
    """What a run has shown, as text."""
    lines = [line for each in outcome.violations for line in describe(each, outcome, seed)]
    lines += [f"{count} x {reason}" for reason, count in outcome.counts.most_common()]
    memory = " and ".join(f"{size:.0f}" for size in outcome.memory)
    lines += [
        f"{outcome.answers} answers, {outcome.counts.total()} violations, seed {seed}",
        f"daemon and network process: at most {memory} MiB",
        f"log: {outcome.log_bytes} bytes, longest line {outcome.longest_line}",
    ]
    if outcome.busy:
        lines.append(f"the machine was too busy for {outcome.busy:.1f} s; new domains are excused")
    return "\n".join(lines)


def describe(violation: Violation, outcome: Outcome, seed: int) -> list[str]:
    """One violation: what, when, under which faults, the question, the answer, the right ones."""
    faults = ", ".join(violation.faults) or "none"
    lines = [
        f"VIOLATION {violation.reason}",
        f"  seed {seed}, at {violation.at - outcome.started_at:.3f} s, faults now: {faults}",
    ]
    if event := violation.event:
        took = event.at - event.asked_at
        lines += [
            f"  {event.client} asked {event.key} of {event.map_name}, answered after {took:.3f} s",
            f"  answer:  {_shortened(event.answer)}",
        ]
    if violation.allowed:
        lines.append(f"  allowed: {' | '.join(map(_shortened, violation.allowed))}")
    return lines


def _shortened(answer: str) -> str:
    """An answer as it is printed: one with many MX hosts is cut."""
    return answer if len(answer) <= LONGEST else f"{answer[:LONGEST]}..."


def _echo(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(10**6), help="default: random"
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    episodes = sorted(schedule.EPISODES)
    parser.add_argument("--only", nargs="*", choices=episodes, default=[], metavar="EPISODE")
    parser.add_argument("--friendly", action="store_true", help="ask for no hostile domains")
    parser.add_argument(
        "--replay", type=Path, help="a printed schedule, instead of one by the seed"
    )
    parser.add_argument("--print", action="store_true", help="print the schedule, run nothing")
    parser.add_argument(
        "--folder", type=Path, help="keep the files of the run in this empty folder"
    )
    parser.add_argument("--package", type=Path, default=ROOT, help="the code of the daemon")
    return parser


if __name__ == "__main__":
    sys.exit(main())
