"""The service: signals, notifications to systemd, and reloads."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postfix_mta_sts.daemon.service import SettingsSource, serve
from tests.support.clients import Client, connected
from tests.support.daemons import TIMEOUT, Process, RunningDaemon, process, until
from tests.support.internet import AS_IT_IS, Changes, Internet

SECURE = b"OK secure match=mx1.good.test servername=hostname"
NOT_FOUND = b"NOTFOUND "


@pytest.fixture
async def served(net: Internet, tmp_path: Path) -> AsyncIterator[Process]:
    """The daemon as a process."""
    async with process(tmp_path, net.config(tmp_path)) as made:
        await made.start()
        yield made


def warned(served: Process) -> list[str]:
    """The warnings; there are others on a machine whose Postfix may not enter the folder."""
    return [line for line in served.log.splitlines() if " WARNING " in line]


async def reload(served: Process) -> str:
    """Send SIGHUP, and return the notification at the end of the reload."""
    served.signal(signal.SIGHUP)
    begin = b"RELOADING=1\nMONOTONIC_USEC="
    while not (datagram := await served.next_datagram()).startswith(begin):
        assert datagram.startswith(b"STATUS=")
    ready = (await served.notified()).decode()  # a STATUS= may come first: a reload takes a while
    assert ready.startswith("READY=1\nSTATUS=")
    return ready


async def ask_until(client: Client, end: asyncio.Event) -> int:
    """Repeat a look-up over one connection; return how many were answered with the policy."""
    number = 0
    while not end.is_set():
        assert await client.ask("good.test") == SECURE
        number += 1
    return number


async def test_in_this_process(net: Internet, tmp_path: Path) -> None:
    """The service becomes ready, answers, reloads at SIGHUP and ends at SIGTERM."""
    applied: list[object] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(TIMEOUT)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        settings = net.settings(tmp_path)
        service = serve(settings, environ, SettingsSource(None, lambda: settings, applied.append))
        serving = asyncio.create_task(service)
        assert await asyncio.to_thread(notified.recv, 99) == b"READY=1"
        assert await RunningDaemon(tmp_path).ask("other.test") == NOT_FOUND
        status = (await asyncio.to_thread(notified.recv, 99)).decode()
        assert status.startswith("STATUS=0 policies; 0 look-ups")
        os.kill(os.getpid(), signal.SIGHUP)
        assert (await asyncio.to_thread(notified.recv, 99)).startswith(b"RELOADING=1\n")
        assert (await asyncio.to_thread(notified.recv, 99)).startswith(b"READY=1\n")
        os.kill(os.getpid(), signal.SIGTERM)
        await serving
        assert notified.recv(99) == b"STOPPING=1"
    assert applied == [settings]


async def test_workers_option_is_ignored(
    net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`serve --workers 2` is warned of, as is a misspelt variable, and one process answers."""
    monkeypatch.setenv("POSTFIX_MTA_STS_LOG_LEVEL", "debug")
    config = net.config(tmp_path)
    async with process(tmp_path, config, options=["--workers", "2"]) as served:
        await served.start()
        assert await served.ask("good.test") == SECURE
        assert await served.stop() == 0
        warnings = [line for line in warned(served) if "--workers" in line]
        assert len(warnings) == 1
        assert "serve --workers is ignored workers=2 reason=" in warnings[0]
        name = 'name=POSTFIX_MTA_STS_LOG_LEVEL advice="write POSTFIX_MTA_STS__LOG__LEVEL"'
        assert any(f"variable has no effect {name}" in line for line in warned(served))
        assert served.log.count(" started version=") == 1


async def test_without_the_program_of_alerts(net: Internet, tmp_path: Path) -> None:
    """It is warned of at the start and at a reload, and mail does not wait for it."""
    config = net.config(tmp_path, {"alerts": {"command": ["/no/such"]}})
    async with process(tmp_path, config) as served:
        await served.start()
        assert await served.ask("good.test") == SECURE
        await reload(served)
        assert await served.stop() == 0
        warning = 'alert command cannot be run reason="/no/such: there is no file; install it, or'
        assert sum(warning in line for line in warned(served)) == 2


async def test_one_worker_is_no_warning(net: Internet, tmp_path: Path) -> None:
    """`serve --workers 1` matches what the daemon does, and logs no warning."""
    config = net.config(tmp_path)
    async with process(tmp_path, config, options=["--workers", "1"]) as served:
        await served.start()
        assert await served.stop() == 0
        assert not [line for line in warned(served) if "--workers" in line]


async def test_watchdog(net: Internet, tmp_path: Path) -> None:
    """While look-ups are answered, the watchdog of systemd is notified."""
    async with process(tmp_path, net.config(tmp_path)) as served:
        await served.start(WATCHDOG_USEC="400000")
        notified = [await served.notified() for _ in range(3)]
    assert notified == [b"WATCHDOG=1"] * 3


async def test_under_traffic(net: Internet, served: Process, tmp_path: Path) -> None:
    """During six reloads 50 clients lose neither a look-up nor their connection."""
    end = asyncio.Event()
    more = [*net.options(tmp_path)["listen"], {"socketmap": f"unix:{tmp_path / 'more'}"}]  # type: ignore[misc] # a list
    async with served.clients(50) as clients:
        asking = [asyncio.create_task(ask_until(client, end)) for client in clients]
        for changes in ({"dns": {"timeout": "4s"}}, AS_IT_IS, {"https": {"timeout": "9s"}}):
            (tmp_path / "config.yml").write_text(_config(net, tmp_path, changes, more))
            await reload(served)
            async with connected(tmp_path / "more") as late:
                assert await late.ask("good.test") == SECURE
            net.config(tmp_path)
            await reload(served)
            assert not (tmp_path / "more").exists()
        end.set()
        assert min(await asyncio.gather(*asking)) > 0
    assert net.gets("good.test") == 1
    await until(lambda: served.log.count(" reloaded") == 6)


def _config(net: Internet, folder: Path, changes: Changes, listen: object) -> str:
    """A configuration with other listeners."""
    options = json.loads(net.config(folder, changes).read_text())
    return json.dumps({**options, "listen": listen})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("dns: {timeout: soon}", "dns.timeout: found 'soon'"),
        ("listen: [{socketmap: 127.0.0.1:1}, {socketmap: unix:/nowhere/s}]", "cannot listen on"),
        (None, "cannot be read: No such file"),
        (
            "fleet: {url: 'redis://u:hunter2@127.0.0.1:1', key_file: /no/such}",
            "fleet.key_file: /no/such: No such file or directory",
        ),
    ],
)
async def test_bad_configuration(
    served: Process, tmp_path: Path, text: str | None, reason: str
) -> None:
    """A file with an error changes nothing; the log and the status of systemd show the error."""
    path = tmp_path / "config.yml"
    good = path.read_text()
    path.unlink()
    if text:
        path.write_text(text)
    async with connected(served.socketmap) as client:
        assert await client.ask("good.test") == SECURE
        status = await reload(served)
        assert "STATUS=reload failed: " in status
        assert reason in status
        assert await client.ask("good.test") == SECURE
        text = "reload failed, keeping the previous configuration"
        await until(lambda: text in served.log)
        [line] = [line for line in served.log.splitlines() if text in line]
        assert reason in line
        assert "hunter2" not in served.log + status
        path.write_text(good)
        assert "reload failed" not in await reload(served)


async def test_log_settings_are_reloaded(net: Internet, served: Process, tmp_path: Path) -> None:
    """A reload changes the log level and format."""
    assert await served.ask("one.test") == NOT_FOUND
    net.config(tmp_path, {"log": {"level": "debug", "format": "json"}})
    await reload(served)
    assert await served.ask("two.test") == NOT_FOUND
    await until(lambda: '"event": "look-up"' in served.log)
    assert "one.test" not in served.log
    assert any(
        json.loads(line)["domain"] == "two.test"
        for line in served.log.splitlines()
        if line.startswith("{") and '"event": "look-up"' in line
    )
