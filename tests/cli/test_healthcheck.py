"""`healthcheck`: exit code 0 if the daemon replies, else 2 and one line with the reason."""

import asyncio
import json
import socket
from pathlib import Path

import pytest

from postfix_mta_sts.admin.client import ControlClient
from postfix_mta_sts.cli.main import main
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix import access
from tests.support.daemons import daemon
from tests.support.dns import Fault
from tests.support.internet import SOCKETMAP, Changes, Internet, internet


async def run(config: Path, *words: str) -> int:
    """Run the command in a thread; return its exit code."""
    return await asyncio.to_thread(main, ["healthcheck", "--config", str(config), *words])


def config(net: Internet, folder: Path) -> Path:
    """Return the configuration of the daemon."""
    return net.config(folder)


async def test_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A daemon that replies is healthy, even if DNS fails; no DNS query is sent."""
    monkeypatch.setattr(access, "postfix_account", lambda: Account(0, 0))  # may connect
    async with internet(tmp_path) as net, daemon(net, tmp_path):
        net.vanish()
        assert await run(config(net, tmp_path)) == 0
        assert net.dns.queries.total == 0
    assert capsys.readouterr() == (f"socketmap unix:{tmp_path / SOCKETMAP}: answers\n", "")


async def test_closed_to_postfix(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that root may open, but Postfix may not, is a warning; the daemon is healthy."""
    monkeypatch.setattr(access, "postfix_account", lambda: Account(4711, 4711))
    async with internet(tmp_path) as net, daemon(net, tmp_path):
        assert await run(config(net, tmp_path)) == 0
    start = f"postfix-mta-sts: warning: Postfix may not connect to unix:{tmp_path / SOCKETMAP}: "
    assert capsys.readouterr().err.startswith(start)


async def test_fleet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared store that does not answer is a warning; the daemon is healthy."""
    monkeypatch.setattr(access, "postfix_account", lambda: Account(0, 0))
    (key := tmp_path / "key").touch(0o600)
    key.write_text(f"{'ab' * 32}\n")
    async with internet(tmp_path) as net:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))  # nothing listens there
            url = f"redis://127.0.0.1:{bound.getsockname()[1]}/0"
            changes: Changes = {"fleet": {"url": url, "key_file": str(key)}}
            path = net.config(tmp_path, changes)
            async with daemon(net, tmp_path, changes=changes):
                asked = ControlClient(tmp_path / "control.sock")
                assert (await asyncio.to_thread(asked.ask, "GET", "fleet", "relays"))["problem"]
                assert await run(path) == 0
                warning = capsys.readouterr().err
            assert await run(path) == 2  # no daemon
    assert warning.startswith("postfix-mta-sts: warning: fleet not reached for ")
    assert warning.endswith("mail does not depend on it\n")


async def test_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With a domain the reply to Postfix is printed; `not found` is a reply too."""
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


def write_config(folder: Path, **first: str) -> Path:
    """Write a configuration with one listener; return its path."""
    path = folder / "c.yml"
    path.write_text(json.dumps({"listen": [first]}))
    return path


async def test_no_listener(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """If nothing listens, the error has the address and the reason; the exit code is 2."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        assert await run(write_config(tmp_path, tcp_table=address)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    expected = f"postfix-mta-sts: tcp_table {address}: Connection refused; is the "
    assert err == f"{expected}daemon running, and with this configuration?\n"


@pytest.mark.parametrize("domain", [[], ["good.test"]])
async def test_port_0(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], domain: list[str]
) -> None:
    """For port 0 the error says that another process cannot know the port."""
    assert await run(write_config(tmp_path, socketmap="127.0.0.1:0"), *domain) == 2
    assert capsys.readouterr().err == (
        "postfix-mta-sts: socketmap 127.0.0.1:0: 127.0.0.1:0: "
        "port 0 stands for any free port, so it cannot be asked\n"
    )


async def test_invalid_domain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An invalid domain is an error."""
    assert await run(write_config(tmp_path, socketmap="127.0.0.1:1"), "a..test") == 2
    assert capsys.readouterr().err.startswith("postfix-mta-sts: ")


def test_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment sets the listener, as for the daemon."""
    monkeypatch.setenv("POSTFIX_MTA_STS__LISTEN", f"[{{socketmap: 'unix:{tmp_path / 'none'}'}}]")
    path = write_config(tmp_path, socketmap="127.0.0.1:1")
    assert main(["healthcheck", "--config", str(path)]) == 2
    expected = f"postfix-mta-sts: socketmap unix:{tmp_path / 'none'}: No such file or directory"
    assert capsys.readouterr().err.startswith(f"{expected}; is the daemon running, ")
    monkeypatch.setenv("POSTFIX_MTA_STS__LOG__LEVLE", "info")
    assert main(["healthcheck", "--config", str(path)]) == 2
    assert capsys.readouterr().err.startswith(
        "postfix-mta-sts: POSTFIX_MTA_STS__LOG__LEVLE: log.levle: unknown key, perhaps level; "
    )
