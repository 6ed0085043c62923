"""Responses as hosting services send them, and odd ones; the table of docs/policy-hosts.md."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.network.https import PolicyFetcher
from tests.support.fetchers import refusal
from tests.support.policy_host import PolicyHost
from tests.support.shapes import SHAPES, result

PAGE: Final = Path(__file__).parents[2] / "docs/policy-hosts.md"

pytestmark = pytest.mark.asyncio


@pytest.fixture
async def reasons(host: PolicyHost, fetcher: PolicyFetcher) -> list[str]:
    """For each shape why it is refused; empty if it is accepted."""
    domains = [Domain(f"shape{number}.test") for number in range(len(SHAPES))]
    for domain, shape in zip(domains, SHAPES, strict=True):
        host.answers[f"mta-sts.{domain}"] = shape.answer
    return list(await asyncio.gather(*(refusal(fetcher, domain) for domain in domains)))


async def test_only_what_an_rfc_forbids_is_refused(reasons: list[str]) -> None:
    """Each refusal has a sentence that forbids the response, and nothing else is refused."""
    found = [(shape.name, why) for shape, why in zip(SHAPES, reasons, strict=True) if why]
    forbidden = [shape.name for shape in SHAPES if shape.forbidden_by]
    assert [name for name, _ in found] == forbidden, found


async def test_the_page_has_the_table(reasons: list[str]) -> None:
    """If this fails, the message has the table."""
    rows = ["| response | result | forbidden by |", "|---|---|---|"]
    for shape, why in zip(SHAPES, reasons, strict=True):
        rows.append(f"| {shape.name} | {result(why)} | {shape.forbidden_by} |")
    table = "\n".join(rows)
    assert table in PAGE.read_text("utf-8"), table
