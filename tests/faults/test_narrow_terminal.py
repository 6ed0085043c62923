"""What commands print on a real terminal of 80 columns (D12): one line a row, nothing folded."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.errors import StatusError
from postfix_mta_sts.mtasts.policy import parse_policy
from tests.support.control import ControlledDaemon
from tests.support.resolvers import find_state
from tests.support.surroundings import Surroundings
from tests.support.terminals import COLUMNS, Terminal, on_terminal

LONGEST: Final = parse_domain(".".join(["a" * 63] * 3 + ["b" * 56, "test"]))
"""A domain of 253 characters."""
MANY: Final = parse_domain("many.test")
MX: Final = [f"mx{n}.many.test" for n in range(30)]
IDN: Final = parse_domain("b\u00fccher.test")
BAD: Final = parse_domain("bad.test")


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Path]:
    """The configuration for a daemon that knows a long name, an IDN, many MX hosts, a failure."""
    around = Surroundings()
    around.now = time.time()
    for domain in (LONGEST, MANY, IDN, BAD):
        around.publish(domain)
    lines = "".join(f"mx: {host}\n" for host in MX)
    text = f"version: STSv1\nmode: enforce\n{lines}max_age: 86400\n"
    around.policies[MANY] = parse_policy(text.encode())
    around.policies[BAD] = StatusError("404 Not Found")
    daemon = ControlledDaemon(around)
    for domain in (LONGEST, MANY, IDN, BAD):
        await find_state(daemon.resolver, domain)
    async with daemon.controlled(tmp_path) as path:
        (tmp_path / "c.yml").write_text(f"control: {{path: {path}}}\n")
        yield tmp_path / "c.yml"


async def shown(config: Path, *words: str, **environ: str) -> Terminal:
    """Run a command that succeeds."""
    with on_terminal(*words, "--config", config, **environ) as terminal:
        assert await asyncio.to_thread(terminal.end) == 0, terminal.written
    return terminal


@pytest.mark.parametrize("options", [[], ["--asked-since", "7d"]])
async def test_policy_list(config: Path, options: list[str]) -> None:
    """Each domain has one line, as wide as the terminal at most; a long name is cut."""
    header, *rows = (await shown(config, "policy", "list", *options)).screen
    if options:
        *rows, _, title, _ = rows
        assert title.startswith("look-ups since ")
        assert len(title) <= COLUMNS
    assert header.startswith("DOMAIN ")
    assert [row.split()[0][:10] for row in rows] == ["aaaaaaaaaa", "many.test", "xn--bcher-"]
    assert rows[0].split()[0].endswith("a~")
    assert max(map(len, [header, *rows])) <= COLUMNS


async def test_failing_list(config: Path) -> None:
    """So has each failing domain."""
    header, row = (await shown(config, "policy", "list", "--failing")).screen
    assert (header.split()[-1], row.split()[0], row.split()[-1]) == ("FAILURE", BAD, "status")
    assert max(len(header), len(row)) <= COLUMNS


async def test_policy_show(config: Path) -> None:
    """Each fact is one line: the terminal itself wraps it, and a copy of it is complete."""
    lines = (await shown(config, "policy", "show", MANY)).screen
    (reply,) = (line for line in lines if line.startswith("reply"))
    assert reply.endswith(f" OK secure match={':'.join(MX)} servername=hostname")
    assert [line.split()[1] for line in lines if line.startswith("mx ")] == MX
    *_, header, row = lines
    assert header.startswith("ACCEPTED ")
    assert len(row) == COLUMNS
    assert row.endswith("~")


async def test_status(config: Path) -> None:
    """No line of the status is wider than the terminal."""
    lines = (await shown(config, "status")).screen
    assert max(map(len, lines)) <= COLUMNS


async def test_no_color(config: Path) -> None:
    """With $NO_COLOR there are no escape sequences, not even for bold text."""
    assert "\x1b[1m" in (await shown(config, "policy", "show", MANY)).written
    assert "\x1b" not in (await shown(config, "policy", "show", MANY, NO_COLOR="1")).written
