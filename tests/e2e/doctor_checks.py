"""What `doctor` must say and do on a machine, whatever its version of Postfix.

`test_doctor_37.py` and `test_doctor_310.py` run these: a file stays in one worker, and each takes
minutes.
"""

from collections.abc import Callable
from typing import Final

from tests.e2e.doctor_case import CONFIG, PROGRAM, UNIT, Case
from tests.e2e.doctor_stage import Examined, Stage, eventually

_STATE: Final = "/var/lib/postfix-mta-sts"
_PLACES: Final = f"/etc /opt /root /usr/local /var/spool/postfix {_STATE}"
_LIST_FILES: Final = f"""\
find {_PLACES} -printf '%p %M %U %G %l %T@\\n' | sort
find {_PLACES} -type f -exec sha256sum {{}} + | sort
"""
# Two folders stay writable, which systemd gives to the daemon: doctor says if they are not.
_READ_ONLY: Final = f"""\
for place in {_STATE} /run/postfix-mta-sts; do mount --bind $place $place; done
while read -r _ place _; do
    case $place in
        {_STATE} | /run/postfix-mta-sts) ;;
        *) mount -o remount,bind,ro $place ;;
    esac
done < /proc/self/mounts
for place in / /etc /run /tmp /dev /var/spool/postfix; do
    if touch $place/written 2> /dev/null; then exit 99; fi
done
"""
_FAULTS: Final = """\
postconf -e smtp_tls_loglevel=0 smtp_tls_policy_maps=socketmap:inet:127.0.0.1:8999:$NAME
postfix reload
"""


def check_good(stage: Stage) -> None:
    """Nothing is wrong, all is seen, and mail is verified."""
    found = stage.doctor()
    assert (found.code, found.findings, found.unseen) == (0, [], set())
    stage.deliver()


def check_plain_user(stage: Stage) -> None:
    """Another user than root finds nothing wrong, and is told what was not seen."""
    found = stage.doctor(user="nobody")
    assert (found.code, found.findings) == (0, [])
    as_postfix = "what Postfix is answered as its own user, and in its chroot"
    assert {"the status of the daemon", as_postfix} <= found.unseen


def check_case(stage: Stage, case: Case) -> None:
    """It names this fault alone; its commands mend it, and then mail is verified."""
    with stage.put_back(case.undo):
        stage.shell(case.broken_by)
        found = stage.doctor()
        expected = case.expected_on(stage.version)
        assert (found.code, found.ids) == (expected.code, expected.ids), found.report
        assert {each["instance"] for each in found.findings} == {case.instance}
        _mend(stage, found)
        stage.deliver(case.sendmail)


def check_doubtful(stage: Stage) -> None:
    """What the daemon warns of in its configuration is named; only its author can mend that."""
    with stage.put_back():
        lapsed = "exceptions: {gone.test: {use: ignore, until: 2020-01-01, reason: old}}"
        stage.shell(f"echo '{lapsed}' >> {CONFIG}\nsystemctl restart {UNIT}")
        found = stage.doctor()
        assert (found.code, found.ids) == (1, frozenset({"config-doubtful"})), found.report
        assert "gone.test" in found.findings[0]["what"]


def check_clock(stage: Stage) -> None:
    """A clock that is behind the installation is named; it stays, as it is that of the host."""
    with stage.put_back(f"touch {PROGRAM}"):
        stage.shell(f"touch --date='3 days' {PROGRAM}")
        found = stage.doctor()
        assert (found.code, found.ids) == (2, frozenset({"clock"})), found.report
        assert found.findings[0]["mend"] == "timedatectl set-ntp true"


def check_not_validating(stage: Stage) -> None:
    """With the level dane, name servers that validate nothing are named; others mend it."""
    with stage.put_back(f"systemctl restart {UNIT}"):
        stage.shell(
            "postconf -e smtp_tls_security_level=dane smtp_dns_support_level=dnssec\npostfix reload"
        )
        stage.world.sign([], unsigned=["."])
        try:
            stage.shell(f"systemctl restart {UNIT}")
            found = stage.doctor()
            assert (found.code, found.ids) == (1, frozenset({"resolver-not-validating"})), (
                found.report
            )
            assert "apt-get install -y unbound" in found.findings[0]["mend"]
        finally:
            stage.world.sign(["."])
        stage.shell(f"systemctl restart {UNIT}")
        assert stage.doctor().findings == []


def check_fleet(stage: Stage) -> None:
    """A store of the fleet that is not there is named; only its operator can mend that."""
    with stage.put_back():
        fleet = "fleet: {url: 'valkey://127.0.0.1:6399', unsigned: true}"
        stage.shell(f'echo "{fleet}" >> {CONFIG}\nsystemctl restart {UNIT}')
        eventually(lambda: stage.doctor().ids)
        found = stage.doctor()
        assert (found.code, found.ids) == (1, frozenset({"fleet"})), found.report
        stage.deliver()


def check_outward(stage: Stage) -> None:
    """Other machines that are not reached are named, and no command can mend that."""
    domain = stage.world.fresh("outward")
    stage.world.policy(domain, "enforce")
    stage.world.mail_host(domain, "good")
    assert stage.doctor("--outward", domain).code == 0
    with stage.world.without("policy host"):
        _outward(stage, domain, "https-blocked")
    stage.world.mail_host(domain, "no STARTTLS")
    _outward(stage, domain, "starttls-stripped")
    stage.world.records({f"mx.{domain} A": ["127.0.0.99"]})
    _outward(stage, domain, "smtp-blocked")
    stage.world.mail_host(domain, "good")
    assert stage.doctor("--outward", domain).code == 0


def check_writes_nothing(stage: Stage) -> None:
    """No file is changed, made or removed; the daemon is stopped, which may write at any time."""
    with stage.put_back():
        stage.shell("systemctl stop $UNITS")
        before = stage.shell(_LIST_FILES)
        assert stage.doctor().ids == {"daemon-stopped"}
        assert stage.shell(_LIST_FILES) == before


def check_read_only(stage: Stage) -> None:
    """Where nothing can be written it says the same, of a good machine and of another one."""
    assert stage.doctor(alone=_READ_ONLY).findings == []
    with stage.put_back():
        stage.shell(_FAULTS)
        found = stage.doctor(alone=_READ_ONLY)
        assert found.ids == {"map-wrong-address", "loglevel-0"}
        assert found.findings == stage.doctor().findings


def _mend(stage: Stage, found: Examined) -> None:
    """Run the command of the most urgent finding, until nothing is wrong."""
    for _ in found.findings:
        stage.mend(found.findings[0]["mend"])
        found = stage.doctor()
        if not found.code:
            break
    assert (found.code, found.findings) == (0, [])


def _outward(stage: Stage, domain: str, id_: str) -> None:
    found = stage.doctor("--outward", domain)
    assert (found.code, found.ids) == (2, frozenset({id_})), found.report
    assert [each["mend"] for each in found.findings] == [""]


CHECKS: Final[dict[str, Callable[[Stage], None]]] = {
    "doubtful": check_doubtful,
    "clock": check_clock,
    "not-validating": check_not_validating,
    "fleet": check_fleet,
    "outward": check_outward,
    "writes-nothing": check_writes_nothing,
    "read-only": check_read_only,
}
"""By name, those that have no `Case`, because nothing is broken or no command mends it."""
