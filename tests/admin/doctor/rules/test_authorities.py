"""The CA certificates that smtp(8) trusts."""

from dataclasses import replace
from pathlib import Path

import pytest

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.admin.doctor.rules.authorities import RULES
from postfix_mta_sts.admin.doctor.snapshot import Snapshot
from postfix_mta_sts.postfix.authorities import EMPTY, NO_CERTIFICATES, Authorities
from postfix_mta_sts.values import replace as replace_value
from tests.support.judged import found, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    with_parameters,
    with_service,
    without_chroot,
)
from tests.support.stock_postfix import BUNDLE

SET = f"postconf -e 'smtp_tls_CAfile = {BUNDLE}' && postfix reload"
BAD = Path("/etc/ssl/bad.pem")
FOLDER = Path("/var/spool/postfix/etc/ssl/certs")
MISSING = Authorities(
    BAD, is_loadable=False, problem=f"smtp_tls_CAfile {BAD}: No such file or directory"
)
DENIED = Authorities(BAD, is_loadable=False, problem=f"smtp_tls_CAfile {BAD}: Permission denied")
NO_FOLDER = Authorities(
    ca_path=FOLDER, problem=f"smtp_tls_CApath {FOLDER}: No such file or directory"
)


def without_cas() -> Snapshot:
    """A Debian 13 as it is installed."""
    seen = with_parameters(good(), smtp_tls_CAfile="", smtp_tls_CApath="")
    return changed(seen, authorities=Authorities(problem=EMPTY))


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """A bundle that can be read is fine, with a folder beside it or not."""
    assert not found(RULES, good(version))


def test_none() -> None:
    """Without both parameters every policy defers mail, and the system's bundle ends that."""
    finding = only(RULES, without_cas())
    assert (finding.id, finding.effect, finding.services) == ("ca-none", Effect.HELD, ())
    assert finding.mend == SET


def test_none_for_a_service() -> None:
    """A service whose own option empties the parameter is named, and loses the option."""
    finding = only(RULES, with_service(good(), "relay/unix", smtp_tls_CAfile=""))
    assert (finding.id, finding.services) == ("ca-none", ("relay/unix",))
    assert finding.mend == "postconf -PX relay/unix/smtp_tls_CAfile && postfix reload"


def test_none_for_a_service_and_in_main_cf() -> None:
    """An option that hides what main.cf will have goes, too."""
    finding = only(RULES, with_service(without_cas(), "relay/unix", smtp_tls_CAfile=""))
    assert finding.services == ()
    assert finding.mend == f"postconf -PX relay/unix/smtp_tls_CAfile && {SET}"


def test_lmtp_has_its_own() -> None:
    """What lmtp(8) trusts is another parameter, and protects no mail to other domains."""
    assert not found(RULES, with_service(good(), "lmtp/unix", smtp_tls_CAfile=""))


def test_no_bundle_on_this_system() -> None:
    """Where there is no bundle, the package that has it is installed first."""
    finding = only(RULES, replace(without_cas(), ca_bundle=""))
    assert "apt-get install -y ca-certificates" in finding.mend
    assert finding.mend.endswith(f"update-ca-certificates --fresh && {SET}")


def test_file_missing() -> None:
    """A file that cannot be read turns TLS off, which also exposes mail without a policy."""
    finding = only(RULES, changed(good(), authorities=MISSING))
    assert (finding.id, finding.effect) == ("ca-file-missing", Effect.HELD)
    assert finding.what == MISSING.problem
    assert "plain text" in finding.why
    assert finding.mend == SET


def test_file_empty() -> None:
    """The same for a file without a certificate."""
    problem = f"smtp_tls_CAfile {BAD} {NO_CERTIFICATES}"
    seen = changed(good(), authorities=Authorities(BAD, is_loadable=False, problem=problem))
    finding = only(RULES, seen)
    assert (finding.id, finding.mend) == ("ca-file-empty", SET)


def test_the_bundle_itself_is_empty() -> None:
    """A bundle that is the bad file is made again."""
    problem = f"smtp_tls_CAfile {BUNDLE} {NO_CERTIFICATES}"
    bad = Authorities(Path(BUNDLE), is_loadable=False, problem=problem)
    finding = only(RULES, changed(good(), authorities=bad))
    assert "update-ca-certificates --fresh && postconf" in finding.mend


def test_a_file_of_root() -> None:
    """A plain user who may not read the file says nothing of smtp(8), which starts as root."""
    seen = changed(good(), authorities=DENIED)
    assert only(RULES, seen).id == "ca-file-missing"
    assert not found(RULES, replace(seen, is_root=False))


def test_folder_in_chroot() -> None:
    """A folder is searched inside the chroot, and the finding says so."""
    finding = only(RULES, changed(good(), authorities=NO_FOLDER))
    assert (finding.id, finding.effect) == ("ca-path-in-chroot", Effect.HELD)
    assert "inside its chroot" in finding.what
    assert finding.mend == SET


def test_folder_without_chroot() -> None:
    """Without a chroot the problem of the folder stands alone."""
    finding = only(RULES, without_chroot(changed(good(), authorities=NO_FOLDER)))
    assert finding.what == NO_FOLDER.problem


def test_not_looked_at() -> None:
    """With `--main-cf` there are no files to look at, and the parameters still count."""
    assert not found(RULES, changed(good(), authorities=None))
    assert only(RULES, changed(without_cas(), authorities=None)).id == "ca-none"


def test_file_of_a_service() -> None:
    """A service with a file of its own is named, and takes that of main.cf."""
    seen = with_service(good(), "relay/unix", smtp_tls_CAfile=str(BAD))
    services = tuple(
        replace_value(each, authorities=MISSING if each.overrides.get("smtp_tls_CAfile") else None)
        for each in seen.instances[0].services
    )
    finding = only(RULES, changed(seen, services=services))
    assert (finding.id, finding.services) == ("ca-file-missing", ("relay/unix",))
    assert finding.mend == "postconf -PX relay/unix/smtp_tls_CAfile && postfix reload"
