"""Findings about the daemon's configuration."""

import shlex
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from postfix_mta_sts.admin.doctor.commands import RELOAD, START
from postfix_mta_sts.admin.doctor.config_line import places_of
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.configuration import RULES
from postfix_mta_sts.admin.doctor.snapshot import ConfigProblem, Daemon, DaemonState, Snapshot
from postfix_mta_sts.config.settings import ConfigError, parse
from tests.support import judged
from tests.support.snapshots import (
    CONFIG_FILE,
    NOW,
    VERSIONS,
    changed,
    good,
    our_table,
    reach,
    server_table,
    with_status,
    with_tables,
)

STOPPED = Daemon(DaemonState.NOT_RUNNING, "it does not run")
IN_USE = "127.0.0.1:8461 is in use now: process 1"
found = partial(judged.found, RULES)
one = partial(judged.the_one, RULES)


def configured(text: str, snapshot: Snapshot | None = None) -> Snapshot:
    """Return the snapshot with this configuration, which the daemon has loaded if it is valid."""
    made = replace(snapshot or good(), places=places_of(text, CONFIG_FILE, {}))
    try:
        return replace(made, settings=parse(text, CONFIG_FILE))
    except ConfigError as error:
        problems = tuple(_problem(line) for line in error.errors)
        return replace(made, settings=None, config_problems=problems)


def _problem(line: str) -> ConfigProblem:
    """The problem of a line `file:line: key: reason`."""
    place, key, reason = line.split(": ", 2)
    file, _, number = place.rpartition(":")
    return ConfigProblem(key, reason, is_warning=False, file=file, line=int(number))


def without_status(snapshot: Snapshot) -> Snapshot:
    """Return the snapshot of a daemon that this user may not ask."""
    return replace(snapshot, daemon=Daemon(DaemonState.DENIED))


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """A good setup has no finding."""
    assert found(good(version)) == []


class TestTrial:
    """A map whose policies are on trial."""

    def test_as_the_daemon_says(self) -> None:
        """The status of the daemon counts, for the map that Postfix asks."""
        maps = {"postfix": False, "QUERYwithTLSRPT": True}
        snapshot = with_status(good(), trial={"maps": maps, "other": False})
        finding = one(snapshot, "map-on-trial", Effect.NONE)
        assert "QUERYwithTLSRPT" in finding.what

    def test_other_map(self) -> None:
        """A map that Postfix does not ask does not matter."""
        maps = {"postfix": True, "QUERYwithTLSRPT": False}
        assert found(with_status(good(), trial={"maps": maps, "other": True})) == []

    def test_map_without_settings(self) -> None:
        """A name that no setting has is answered as all others."""
        snapshot = with_tables(good(), our_table("x"))
        assert found(with_status(snapshot, trial={"maps": {}, "other": False})) == []
        assert found(with_status(snapshot, trial={"maps": {}, "other": True}))

    def test_table_without_map_name(self) -> None:
        """A tcp_table has no map names; the table itself is named."""
        snapshot = with_tables(good(), our_table("", name="tcp:127.0.0.1:8462"))
        snapshot = configured("trial: true", without_status(snapshot))
        assert "tcp:127.0.0.1:8462" in one(snapshot, "map-on-trial", Effect.NONE).what

    @pytest.mark.parametrize(
        ("text", "edit"),
        [
            ("trial: true", "1s/trial: true/trial: false/"),
            ("\ntrial: {enabled: true, every: 1h}", "2s/enabled: true/enabled: false/"),
            ("trial:\n  every: 1h\n  enabled: true", "3s/enabled: true/enabled: false/"),
            ("trial:\n  dane: true", "2s/dane: true/dane: false/"),
            (
                "maps: {QUERYwithTLSRPT: {tlsrpt: true, trial: true}}",
                "1s/trial: true/trial: false/",
            ),
            (
                "maps:\n  QUERYwithTLSRPT:\n    tlsrpt: true\n    trial: true",
                "4s/trial: true/trial: false/",
            ),
        ],
    )
    def test_mend(self, text: str, edit: str) -> None:
        """The line that turns the trial on is changed, and the daemon reloaded."""
        snapshot = configured(text, without_status(good()))
        finding = one(snapshot, "map-on-trial", Effect.NONE)
        assert finding.mend == f"sed -i {shlex.quote(edit)} {CONFIG_FILE} && {RELOAD}"

    def test_two_maps_in_one_line(self) -> None:
        """A line that sets more than one trial is not changed."""
        text = "maps: {a: {trial: true}, QUERYwithTLSRPT: {tlsrpt: true, trial: true}}"
        snapshot = configured(text, without_status(good()))
        assert one(snapshot, "map-on-trial", Effect.NONE).mend == ""

    def test_by_a_variable(self) -> None:
        """What a variable sets, no command changes."""
        settings = parse("", "", {"POSTFIX_MTA_STS__TRIAL": "true"})
        snapshot = replace(without_status(good()), settings=settings)
        assert one(snapshot, "map-on-trial", Effect.NONE).mend == ""


class TestInvalid:
    """A configuration with which the daemon does not start."""

    @pytest.mark.parametrize(
        ("text", "edit"),
        [
            ("nonsense: 1", "1s/^/# /"),
            ("log:\n  level: debug\n  shape: round and red  # why", "3s/^/# /"),
            ("listn: []", "1s/listn:/listen:/"),
            ("log: {lvel: debug}", "1s/lvel:/level:/"),
            ("log: {level: warn}", "1s/level: warn/level: warning/"),
        ],
    )
    def test_mend(self, text: str, edit: str) -> None:
        """What the reason proposes is done; a key that nobody knows becomes a comment."""
        finding = one(configured(text), "config-invalid", Effect.HELD)
        assert finding.mend == f"sed -i {shlex.quote(edit)} {CONFIG_FILE} && {RELOAD}"

    @pytest.mark.parametrize(
        "text", ["nonsense:\n  a: 1", "log: {level: debug, nonsense: 1}", "log: {level: pink}"]
    )
    def test_without_command(self, text: str) -> None:
        """A line that sets more than the key stays; so does a value that nobody can guess."""
        finding = one(configured(text), "config-invalid", Effect.HELD)
        assert finding.mend == ""
        assert f"{CONFIG_FILE}:" in finding.what

    def test_repaired(self) -> None:
        """Two mistakes are two findings, and the commands do not move each other's lines."""
        first, second = found(configured("nonsense: 1\nrubbish: 2"))
        assert "'1s/^/# /'" in first.mend
        assert "'2s/^/# /'" in second.mend

    def test_stopped(self) -> None:
        """A daemon that does not run for that reason is started."""
        snapshot = configured("nonsense: 1", replace(good(), daemon=STOPPED))
        finding = one(snapshot, "config-invalid", Effect.HELD)
        assert finding.mend.endswith(START)
        assert "does not start" in finding.why

    def test_without_systemd(self) -> None:
        """Where systemd does not run it, the daemon gets the signal."""
        snapshot = configured("nonsense: 1", replace(good(), unit=None))
        assert one(snapshot, "config-invalid", Effect.HELD).mend.endswith("kill -HUP 100")

    def test_not_in_a_file(self) -> None:
        """What only this machine lacks has no line and no command."""
        problem = ConfigProblem("listen[0].group", "there is no group", is_warning=False)
        snapshot = replace(good(), config_problems=(problem,))
        finding = one(snapshot, "config-invalid", Effect.HELD)
        assert finding.what.endswith(": listen[0].group: there is no group")
        assert finding.mend == ""

    def test_without_a_key(self) -> None:
        """A text that is not YAML names no key."""
        problem = ConfigProblem("", "not YAML", is_warning=False, file="/c.yml", line=3)
        snapshot = replace(good(), config_problems=(problem,))
        assert one(snapshot, "config-invalid", Effect.HELD).what.endswith(": /c.yml:3: not YAML")

    @pytest.mark.parametrize("is_root", [True, False])
    def test_of_this_user(self, is_root: bool) -> None:  # noqa: FBT001 (a parameter of pytest)
        """What a plain user may not do says nothing of the daemon."""
        problem = ConfigProblem("cache.path", "/x is not writable for user 99", is_warning=False)
        snapshot = replace(good(), config_problems=(problem,), is_root=is_root)
        assert bool(found(snapshot)) == is_root

    def test_ca_file(self) -> None:
        """A file of CA certificates that cannot be used is `daemon-ca`."""
        problem = ConfigProblem("https.ca_file", "no certificate", is_warning=False)
        assert found(replace(good(), config_problems=(problem,))) == []


class TestNotLoaded:
    """A file that is newer than the settings in force."""

    def test_newer(self) -> None:
        """The daemon is reloaded."""
        snapshot = replace(with_status(good(), configured_at=NOW - 50.5), config_time=NOW - 50.4)
        finding = one(snapshot, "config-not-loaded", Effect.NONE)
        assert CONFIG_FILE in finding.what
        assert finding.mend == RELOAD

    def test_default_file_that_was_not_there(self) -> None:
        """A daemon that has started without a file reads one at a reload."""
        snapshot = with_status(good(), configured_at=NOW - 50, config=None)
        assert found(replace(snapshot, config_time=NOW))

    @pytest.mark.parametrize(
        ("status", "fields"),
        [
            ({"configured_at": NOW - 50}, {"config_time": NOW - 50.1}),
            ({"configured_at": NOW - 50}, {"config_time": None}),
            ({"configured_at": None}, {"config_time": NOW}),
            ({"configured_at": NOW - 50, "config": "/other.yml"}, {"config_time": NOW}),
        ],
    )
    def test_not_newer(self, status: dict[str, Any], fields: dict[str, Any]) -> None:
        """An older file, none, another one, or a daemon that does not say: no finding."""
        assert found(replace(with_status(good(), **status), **fields)) == []

    @pytest.mark.parametrize("key", ["log.level", "https.ca_file"])
    def test_invalid(self, key: str) -> None:
        """A file that is not valid cannot be loaded: that is the fault."""
        problem = ConfigProblem(key, "wrong", is_warning=False)
        snapshot = replace(good(), config_problems=(problem,), config_time=NOW)
        assert "config-not-loaded" not in {each.id for each in found(snapshot)}


class TestDoubtful:
    """Warnings of `check-config`."""

    def test_warning(self) -> None:
        """It is a warning here, too."""
        problem = ConfigProblem("alerts.command", "there is no file", is_warning=True)
        finding = one(replace(good(), config_problems=(problem,)), "config-doubtful", Effect.NONE)
        assert finding.what.endswith(": alerts.command: there is no file")

    @pytest.mark.parametrize(
        ("reason", "daemon", "is_doubtful"),
        [
            (f"{IN_USE} (postfix-mta-sts)", good().daemon, False),
            (f"{IN_USE} (systemd)", STOPPED, False),
            (f"{IN_USE} (nginx)", STOPPED, True),
        ],
    )
    def test_in_use(self, reason: str, daemon: Daemon, *, is_doubtful: bool) -> None:
        """An address that the daemon has, or a socket unit for it, is not taken by another one."""
        problem = ConfigProblem("listen[0].socketmap", reason, is_warning=True)
        assert (
            bool(found(replace(good(), config_problems=(problem,), daemon=daemon))) == is_doubtful
        )

    def test_found_elsewhere(self) -> None:
        """Other findings say that there are no CA certificates, or that a socket is closed."""
        authorities = ConfigProblem("https.ca_file", "there are none", is_warning=True)
        closed = ConfigProblem("listen", "Postfix may not connect", is_warning=True)
        snapshot = replace(good(), config_problems=(authorities, closed))
        assert [each.what for each in found(snapshot)] == [
            "the configuration is doubtful: listen: Postfix may not connect"
        ]
        denied = our_table(reaches=(reach("EACCES"),))
        assert found(changed(snapshot, tables=(denied,))) == []

    def test_a_closed_listener(self) -> None:
        """Postfix may not connect to a socket that no table of it names: that is no fault."""
        text = "listen: [{socketmap: '127.0.0.1:8461'}, {socketmap: 'unix:/var/spool/postfix/s'}]"
        reason = "Postfix may not connect to unix:/var/spool/postfix/s: it has mode 0600; set mode"
        closed = ConfigProblem("listen", reason, is_warning=True)
        snapshot = replace(configured(text), config_problems=(closed,))
        assert found(snapshot) == []
        for tables in (
            (),
            (server_table("socketmap:unix:s:postfix", is_ours=True, map_name="postfix"),),
            (server_table("socketmap:inet:192.0.2.1:1:x"),),
        ):
            others = with_tables(snapshot, *tables)
            assert [each.id for each in found(others)] == ["config-doubtful"], tables
