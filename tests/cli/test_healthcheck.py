"""`healthcheck`: exit code 0 where the daemon answers, else 2 and one line that says why."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from postfix_mta_sts.cli import main as cli
from tests.support.daemons import daemon
from tests.support.dns import Fault
from tests.support.internet import SOCKETMAP, Internet, internet


async def run(config: Path, *words: str) -> int:
    """The command's exit code, while the servers in this event loop answer it."""
    return await asyncio.to_thread(cli.main, ["healthcheck", "--config", str(config), *words])


def config(net: Internet, folder: Path) -> Path:
    """The configuration of the daemon that is asked."""
    return net.config(folder)


async def test_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that answers is told so in one line, whatever its DNS is like."""
    async with internet(tmp_path) as net, daemon(net, tmp_path):
        net.vanish()
        assert await run(config(net, tmp_path)) == 0
        assert net.dns.queries.total == 0
    assert capsys.readouterr() == (f"socketmap unix:{tmp_path / SOCKETMAP}: answers\n", "")


async def test_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Asked about a domain it prints what Postfix would be told; none is an answer too."""
    async with internet(tmp_path) as net, daemon(net, tmp_path):
        net.publish("good.test")
        assert await run(config(net, tmp_path), "GOOD.test") == 0
        assert await run(config(net, tmp_path), "other.test") == 0
    where = f"socketmap unix:{tmp_path / SOCKETMAP}"
    assert capsys.readouterr().out.splitlines() == [
        f"{where}: good.test: secure match=mx1.good.test servername=hostname",
        f"{where}: other.test: not found",
    ]


async def test_try_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reply that makes Postfix defer is a failure."""
    defer = {"dns": {"on_failure": "defer"}}
    async with internet(tmp_path) as net, daemon(net, tmp_path, changes=defer):
        net.vanish(Fault.SERVFAIL)
        assert await run(config(net, tmp_path), "good.test") == 2
    assert capsys.readouterr().err.startswith(
        f"postfix-mta-sts: socketmap unix:{tmp_path / SOCKETMAP}: TEMP: "
    )


def written(folder: Path, **first: str) -> Path:
    """A configuration with this listener."""
    path = folder / "c.yml"
    path.write_text(json.dumps({"listen": [first]}))
    return path


async def test_nobody_listens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody listens the address and the reason are told; the exit code is 2."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        assert await run(written(tmp_path, tcp_table=address)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"postfix-mta-sts: tcp_table {address}: Connection refused\n"


@pytest.mark.parametrize("domain", [[], ["good.test"]])
async def test_port_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: list[str]
) -> None:
    """A listener on any free port cannot be found from outside, and that is what is said."""
    assert await run(written(tmp_path, socketmap="127.0.0.1:0"), *domain) == 2
    assert capsys.readouterr().err == (
        "postfix-mta-sts: socketmap 127.0.0.1:0: 127.0.0.1:0: port 0 is another one each time\n"
    )


async def test_no_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What names no domain is a typing error."""
    assert await run(written(tmp_path, socketmap="127.0.0.1:1"), "a..test") == 2
    assert capsys.readouterr().err.startswith("postfix-mta-sts: ")


def test_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where to ask may be said by the environment, as for the daemon itself."""
    monkeypatch.setenv("POSTFIX_MTA_STS__LISTEN", f"[{{socketmap: 'unix:{tmp_path / 'none'}'}}]")
    path = written(tmp_path, socketmap="127.0.0.1:1")
    assert cli.main(["healthcheck", "--config", str(path)]) == 2
    said = f"postfix-mta-sts: socketmap unix:{tmp_path / 'none'}: No such file or directory\n"
    assert capsys.readouterr().err == said
    monkeypatch.setenv("POSTFIX_MTA_STS__LOG__LEVLE", "info")
    assert cli.main(["healthcheck", "--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        "postfix-mta-sts: POSTFIX_MTA_STS__LOG__LEVLE: log.levle: unknown key; allowed: level, "
    )
