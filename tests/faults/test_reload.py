"""A reload says what it did, and an endpoint that fails is opened again (faults D22, D25)."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from postfix_mta_sts.admin import accepting
from postfix_mta_sts.admin import endpoints as endpoints_module
from postfix_mta_sts.admin.endpoints import EndpointName, Endpoints
from postfix_mta_sts.admin.http import HttpRequest, HttpResponse, Route
from postfix_mta_sts.config.address import UnixAddress
from postfix_mta_sts.config.settings import ControlSettings, Settings, parse
from postfix_mta_sts.daemon import watchdog
from postfix_mta_sts.daemon.daemon import Daemon
from postfix_mta_sts.daemon.reload import IncompleteReloadError, changed_keys
from postfix_mta_sts.daemon.service import SettingsSource, serve
from postfix_mta_sts.postfix.listeners import Listeners
from postfix_mta_sts.sockets import Sockets
from postfix_mta_sts.sockets.host_names import bound
from tests.support.daemons import NOT_FOUND, RunningDaemon, reloading, until
from tests.support.http import exchange
from tests.support.internet import Internet, internet


@pytest.fixture
async def net(tmp_path: Path) -> AsyncIterator[Internet]:
    """An Internet on loopback."""
    async with internet(tmp_path) as net:
        yield net


async def _fail(*_: object) -> None:
    raise RuntimeError("a fault")


@asynccontextmanager
async def served(settings: Settings, load: Callable[[], Settings]) -> AsyncIterator[None]:
    """The service in this process, which reads its settings with `load`."""
    service = serve(settings, {}, SettingsSource(None, load, lambda _: None))
    serving = asyncio.create_task(service)
    try:
        yield
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        with suppress(asyncio.CancelledError):
            await serving


async def test_task_that_fails(
    net: Internet,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A task of the service that a fault ends is logged at once; look-ups are answered (D25)."""
    monkeypatch.setattr(watchdog, "show_status", _fail)
    settings = net.settings(tmp_path)
    async with served(settings, lambda: settings):
        await until(lambda: "task ended by an internal error task=status" in caplog.text)
        assert await RunningDaemon(tmp_path).ask("no.test") == NOT_FOUND


class TestReload:
    """The line that a reload logs."""

    async def test_changes(
        self, net: Internet, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The line names the keys that have other values."""
        caplog.set_level("INFO", "postfix_mta_sts.daemon")
        settings = net.settings(tmp_path)
        changes = {"dns": {"timeout": "4s"}, "log": {"level": "debug"}}
        async with served(settings, lambda: net.settings(tmp_path, changes)):
            await until(lambda: "started" in caplog.text)
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: "reloaded changed=dns.timeout,log.level" in caplog.text)

    async def test_incomplete(
        self, net: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """If a part fails in the middle, the other parts get the settings."""
        async with reloading(net, tmp_path) as (_, daemon):
            monkeypatch.setattr(Listeners, "reconfigure", _fail)
            settings = net.settings(tmp_path, {"refresh": {"idle_after": "2d"}})
            with pytest.raises(IncompleteReloadError, match=r"^listen: RuntimeError") as caught:
                await daemon.reload(settings)
            assert list(caught.value.failed) == ["listen"]
            assert daemon.settings is settings
            assert daemon.frontend.refresher.idle_after == 2 * 86_400

    @pytest.mark.parametrize(
        ("failing", "line"),
        [
            (Listeners, "reload incomplete, restart the daemon failed=listen"),
            (Daemon, "reload failed by an internal error"),
        ],
    )
    async def test_says_so(
        self,
        net: Internet,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch,
        failing: type,
        line: str,
    ) -> None:
        """A reload that fails by a fault does not claim that all stays; the next one works."""
        caplog.set_level("INFO", "postfix_mta_sts.daemon")
        settings = net.settings(tmp_path)
        async with served(settings, lambda: settings):
            await until(lambda: "started" in caplog.text)
            name = "reconfigure" if failing is Listeners else "reload"
            with monkeypatch.context() as patch:
                patch.setattr(failing, name, _fail)
                os.kill(os.getpid(), signal.SIGHUP)
                await until(lambda: line in caplog.text)
            assert "keeping the previous" not in caplog.text
            os.kill(os.getpid(), signal.SIGHUP)
            await until(lambda: "reloaded" in caplog.messages)

    def test_keys(self) -> None:
        """Every key that differs is named; lists and maps as a whole."""
        text = "listen: [{socketmap: 'unix:/s'}]\nmaps: {a: {}}\nhttps: {timeout: 1s}"
        assert changed_keys(Settings(), parse(text, "x")) == ["listen", "maps", "https.timeout"]
        assert changed_keys(Settings(), Settings()) == []


async def _hello(_: HttpRequest) -> HttpResponse:
    return HttpResponse(200, "text/plain", b"hello")


async def _accept_once(
    accept_all: Callable[..., object], failures: list[Exception], *args: object
) -> None:
    """Fail as long as there are failures, then accept all."""
    if failures:
        raise failures.pop()
    await accept_all(*args)  # type: ignore[misc] # a coroutine function


async def test_endpoint_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An endpoint whose task ends by an exception is logged, and serves again (D25)."""
    monkeypatch.setattr(endpoints_module, "REOPEN_PAUSE", 0.01)
    failures: list[Exception] = [RuntimeError("two"), RuntimeError("one")]
    accept_all = accepting._accept_all
    monkeypatch.setattr(accepting, "_accept_all", partial(_accept_once, accept_all, failures))
    endpoints = Endpoints(Sockets([]), {EndpointName.CONTROL: [Route("GET", "/", _hello)]})
    address = UnixAddress(tmp_path / "s")
    await endpoints.open({EndpointName.CONTROL: bound(address, ControlSettings())})
    try:
        assert (await exchange(address.path, "GET /")).body == b"hello"
    finally:
        await endpoints.close()
    [line] = [text for text in caplog.messages if "endpoint failed" in text]
    assert line == "endpoint failed, it is opened again endpoint=control count=1"
