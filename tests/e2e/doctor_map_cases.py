"""Faults of the policy map of Postfix, for the tests of `doctor`."""

from typing import Final

from tests.e2e.doctor_case import (
    CONFIG,
    DROP_IN,
    HELD,
    MAPS,
    QUEUE,
    SOCKET,
    UNIT,
    WARNING,
    Case,
    expect,
    main_cf,
)


def _listener(lines: str) -> str:
    """Commands that give the daemon these listeners in place of its own."""
    return f"""\
sed -i '/^listen:/,/^  -/d' {CONFIG}
printf 'listen:\\n{lines}' >> {CONFIG}
"""


_TCP: Final = "  - socketmap: 127.0.0.1:8461\\n"
_QUEUE_SOCKET: Final = f"  - socketmap: unix:{QUEUE}/run/mta-sts/socketmap.sock\\n"
_MAY_WRITE_QUEUE: Final = f"""\
install -d -o postfix-mta-sts {QUEUE}/run/mta-sts
install -d {DROP_IN}
printf '[Service]\\nReadWritePaths={QUEUE}/run/mta-sts\\n' > {DROP_IN}/queue.conf
systemctl daemon-reload
systemctl restart postfix-mta-sts
postconf -e {MAPS}=socketmap:unix:run/mta-sts/socketmap.sock:$NAME
postfix reload
"""
_NO_QUEUE_SOCKET: Final = f"rm -rf {QUEUE}/run"

CASES: Final = (
    Case(
        "no map",
        f"postconf -X {MAPS}\npostfix reload",
        expect(HELD, "map-missing"),
    ),
    Case(
        "misspelt parameter",
        f"postconf -X {MAPS}\npostconf -e smtp_tls_policy_map=$MAP\npostfix reload",
        expect(HELD, "parameter-unused"),
    ),
    main_cf(
        "map without its name",
        f"{MAPS} = socketmap:inet:127.0.0.1:8461",
        expect(HELD, "map-syntax"),
    ),
    Case(
        "map without its type",
        f"postconf -e {MAPS}=inet:127.0.0.1:8461:$NAME\npostfix reload",
        expect(HELD, "map-type"),
    ),
    Case(
        "wrong port",
        f"postconf -e {MAPS}=socketmap:inet:127.0.0.1:8999:$NAME\npostfix reload",
        expect(HELD, "map-wrong-address"),
    ),
    Case(
        "socket outside of the chroot",
        _listener(f'{_TCP}  - socketmap: unix:/run/postfix-mta-sts/map.sock\\n    mode: "0666"\\n')
        + f"""\
systemctl restart postfix-mta-sts
postconf -e {MAPS}=socketmap:unix:/run/postfix-mta-sts/map.sock:$NAME
postfix reload
""",
        expect(HELD, "map-chroot-path"),
    ),
    Case(
        "socket of another user, and a port",
        _listener(f'{_TCP}{_QUEUE_SOCKET}    mode: "0600"\\n') + _MAY_WRITE_QUEUE,
        expect(HELD, "map-denied"),
        undo=_NO_QUEUE_SOCKET,
    ),
    Case(
        "socket of another user",
        f"systemctl disable --now {SOCKET}\n"
        + _listener(f'{_QUEUE_SOCKET}    mode: "0600"\\n')
        + _MAY_WRITE_QUEUE,
        expect(HELD, "map-denied"),
        undo=f"{_NO_QUEUE_SOCKET}\nsystemctl enable {SOCKET}\nsystemctl stop {UNIT}",
    ),
    Case(
        "socket in a closed folder",
        _listener(f"{_TCP}{_QUEUE_SOCKET}")
        + f"""\
systemctl stop postfix-mta-sts
systemctl start postfix-mta-sts-chroot.socket postfix-mta-sts
chmod 700 {QUEUE}/run/mta-sts
postconf -e {MAPS}=socketmap:unix:run/mta-sts/socketmap.sock:$NAME
postfix reload
""",
        expect(HELD, "map-denied"),
        undo=f"systemctl stop {UNIT} postfix-mta-sts-chroot.socket\n{_NO_QUEUE_SOCKET}",
    ),
    Case(
        "host name that the chroot cannot resolve",
        f"""\
rm {QUEUE}/etc/hosts
postconf -e {MAPS}=socketmap:inet:localhost:8461:$NAME
postfix reload
""",
        expect(HELD, "map-host-unresolvable"),
    ),
    Case(
        "another program",
        f"postconf -e {MAPS}=socketmap:inet:127.0.0.1:25:$NAME\npostfix reload",
        expect(HELD, "map-foreign"),
    ),
    Case(
        "another protocol",
        _listener(f"{_TCP}  - tcp_table: 127.0.0.1:8462\\n")
        + f"""\
systemctl restart postfix-mta-sts
postconf -e {MAPS}=socketmap:inet:127.0.0.1:8462:$NAME
postfix reload
""",
        expect(HELD, "map-wrong-protocol"),
    ),
    Case(
        "map on trial",
        f"printf 'trial:\\n  enabled: true\\n' >> {CONFIG}\nsystemctl restart postfix-mta-sts",
        expect(WARNING, "map-on-trial"),
    ),
    Case(
        "map name of the other version",
        f"postconf -e {MAPS}=socketmap:inet:127.0.0.1:8461:$OTHER\npostfix reload",
        expect(HELD, "map-name-too-new"),
        {"3.10": expect(WARNING, "map-name-plain")},
    ),
    Case(
        "unionmap with a table that answers all",
        f'postconf -e "{MAPS}=unionmap:{{static:may,$MAP}}"\npostfix reload',
        expect(HELD, "map-in-unionmap"),
    ),
    Case(
        "pipemap before the daemon",
        f'postconf -e "{MAPS}=pipemap:{{inline:{{a.test=may}},$MAP}}"\npostfix reload',
        expect(HELD, "map-in-pipemap"),
    ),
    Case(
        "pipemap behind the daemon",
        f'postconf -e "{MAPS}=pipemap:{{$MAP,inline:{{a.test=may}}}}"\npostfix reload',
        expect(HELD, "map-in-pipemap"),
    ),
    Case(
        "another table that is not there",
        f'postconf -e "{MAPS}=texthash:/etc/postfix/nonesuch, $MAP"\npostfix reload',
        expect(HELD, "table-before-fails"),
    ),
    Case(
        "another table that answers all",
        f'postconf -e "{MAPS}=static:may, $MAP"\npostfix reload',
        expect(HELD, "table-before-answers"),
    ),
    Case(
        "another table with a misspelt level",
        f"""\
echo 'broken.test mai' > /etc/postfix/tls_policy
postconf -e "{MAPS}=texthash:/etc/postfix/tls_policy, $MAP"
postfix reload
""",
        expect(HELD, "table-entry-bad"),
    ),
    Case(
        "service without a map",
        f"postconf -P relay/unix/{MAPS}=\npostfix reload",
        expect(HELD, "service-without-map"),
    ),
)
"""One fault each."""
