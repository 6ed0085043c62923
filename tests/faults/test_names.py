"""Domains with U-labels, as Postfix asks for them (C9 of the list of faults)."""

from pathlib import Path

import pytest

from tests.support.daemons import daemon, secure
from tests.support.internet import Internet


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        ("i\u2764.test", "xn--i-7iq.test"),
        ("I\u2764\ufe0f.test", "xn--i-7iq.test"),
        ("a\u200db.test", "xn--ab-m1t.test"),
        ("[\u05d0a.test]:587", "xn--a-zhc.test"),
    ],
)
async def test_names_that_only_uts46_allows(
    net: Internet, tmp_path: Path, key: str, domain: str
) -> None:
    """A domain whose name Postfix maps and IDNA2008 forbids gets its policy."""
    net.publish(domain)
    async with daemon(net, tmp_path) as running:
        assert await running.ask(key) == secure(domain)
