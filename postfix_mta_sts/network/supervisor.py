"""Keep a network process ready: start it, switch to another one, replace one that ends or hangs.

There are two processes at most: the one that takes the calls, or the next one until it is ready,
and after a reload the one before, which finishes its calls. `timing` has the rules, `client` sends
the calls.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from typing import Final

from postfix_mta_sts.mtasts.errors import OwnFaultError
from postfix_mta_sts.network.process import NetworkProcess, ProcessError
from postfix_mta_sts.network.process_log import ProcessLog
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.network.timing import Timing, is_worth_waiting, spacing

RENEWAL_SPACING: Final = 60.0
"""Seconds between two successors for the sake of replaced files."""
RENEWAL_DRAIN: Final = 10.0
"""Seconds for which the process before such a successor may finish its calls: `lookup.timeout`."""

_Waiter = asyncio.Future[NetworkProcess]


class Supervisor:
    """Has one network process for calls; use `start` first, then `replace`, and `stop` last."""

    def __init__(self, timing: Timing) -> None:
        self.restarts = 0
        """How often a process was started because the one before had ended or was not usable."""
        self._timing = timing
        self._settings: NetworkSettings
        self._current: NetworkProcess | None = None
        self._before: NetworkProcess | None = None
        self._processes: list[NetworkProcess] = []
        self._renewing: asyncio.Task[None] | None = None
        self._renewed_at = -RENEWAL_SPACING
        self._switching: Final = asyncio.Lock()
        self._draining: asyncio.Task[None] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._waiters: set[_Waiter] = set()
        self._is_patient = True
        self._spacing = 0.0
        self._trouble = ""
        self._refusal = ""
        self._is_stopped = False
        self._log: Final = ProcessLog()

    @property
    def current(self) -> NetworkProcess | None:
        """The process that takes the calls; None while there is none."""
        return self._current

    @property
    def pids(self) -> Collection[int]:
        """The ids of all network processes that run, those that are starting or ending included."""
        return {each.pid for each in self._processes if each.is_running and each.pid}

    @property
    def problem(self) -> str:
        """Why network processes do not work as they should; empty if they do."""
        return self.trouble or self._refusal

    @property
    def trouble(self) -> str:
        """Why no process answers; empty if one does, or is being started in good time."""
        if self._trouble:
            return self._trouble
        if self._current and self._current.is_silent:
            return f"the network process has not answered for {self._current.silence:g} s"
        return ""

    def start(self, settings: NetworkSettings) -> None:
        """Start the first process; does not wait until it is ready."""
        self._settings = settings
        self._starting = self._start_until_ready_as_task(0.0)
        asyncio.get_running_loop().call_later(self._timing.late_after, self._note_late_start)

    async def replace(self, settings: NetworkSettings, drain_timeout: float) -> None:
        """Use a process with these settings from now on.

        The one before may finish its calls for `drain_timeout` seconds; a process that still does
        so is cut off at once. Raises `OSError` or `ProcessError` if the new process does not become
        ready; the one before goes on then.
        """
        async with self._switching:
            try:
                await self._switch(settings, drain_timeout)
            except (OSError, ProcessError) as error:
                self._refusal = f"a reload was refused: {error}"
                raise
            self._refusal = ""

    async def process(self) -> NetworkProcess:
        """The process for a call; waits until there is one, if that is soon.

        Otherwise raises `OwnFaultError` after `Timing.give_up_after`.
        """
        if self._current:
            return self._current
        if self._is_stopped:
            raise OwnFaultError("the daemon stops")
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        if not self._is_patient:
            self._give_up_later([waiter])
        try:
            return await waiter
        finally:
            self._waiters.discard(waiter)

    async def stop(self) -> None:
        """Stop all processes and cancel what waits for one; call nothing else afterwards."""
        self._is_stopped = True
        for waiter in self._waiters:
            waiter.cancel()
        current, self._current = self._current, None
        if self._renewing:
            self._renewing.cancel()
            await asyncio.wait([self._renewing])
        await asyncio.gather(
            self._stop_starting(),
            self._end_draining(),
            *([current.stop()] if current else []),
        )

    def on_pulse(self, process: NetworkProcess, *, silent: bool) -> None:
        """See `Owner`. One that is to finish its calls need not be waited for when it hangs."""
        if process is self._before and silent:
            process.cut_off()
        if process is not self._current:
            return
        if silent:
            self._log.silent(process)
        else:
            self._log.answers_again(process)

    def on_closed(self, process: NetworkProcess) -> None:
        """See `Owner`. Only the process in use is followed by another one."""
        if process is self._before:
            self._log.ended(process, None)
        if process is not self._current:
            return
        self._current = None
        self._trouble = "the network process ended and is started again"
        wait = self._wait_after(process)
        self._starting = asyncio.create_task(
            self._start_again(process, wait), name="restart of network process"
        )

    def on_outdated(self, process: NetworkProcess, path: str) -> None:
        """See `Owner`. Its settings stay; the process says it again until there is a successor."""
        now = asyncio.get_running_loop().time()
        is_renewing = self._renewing and not self._renewing.done()
        is_due = now >= self._renewed_at + RENEWAL_SPACING and not is_renewing
        if process is self._current and is_due:
            self._renewed_at = now
            self._renewing = asyncio.create_task(
                self._renew(process, path), name="renewal of network process"
            )

    async def _renew(self, process: NetworkProcess, path: str) -> None:
        async with self._switching:
            if process is not self._current:
                return  # a reload came first
            try:
                await self._switch(self._settings, RENEWAL_DRAIN)
            except (OSError, ProcessError) as error:
                self._log.not_renewed(path, error)
            else:
                self._log.renewed(path)

    async def _switch(self, settings: NetworkSettings, drain_timeout: float) -> None:
        """Start a process, use it, and let the one before finish its calls; see `replace`."""
        await self._end_draining()
        if self._current is None:
            await self._stop_starting()
        try:
            process = await self._ready_process(settings, self._timing.ready_within)
        except (OSError, ProcessError):
            if self._current is None and self._starting is None:
                self._starting = self._start_until_ready_as_task(self._spacing)
            raise
        self._before, self._settings = self._current, settings
        self._use(process)
        if self._starting:  # the one before has ended meanwhile
            self._starting.cancel()
        if self._before:
            self._draining = asyncio.create_task(
                self._drain(self._before, drain_timeout), name="stop of old network process"
            )

    def _start_until_ready_as_task(self, wait: float) -> asyncio.Task[None]:
        return asyncio.create_task(self._start_until_ready(wait), name="start of network process")

    async def _start_again(self, ended: NetworkProcess, wait: float) -> None:
        status = await ended.reap()
        self._log.ended(ended, status)
        await self._start_until_ready(wait)

    async def _start_until_ready(self, wait: float) -> None:
        """Wait, then start processes until one is ready."""
        while True:
            await asyncio.sleep(wait)
            started_at = asyncio.get_running_loop().time()
            try:
                seconds = self._timing.start_within
                self._use(await self._ready_process(self._settings, seconds))
            except Exception as error:  # noqa: BLE001 (the top of a task: the next try may work)
                self._trouble = str(error)
                self._log.not_started(error)
                wait = self._next_wait(started_at, None)
            else:
                return

    async def _ready_process(self, settings: NetworkSettings, seconds: float) -> NetworkProcess:
        process = NetworkProcess(settings, self._timing, self)
        self._processes = [*(each for each in self._processes if each.is_running), process]
        try:
            await process.start(is_urgent=self._current is None)  # look-ups wait for it
            await process.wait_until_ready(seconds)
        except BaseException:
            await process.stop()
            raise
        return process

    def _note_late_start(self) -> None:
        """Tell that the first process is not ready; of later ones, a line says why they start."""
        if not (self._current or self._trouble or self._is_stopped):
            seconds = self._timing.late_after
            self._trouble = f"the network process was not ready within {seconds:g} s"
            self._log.late(seconds)
            self._lose_patience()

    def _use(self, process: NetworkProcess) -> None:
        """Give this process the calls that wait, and all new ones."""
        self._current = process
        self._is_patient = True
        if self._trouble:
            self._trouble = ""
            self._log.works_again(process)
        self._log.confined(process)
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(process)

    def _wait_after(self, ended: NetworkProcess) -> float:
        now = asyncio.get_running_loop().time()
        return self._next_wait(ended.started_at, now - (ended.ready_at or now))

    def _next_wait(self, started_at: float, ready_for: float | None) -> float:
        """The seconds until the next start, which this counts."""
        self.restarts += 1
        self._spacing = spacing(self._spacing, ready_for, self._timing)
        wait = max(0.0, started_at + self._spacing - asyncio.get_running_loop().time())
        if not is_worth_waiting(wait, self._spacing, ready_for, self._timing):
            self._lose_patience()
        return wait

    def _lose_patience(self) -> None:
        """From now on, calls wait for a process for `Timing.give_up_after` at most."""
        if self._is_patient:
            self._is_patient = False
            self._give_up_later(list(self._waiters))

    def _give_up_later(self, waiters: Collection[_Waiter]) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(self._timing.give_up_after, self._give_up, waiters)

    def _give_up(self, waiters: Collection[_Waiter]) -> None:
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(OwnFaultError(self.problem or "no network process"))

    async def _drain(self, process: NetworkProcess, seconds: float) -> None:
        """Let a process finish its calls; those that remain are sent to the one in use."""
        if process.is_silent:
            process.cut_off()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await process.wait_until_idle()
        process.cut_off()
        await process.stop()

    async def _end_draining(self) -> None:
        if self._before:
            self._before.cut_off()
            self._before = None
        if self._draining:
            await self._draining
            self._draining = None

    async def _stop_starting(self) -> None:
        if self._starting:
            self._starting.cancel()
            await asyncio.wait([self._starting])
            self._starting = None
