"""docs/migrating.md: its examples are valid, and serve the lines of main.cf of both peers."""

import json
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts.config.settings import MapSettings, Settings, parse
from postfix_mta_sts.daemon.assembly import running
from tests.support.clients import Address, connected
from tests.support.internet import internet
from tests.support.ports import free_port

PAGE = (Path(__file__).parents[2] / "docs/migrating.md").read_text("utf-8")
EXAMPLES = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

PLAIN = b"OK secure match=mx1.good.test servername=hostname"
WITHOUT_SNI = b"OK secure match=mx1.good.test"
TLSRPT = PLAIN + b" policy_type=sts policy_domain=good.test "


def is_key(path: str, cls: type[Struct] = Settings) -> bool:
    """Return whether the configuration has a key with this path; a map may have any name."""
    head, _, rest = path.partition(".")
    if (cls, head) == (Settings, "maps"):
        return not rest or is_key(rest.partition(".")[2], MapSettings)
    kind = next((field.type for field in fields(cls) if field.name == head), None)
    if kind is None or not rest:
        return kind is not None
    return isinstance(kind, type) and issubclass(kind, Struct) and is_key(rest, kind)


def test_keys() -> None:
    """Every key of this daemon that the page names exists in the configuration."""
    rows = [row.split("|")[2] for row in PAGE.splitlines() if row.startswith("| ")]
    named = [key for row in rows for key in re.findall(r"`([a-z_]+\.[\w.]+)", row)]
    assert len(named) > 10
    assert [key for key in named if not is_key(key)] == []


@pytest.mark.parametrize("text", EXAMPLES, ids=["postfix-mta-sts-resolver", "postfix-tlspol"])
def test_examples(text: str) -> None:
    """Each configuration in the page is valid."""
    assert parse(text, "docs/migrating.md").listen


async def check_replies(text: str, folder: Path, maps: Mapping[str, bytes]) -> None:
    """Run a daemon with this configuration; the reply of each map begins with these bytes."""
    port, path = free_port(), folder / "mta-sts.sock"
    text = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{port}", text)
    text = re.sub(r"unix:\S+", f"unix:{path}", text)
    address: Address = path if "unix:" in text else ("127.0.0.1", port)
    async with AsyncExitStack() as stack:
        net = await stack.enter_async_context(internet(folder))
        net.publish("good.test")
        options = {k: v for k, v in net.options(folder).items() if k != "listen"}
        rest = "".join(f"{name}: {json.dumps(value)}\n" for name, value in options.items())
        settings = parse(text + rest, "test")
        await stack.enter_async_context(running(settings, {}, https_port=net.hosts.port))
        client = await stack.enter_async_context(connected(address))
        for name, expected in maps.items():
            assert (await client.ask("good.test", name)).startswith(expected)
            assert await client.ask("none.test", name) == b"NOTFOUND "


async def test_resolver_by_default(tmp_path: Path) -> None:
    """Without a configuration, any map name is answered at the peer's default address."""
    (listener,) = Settings().listen
    assert (listener.wire, str(listener.address)) == ("socketmap", "127.0.0.1:8461")
    text = f"listen: [{{socketmap: {listener.address}}}]\n"
    await check_replies(text, tmp_path, {"postfix": PLAIN, "myzone": PLAIN})


async def test_resolver_over_unix(tmp_path: Path) -> None:
    """The peer's UNIX socket and zones, configured as in the page."""
    await check_replies(EXAMPLES[0], tmp_path, {"postfix": TLSRPT, "myzone": WITHOUT_SNI})


async def test_tlspol(tmp_path: Path) -> None:
    """The other peer's two map names, at the address in the page."""
    assert "127.0.0.1:8642" in EXAMPLES[1]
    await check_replies(EXAMPLES[1], tmp_path, {"QUERY": PLAIN, "QUERYwithTLSRPT": TLSRPT})
