"""Attacks through the text that the log quotes: no log line and no field can be forged."""

import json
import re
from pathlib import Path

from tests.support.attacks import (
    NOT_FOUND,
    replies_to,
)
from tests.support.clients import connected
from tests.support.daemons import RunningDaemon, process
from tests.support.internet import Internet
from tests.support.policy_host import (
    ok,
    policy_text,
    reply,
)

EVIL = "\n2026-01-01T00:00:00.000Z INFO victim.test: policy fetched id=x"
"""A line end, and a forged line of the log."""
DOMAINS = [f"evil{number}.test" for number in range(7)]


def publish(net: Internet) -> None:
    """Publish records and policies with `EVIL` and other control characters in them."""
    escaped = "".join(f"\\{ord(char):03}" for char in EVIL)
    with_cr = EVIL.replace("\n", "\r")
    body = policy_text(mx=["mx1.evil.test"])
    answers = {
        "evil0.test": ok(body),
        "evil1.test": ok(body),
        "evil2.test": ok(body + f"x: a{with_cr}".encode()),
        "evil3.test": ok(body.replace(b"mx1", f"mx1{with_cr}".encode())),
        "evil4.test": reply(200, body, content_type=f"text/x\x1b[2J{with_cr}"),
        "evil5.test": reply(200, body, content_type="text/x\x85 \xff y=z"),
        "evil6.test": b"HTTP/1.1 200 \x1b[2J\r\nA\x0b: b\r\n\r\n",
    }
    for domain in DOMAINS:
        net.publish(domain, answers[domain])
    net.record("evil0.test", f"v=STSv1; id={escaped}")
    net.record("evil1.test", f"v=STSv1{escaped}; id=1;")
    net.publish("good.test")


async def look_up(served: RunningDaemon) -> None:
    """Send look-ups for the evil domains, and with evil keys, map names and requests."""
    for domain in DOMAINS:
        assert await replies_to(served, domain) == NOT_FOUND
    for key in ("good.test" + EVIL, "x\x1b[2Jy.test"):
        assert await served.ask(key, "postfix") == NOT_FOUND[0]
    assert (await served.ask("b\u00fc\u2028cher.test", "postfix")).startswith(b"TEMP ")
    await served.ask("good.test", "a\x1bmap=name")
    async with connected(served.tcp_table) as client:
        client.send(b"put x" + EVIL.encode() + b"\n")
        assert (await client.line()).startswith(b"400 ")
    async with connected(served.socketmap) as client:
        client.send(EVIL.encode())
        assert (await client.netstring()).startswith(b"TEMP ")


async def attack(net: Internet, folder: Path, form: str) -> list[str]:
    """Return the lines that the daemon logs during these look-ups."""
    publish(net)
    config = net.config(folder, {"log": {"level": "debug", "format": form}})
    async with process(folder, config) as served:
        await served.start()
        await look_up(served)
        assert await served.stop() == 0
        return served.log.splitlines()


async def test_text(net: Internet, tmp_path: Path) -> None:
    """Each line of the text log is printable, and begins with its time, level and domain."""
    lines = await attack(net, tmp_path, "text")
    begin = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) "
    for line in lines:
        assert re.match(begin, line)
        assert re.fullmatch(r"[ -~]+", line)
        assert not re.match(begin + "victim", line)
    for domain in DOMAINS:
        assert any(f" {domain}: no policy " in line for line in lines)


async def test_json(net: Internet, tmp_path: Path) -> None:
    """Each line of the JSON log is one object, with the right domain."""
    records = [json.loads(line) for line in await attack(net, tmp_path, "json")]
    fetched = [r["domain"] for r in records if r["event"] == "policy fetched"]
    assert fetched == ["good.test"]
    failed = {r["domain"] for r in records if r["event"] == "no policy"}
    assert failed == set(DOMAINS)
