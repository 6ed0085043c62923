"""Findings about Postfix and the daemon as processes and units."""

import shlex
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from postfix_mta_sts.admin.doctor.commands import RESTART, START
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.daemon import RULES
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Daemon, DaemonState, Snapshot
from postfix_mta_sts.postfix.installed.sleeping import REASON
from postfix_mta_sts.postfix.installed.values import Instance
from tests.support import judged
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    instance,
    our_table,
    reach,
    with_status,
    with_tables,
)

DROP_IN = "/etc/systemd/system/postfix-mta-sts.service.d/override.conf"
found = partial(judged.found, RULES)
one = partial(judged.the_one, RULES)


def in_state(state: DaemonState, reason: str = "it says why") -> Snapshot:
    """Return the good setup with a daemon that does not answer."""
    return replace(good(), daemon=Daemon(state, reason))


def with_unit(snapshot: Snapshot, **fields: Any) -> Snapshot:  # noqa: ANN401 (any field)
    """Return the snapshot with other fields of the unit."""
    assert snapshot.unit
    return replace(snapshot, unit=replace(snapshot.unit, **fields))


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """A good setup has no finding."""
    assert found(good(version)) == []


class TestPostfix:
    """Whether Postfix runs."""

    def test_stopped(self) -> None:
        """The default instance is started by its unit."""
        finding = one(changed(good(), is_running=False), "postfix-stopped", Effect.HELD)
        assert finding.mend == "systemctl restart postfix"

    def test_not_known(self) -> None:
        """What cannot be told is not a finding."""
        assert found(changed(good(), is_running=None)) == []

    def test_other_instance(self) -> None:
        """Another instance is named, and started by postmulti(1)."""
        made = instance(folder="/etc/postfix-out", name="postfix-out")
        snapshot = replace(good(), instances=(*good().instances, _stopped(made, "yes")))
        finding = one(snapshot, "postfix-stopped", Effect.HELD)
        assert finding.instance == "postfix-out"
        assert finding.mend == "postmulti -i postfix-out -p start"

    def test_disabled_instance(self) -> None:
        """An instance that postmulti(1) has switched off need not run."""
        made = instance(folder="/etc/postfix-out", name="postfix-out")
        assert found(replace(good(), instances=(_stopped(made, "no"),))) == []


def _stopped(made: Instance, enabled: str) -> Instance:
    """The instance, which does not run."""
    parameters = {**made.parameters, "multi_instance_enable": enabled}
    snapshot = replace(good(), instances=(made,))
    return changed(snapshot, parameters=parameters, is_running=False).instances[0]


class TestStopped:
    """A daemon that does not run."""

    def test_stopped(self) -> None:
        """It is started by systemd."""
        finding = one(in_state(DaemonState.NOT_RUNNING), "daemon-stopped", Effect.HELD)
        assert finding.mend == START

    def test_unit_that_is_not_active(self) -> None:
        """The same if systemd says so, too."""
        snapshot = with_unit(in_state(DaemonState.NOT_RUNNING), is_active=False)
        assert one(snapshot, "daemon-stopped", Effect.HELD).mend == START

    def test_started_by_the_next_look_up(self) -> None:
        """While systemd listens for it, and Postfix asks there, no mail waits."""
        stopped = with_unit(
            in_state(DaemonState.NOT_RUNNING),
            is_active=False,
            sockets=("postfix-mta-sts.socket",),
        )
        sleeping = our_table(reaches=(), unasked=(REASON,))
        assert found(with_tables(stopped, sleeping)) == []
        assert found(with_tables(stopped)) == []
        other = our_table(reaches=(reach("ECONNREFUSED"),))
        one(with_tables(stopped, sleeping, other), "daemon-stopped", Effect.HELD)
        one(with_unit(with_tables(stopped, sleeping), sockets=()), "daemon-stopped", Effect.HELD)

    def test_without_systemd(self) -> None:
        """Where systemd does not run it, no command is known."""
        snapshot = replace(in_state(DaemonState.NOT_RUNNING), unit=None)
        assert one(snapshot, "daemon-stopped", Effect.HELD).mend == ""

    def test_because_of_its_configuration(self) -> None:
        """A configuration that is not valid is the fault, and has a finding of its own."""
        snapshot = in_state(DaemonState.NOT_RUNNING)
        problem = ConfigProblem("listen", "wrong", is_warning=False)
        assert found(replace(snapshot, config_problems=(problem,))) == []
        warning = replace(problem, is_warning=True)
        assert found(replace(snapshot, config_problems=(warning,)))


class TestHangs:
    """A daemon that runs, and does not answer."""

    def test_no_answer_to_commands(self) -> None:
        """The reason is that of the control socket."""
        finding = one(in_state(DaemonState.HANGS), "daemon-hangs", Effect.HELD)
        assert finding.what.endswith(": it says why")
        assert finding.mend == RESTART

    def test_no_answer_to_look_ups(self) -> None:
        """The reason is that of its own look-up."""
        snapshot = with_status(good(), answering={"ok": False, "reason": "refused"})
        finding = one(snapshot, "daemon-hangs", Effect.HELD)
        assert finding.what.endswith(": refused")

    def test_not_a_service(self) -> None:
        """A daemon that systemd does not run is not started again by it."""
        snapshot = with_unit(in_state(DaemonState.HANGS), is_active=False)
        assert one(snapshot, "daemon-hangs", Effect.HELD).mend == ""

    def test_denied(self) -> None:
        """A daemon that this user may not ask is not a finding."""
        assert found(in_state(DaemonState.DENIED)) == []


class TestUnit:
    """The unit of systemd."""

    def test_disabled(self) -> None:
        """A unit that is not enabled is enabled."""
        finding = one(with_unit(good(), is_enabled=False), "unit-disabled", Effect.NONE)
        assert finding.mend == "systemctl enable postfix-mta-sts.service"

    def test_disabled_and_not_used(self) -> None:
        """A unit beside a daemon that runs without it does not matter."""
        assert found(with_unit(good(), is_enabled=False, is_active=False)) == []

    def test_none(self) -> None:
        """Without systemd there is nothing to enable."""
        assert found(replace(good(), unit=None)) == []


def test_version() -> None:
    """Both versions are named; a restart changes to that on disk."""
    finding = one(with_status(good(), version="0.0.9"), "daemon-version", Effect.NONE)
    assert "0.0.9" in finding.what
    assert good().version in finding.what
    assert finding.mend == RESTART


class TestWorkers:
    """The option `--workers`."""

    @pytest.mark.parametrize("option", ["--workers 4", "--workers=4", "--workers 1"])
    def test_in_the_unit(self, option: str) -> None:
        """It is removed from the files of the unit, and the daemon restarted."""
        command_line, files = f"postfix-mta-sts serve {option}", ("/x.service", DROP_IN)
        snapshot = with_unit(good(), command_line=command_line, files=files)
        finding = one(snapshot, "workers", Effect.NONE)
        sed, *others = finding.mend.split(" && ")
        assert shlex.split(sed)[-2:] == list(files)
        assert others == ["systemctl daemon-reload", RESTART]

    @pytest.mark.parametrize("words", [("--workers", "4"), ("--workers=4",)])
    def test_in_the_process_alone(self, words: tuple[str, ...]) -> None:
        """If the unit does not have it any more, a restart is enough."""
        daemon = replace(good().daemon, command_line=("postfix-mta-sts", "serve", *words))
        assert one(replace(good(), daemon=daemon), "workers", Effect.NONE).mend == RESTART

    def test_without_systemd(self) -> None:
        """Where systemd does not run it, no command is known."""
        daemon = replace(good().daemon, command_line=("serve", "--workers", "4"))
        snapshot = replace(good(), daemon=daemon, unit=None)
        assert one(snapshot, "workers", Effect.NONE).mend == ""

    def test_other_options(self) -> None:
        """Another option that begins in the same way is not this one."""
        assert found(with_unit(good(), command_line="serve --workers-of-mine 4")) == []


def test_control_missing() -> None:
    """A daemon without a control socket gets one at its next start."""
    finding = one(in_state(DaemonState.NO_CONTROL), "control-missing", Effect.NONE)
    assert finding.mend == RESTART


def test_network_process() -> None:
    """A network process that does not work is named, with the reason."""
    snapshot = with_status(
        good(), not_working=["network_process"], reasons={"network_process": "killed"}
    )
    finding = one(snapshot, "network-process", Effect.UNPROTECTED)
    assert finding.what.endswith(": killed")
    assert finding.mend == RESTART
