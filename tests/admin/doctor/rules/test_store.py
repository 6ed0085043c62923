"""Findings about the daemon's store, CA certificates and name servers."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.admin.doctor.commands import RELOAD, RESTART, START
from postfix_mta_sts.admin.doctor.config_line import places_of
from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.store import RULES
from postfix_mta_sts.admin.doctor.snapshot import (
    ConfigProblem,
    Daemon,
    DaemonState,
    Resolver,
    Snapshot,
)
from postfix_mta_sts.config.settings import CacheSettings, DnsSettings, HttpsSettings, Settings
from tests.support import judged
from tests.support.snapshots import CONFIG_FILE, VERSIONS, good, with_status

FOLDER = "/var/lib/postfix-mta-sts"
OWN = f"chown -R postfix-mta-sts: {FOLDER} && chmod -R u+rwX {FOLDER} && {RESTART}"
INSTALL = "apt-get install -y ca-certificates && update-ca-certificates"
STOPPED = Daemon(DaemonState.NOT_RUNNING, "it does not run")
SERVER = "192.0.2.1:53"
found = partial(judged.found, RULES)
one = partial(judged.the_one, RULES)


def failing(part: str, reason: str | None = None) -> Snapshot:
    """Return the snapshot of a daemon with a part that does not work."""
    return with_status(good(), not_working=[part], reasons={part: reason})


def with_store(snapshot: Snapshot, **fields: Any) -> Snapshot:  # noqa: ANN401 (any field)
    """Return the snapshot with other fields of the store."""
    assert snapshot.store
    return replace(snapshot, store=replace(snapshot.store, **fields))


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """A good setup has no finding."""
    assert found(good(version)) == []


class TestStore:
    """The store."""

    def test_not_read(self) -> None:
        """What the daemon cannot read protects nothing; a reason of its own has no command."""
        finding = one(failing("store_reading", "damaged"), "store", Effect.UNPROTECTED)
        assert finding.what.endswith(": damaged")
        assert finding.mend == ""

    def test_not_written(self) -> None:
        """What it cannot write is a warning."""
        finding = one(failing("store_writing", "disk full"), "store", Effect.NONE)
        assert finding.what.endswith(": disk full")

    def test_both(self) -> None:
        """A store that is neither read nor written is one finding."""
        parts = ["store_reading", "store_writing"]
        snapshot = with_status(good(), not_working=parts, reasons={})
        one(snapshot, "store", Effect.UNPROTECTED)

    def test_permissions_for_a_daemon_that_works(self) -> None:
        """A daemon that has opened its store goes on; what it writes may be lost."""
        snapshot = with_store(good(), is_readable=False, is_writable=False)
        finding = one(snapshot, "store", Effect.NONE)
        assert finding.mend == OWN

    def test_permissions_for_a_start(self) -> None:
        """A daemon that is stopped will not be able to read it."""
        snapshot = with_store(replace(good(), daemon=STOPPED), is_readable=False, is_writable=False)
        assert one(snapshot, "store", Effect.UNPROTECTED).mend == OWN

    @pytest.mark.parametrize(
        ("folder", "is_given"), [("/srv/postfix-mta-sts", True), ("/etc/postfix-mta-sts", False)]
    )
    def test_a_folder_of_its_own(self, folder: str, *, is_given: bool) -> None:
        """Root gives it what the unit or the configuration has for it, not what the daemon says."""
        path = f"{folder}/policies.db"
        given = Settings(cache=CacheSettings(path=Path(path) if is_given else None))
        seen = with_store(replace(good(), settings=given), path=path, folder=folder)
        mend = one(with_store(seen, is_writable=False), "store", Effect.NONE).mend
        assert mend == (OWN.replace(FOLDER, folder) if is_given else "")

    @pytest.mark.parametrize("fields", [{"unit": None}, {"store": None}])
    def test_without_command(self, fields: dict[str, Any]) -> None:
        """The command is for the unit, whose user is known, and for a store that was seen."""
        denied = with_store(failing("store_writing"), is_writable=False)
        assert one(replace(denied, **fields), "store", Effect.NONE).mend == ""

    def test_folder_of_others(self) -> None:
        """A folder that is not the daemon's own is not given to it."""
        snapshot = with_store(good(), folder="/srv", path="/srv/policies.db", is_writable=False)
        assert one(snapshot, "store", Effect.NONE).mend == ""


class TestAuthorities:
    """The daemon's CA certificates."""

    def test_as_the_daemon_says(self) -> None:
        """The package with those of the system is installed, and the daemon reloaded."""
        finding = one(failing("ca_certificates", "none"), "daemon-ca", Effect.UNPROTECTED)
        assert finding.what.endswith(": none")
        assert finding.mend == f"{INSTALL} && {RELOAD}"

    def test_at_the_next_start(self) -> None:
        """A daemon that is stopped is started with them."""
        snapshot = replace(good(), daemon=STOPPED, ca_problem="none", ca_bundle="")
        assert one(snapshot, "daemon-ca", Effect.UNPROTECTED).mend == f"{INSTALL} && {START}"

    @pytest.mark.parametrize(
        ("bundle", "first"), [("/etc/ssl/certs/ca-certificates.crt", ""), ("", f"{INSTALL} && ")]
    )
    def test_own_file(self, bundle: str, first: str) -> None:
        """In place of a file that cannot be used, the daemon takes those of the system."""
        problem = ConfigProblem("https.ca_file", "no certificate", is_warning=False)
        places = places_of("https:\n  ca_file: /x.pem\n", CONFIG_FILE, {})
        snapshot = replace(good(), settings=None, config_problems=(problem,), places=places)
        finding = one(replace(snapshot, ca_bundle=bundle), "daemon-ca", Effect.UNPROTECTED)
        edit = r"'2s/ca_file: \/x\.pem/ca_file: null/'"
        assert finding.mend == f"{first}sed -i {edit} {CONFIG_FILE} && {RELOAD}"

    def test_own_file_of_a_variable(self) -> None:
        """What a variable sets, no command changes."""
        settings = Settings(https=HttpsSettings(ca_file=Path("/x.pem")))
        snapshot = replace(good(), settings=settings, ca_problem="no certificate")
        assert one(snapshot, "daemon-ca", Effect.UNPROTECTED).mend == ""

    @pytest.mark.parametrize("is_root", [True, False])
    def test_of_this_user(self, is_root: bool) -> None:  # noqa: FBT001 (a parameter of pytest)
        """A file that a plain user may not read may be the daemon's all the same."""
        problem = ConfigProblem("https.ca_file", "/x.pem: Permission denied", is_warning=False)
        snapshot = replace(good(), is_root=is_root, ca_problem="/x.pem: Permission denied")
        assert bool(found(replace(snapshot, config_problems=(problem,)))) == is_root


class TestDns:
    """The daemon's name servers."""

    def test_as_the_daemon_says(self) -> None:
        """The name servers are named, and the file that has them."""
        finding = one(failing("dns"), "daemon-dns", Effect.UNPROTECTED)
        assert "127.0.0.1:53: no name server answers" in finding.what
        assert finding.why.endswith("in /etc/resolv.conf")
        assert finding.mend == ""

    def test_silent(self) -> None:
        """What doctor asks itself counts, too, if no server answers."""
        resolver = Resolver("/etc/resolv.conf", ("a", "b"), silent=("a",))
        assert found(replace(good(), daemon_resolver=resolver)) == []
        resolver = replace(resolver, silent=("b", "a"))
        one(replace(good(), daemon_resolver=resolver), "daemon-dns", Effect.UNPROTECTED)

    def test_own_servers(self) -> None:
        """If those of the system answer, they take the place of those of the configuration."""
        resolver = Resolver("", (SERVER,), silent=(SERVER,))
        places = places_of("dns: {nameservers: [192.0.2.1]}\n", CONFIG_FILE, {})
        settings = Settings(dns=DnsSettings(nameservers=("192.0.2.1",)))
        snapshot = replace(good(), daemon_resolver=resolver, places=places, settings=settings)
        finding = one(snapshot, "daemon-dns", Effect.UNPROTECTED)
        edit = r"'1s/nameservers: \[192\.0\.2\.1]/nameservers: []/'"
        assert finding.mend == f"sed -i {edit} {CONFIG_FILE} && {RELOAD}"
        assert finding.why.endswith("in dns.nameservers")
        both = replace(snapshot, postfix_resolver=resolver)
        assert one(both, "daemon-dns", Effect.UNPROTECTED).mend == ""
