"""The report of a snapshot."""

from dataclasses import replace

import pytest

from postfix_mta_sts import __version__
from postfix_mta_sts.admin.doctor.judge import RULES, judge
from postfix_mta_sts.admin.doctor.report import Unseen
from postfix_mta_sts.admin.doctor.snapshot import Resolver
from postfix_mta_sts.values import replace as replace_value
from tests.support.snapshots import (
    NOW,
    VERSIONS,
    changed,
    good,
    instance,
    with_parameters,
    with_service,
)

UNSEEN = Unseen("the control socket", "only its user and root may ask")


@pytest.mark.parametrize("version", VERSIONS)
def test_good(version: str) -> None:
    """The setup of README has no finding, on either Debian."""
    report = judge(good(version))
    assert (report.findings, report.unseen, report.exit_code) == ((), (), 0)
    assert report.sentence == "All is well"
    assert (report.version, report.checked_at) == (__version__, NOW)
    assert report.facts


def test_plain_user() -> None:
    """What was not seen is said once, and changes nothing but the sentence."""
    report = judge(replace(good(), is_root=False, unseen=(UNSEEN, UNSEEN)))
    assert (report.findings, report.unseen, report.exit_code) == ((), (UNSEEN,), 0)
    assert report.sentence.endswith("1 thing was not seen (run as root)")


@pytest.mark.parametrize(("is_root", "file"), [(True, ""), (False, "/srv/main.cf")])
def test_root_sees_no_more(file: str, *, is_root: bool) -> None:
    """Neither root nor a user who has only a file is sent to root."""
    seen = replace(good(), is_root=is_root, main_cf_file=file, unseen=(UNSEEN,))
    assert judge(seen).sentence.endswith("1 thing was not seen")


def test_a_command_that_cannot_be_pasted() -> None:
    """A table with a name that no terminal shows as it is keeps its fault, and has no command."""
    seen = with_parameters(good(), smtp_tls_loglevel="0")
    assert [each.mend for each in judge(seen).findings] == [
        "postconf -e 'smtp_tls_loglevel = 1' && postfix reload"
    ]
    (found,) = judge(changed(seen, config_directory="/etc/p\xf6stfix")).findings
    assert (found.id, found.mend) == ("loglevel-0", "")


def test_as_installed() -> None:
    """Debian 13 as it is installed: the worst comes first."""
    seen = with_parameters(good(), smtp_tls_CAfile="", smtp_tls_security_level="")
    report = judge(seen)
    assert [each.id for each in report.findings] == ["ca-none", "level-none"]
    assert report.exit_code == 2
    assert report.sentence == "1 fault holds mail; 1 warning"


def test_effects_are_left_out() -> None:
    """A silent name server explains that the copy in the chroot differs."""
    copy = Resolver("/var/spool/postfix/etc/resolv.conf", ("192.0.2.1:53",), ("192.0.2.1:53",))
    report = judge(replace(good(), postfix_resolver=copy))
    assert [each.id for each in report.findings] == ["resolver-silent"]


def test_one_instance_has_no_name() -> None:
    """The name of an instance is there only if there are several."""
    seen = with_parameters(good(), relayhost="[mx.x.test]")
    assert [each.instance for each in judge(seen).findings] == [""]
    second = instance(folder="/etc/postfix-out", name="out")
    [finding] = judge(replace(seen, instances=(*seen.instances, second))).findings
    assert finding.instance == "-"


def test_several_instances() -> None:
    """The same of both is said once, with the commands of both."""
    first = with_parameters(good(), relayhost="[mx.x.test]").instances[0]
    second = replace_value(first, name="out", config_directory="/etc/postfix-out")
    [finding] = judge(replace(good(), instances=(first, second))).findings
    assert finding.instance == "-, out"
    assert finding.mend == (
        "postconf -e 'relayhost =' && postfix reload && "
        "postconf -c /etc/postfix-out -e 'relayhost =' && postfix -c /etc/postfix-out reload"
    )


def test_services() -> None:
    """A finding of one service names it."""
    [finding] = judge(with_service(good(), "relay/unix", smtp_tls_CAfile="")).findings
    assert finding.services == ("relay/unix",)


def test_nothing_there() -> None:
    """A machine without Postfix, and one whose main.cf cannot be read, raise no error."""
    assert judge(replace(good(), instances=())).facts
    broken = changed(good(), parameters={}, services=(), tables=(), authorities=None, problem="x")
    assert judge(broken).facts


def test_rules() -> None:
    """Each rule is there once."""
    assert len(RULES) == len(set(RULES))
