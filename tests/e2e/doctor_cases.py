"""What can be wrong with a machine, how to make it so, and what `doctor` must then say."""

import os
from collections.abc import Sequence
from typing import Final

from postfix_mta_sts import __version__
from tests.e2e import doctor_map_cases
from tests.e2e.doctor_case import (
    CONFIG,
    DROP_IN,
    HELD,
    PROGRAM,
    QUEUE,
    SOCKET,
    UNIT,
    WARNING,
    Case,
    expect,
    main_cf,
)
from tests.e2e.turn import turn

_STATE: Final = "/var/lib/postfix-mta-sts"
_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_SECOND: Final = "/etc/postfix-second"
_DANE_AGAIN: Final = f"systemctl stop {UNIT}"
"""The daemon looks at its start whether Postfix does DANE."""

_POSTFIX: Final = (
    Case(
        "no CA certificates",
        "postconf -X smtp_tls_CAfile smtp_tls_CApath\npostfix reload",
        expect(HELD, "ca-none"),
    ),
    main_cf(
        "CA file that is not there",
        "smtp_tls_CAfile = /etc/ssl/nonesuch.pem",
        expect(HELD, "ca-file-missing"),
    ),
    Case(
        "empty CA file",
        """\
: > /etc/postfix/empty.pem
postconf -e smtp_tls_CAfile=/etc/postfix/empty.pem
postfix reload
""",
        expect(HELD, "ca-file-empty"),
    ),
    Case(
        "CA folder outside of the chroot",
        f"""\
postconf -X smtp_tls_CAfile
postconf -e smtp_tls_CApath=/etc/ssl/certs
rm -rf {QUEUE}/etc/ssl
postfix reload
""",
        expect(HELD, "ca-path-in-chroot"),
    ),
    main_cf("no TLS level", "smtp_tls_security_level =", expect(WARNING, "level-none")),
    main_cf(
        "level that most domains lack",
        "smtp_tls_security_level = encrypt",
        expect(WARNING, "level-strict"),
    ),
    Case(
        "service without TLS",
        "postconf -P relay/unix/smtp_tls_security_level=none\npostfix reload",
        expect(HELD, "service-level"),
    ),
    Case(
        "option of a service with spaces",
        """\
sed -i 's/^smtp .* unix .*/&\\n  -o smtp_tls_security_level = may/' /etc/postfix/master.cf
postfix reload
""",
        expect(HELD, "service-option"),
    ),
    Case(
        "level dane without DNSSEC",
        """\
postconf -e smtp_tls_security_level=dane smtp_dns_support_level=enabled
postfix reload
""",
        expect(HELD, "dane-without-dnssec"),
        undo=_DANE_AGAIN,
    ),
    Case(
        "DANE in the daemon only",
        f"sed -i 's/  mode: auto/  mode: on/' {CONFIG}\nsystemctl restart postfix-mta-sts",
        expect(HELD, "dane-daemon-only"),
        undo=_DANE_AGAIN,
    ),
    Case(
        "DANE in Postfix only",
        f"""\
sed -i 's/  mode: auto/  mode: off/' {CONFIG}
systemctl restart postfix-mta-sts
postconf -e smtp_tls_security_level=dane smtp_dns_support_level=dnssec
postfix reload
""",
        expect(HELD, "dane-postfix-only"),
        undo=_DANE_AGAIN,
    ),
    Case(
        "name server that does not answer",
        f"echo nameserver 127.0.0.99 > {QUEUE}/etc/resolv.conf\npostfix reload",
        expect(HELD, "resolver-silent"),
    ),
    Case(
        "other name servers in the chroot",
        f"echo nameserver 127.0.0.54 > {QUEUE}/etc/resolv.conf\npostfix reload",
        expect(WARNING, "resolv-conf-differs"),
    ),
    main_cf(
        "TLS sessions in a table of a type that is not there",
        "smtp_tls_session_cache_database = sdbm:/var/lib/postfix/smtp_scache",
        expect(WARNING, "session-cache-type"),
    ),
    Case(
        "TLS sessions for a month",
        """\
postconf -e 'smtp_tls_session_cache_database=btree:${data_directory}/smtp_scache'
postconf -e smtp_tls_session_cache_timeout=30d
postfix reload
""",
        expect(WARNING, "session-cache-long"),
    ),
    main_cf("log level 0", "smtp_tls_loglevel = 0", expect(WARNING, "loglevel-0")),
    Case(
        "TLS reports without a collector",
        "postconf -e smtp_tlsrpt_enable=yes\npostfix reload",
        expect(WARNING, "tlsrpt-socket"),
        {"3.7": expect(WARNING, "parameter-unused")},
    ),
)
"""TLS, DNS and other settings of Postfix."""

_ROUTES: Final = (
    main_cf(
        "smarthosts by sender",
        "sender_dependent_relayhost_maps = static:[127.0.0.11]",
        expect(WARNING, "sender-relayhost"),
    ),
    main_cf("smarthost", "relayhost = [127.0.0.11]", expect(WARNING, "relayhost")),
    main_cf(
        "transport of all domains",
        "transport_maps = inline:{ {*=smtp:[127.0.0.11]} }",
        expect(WARNING, "transport-catch-all"),
    ),
    main_cf(
        "default transport to one host",
        "default_transport = smtp:[127.0.0.11]",
        expect(WARNING, "default-transport"),
    ),
)
"""Ways past the policies of recipients."""

_DAEMON: Final = (
    Case(
        "stopped",
        f"systemctl stop {SOCKET} {UNIT}",
        expect(HELD, "daemon-stopped"),
    ),
    Case(
        "hanging",
        f"systemctl kill --kill-whom=main --signal=STOP {UNIT}",
        expect(HELD, "daemon-hangs"),
        undo=f"systemctl kill --kill-whom=main --signal=CONT {UNIT}",
    ),
    Case(
        "network process that hangs",
        f"""\
daemon=$(systemctl show --property=MainPID --value {UNIT})
kill -s STOP $(cat /proc/$daemon/task/*/children)
sleep 7
""",
        expect(HELD, "network-process"),
        undo=f"systemctl restart {UNIT}",
    ),
    Case(
        "not started at boot",
        f"systemctl disable {SOCKET} {UNIT}",
        expect(WARNING, "unit-disabled"),
    ),
    Case(
        "option --workers",
        f"""\
install -d {DROP_IN}
printf '[Service]\\nExecStart=\\nExecStart=postfix-mta-sts serve --workers 4\\n' \\
    > {DROP_IN}/workers.conf
systemctl daemon-reload
systemctl restart postfix-mta-sts
""",
        expect(WARNING, "workers"),
    ),
    Case(
        "unknown key in the configuration",
        f"echo 'colour: red' >> {CONFIG}",
        expect(HELD, "config-invalid"),
    ),
    Case(
        "misspelt key in the configuration",
        f"sed -i 's/  timeout: 2s/  timout: 2s/' {CONFIG}",
        expect(HELD, "config-invalid"),
    ),
    Case(
        "name server of the daemon that does not answer",
        f"""\
sed -i 's/^dns:/&\\n  nameservers: [127.0.0.99]/' {CONFIG}
systemctl restart postfix-mta-sts
""",
        expect(HELD, "daemon-dns"),
    ),
    Case(
        "no control socket",
        "rm /run/postfix-mta-sts/control.sock",
        expect(WARNING, "control-missing"),
        undo=f"systemctl stop {UNIT}",
    ),
    Case(
        "configuration that is not loaded",
        f"sed -i 's/  timeout: 2s/  timeout: 3s/' {CONFIG}",
        expect(WARNING, "config-not-loaded"),
    ),
    Case(
        "store of another user",
        f"chown root {_STATE}",
        expect(WARNING, "store"),
        undo=f"chown postfix-mta-sts {_STATE}",
    ),
    Case(
        "empty CA file of the daemon",
        f"""\
cp {_BUNDLE} /etc/postfix-mta-sts-ca.pem
echo '  ca_file: /etc/postfix-mta-sts-ca.pem' >> {CONFIG}
systemctl restart postfix-mta-sts
: > /etc/postfix-mta-sts-ca.pem
""",
        expect(HELD, "daemon-ca"),
        undo="rm /etc/postfix-mta-sts-ca.pem",
    ),
    Case(
        "main.cf that cannot be read",
        "echo nonsense >> /etc/postfix/main.cf",
        expect(HELD, "main-cf-broken"),
    ),
    Case(
        "Postfix that is stopped",
        "systemctl stop postfix",
        expect(HELD, "postfix-stopped"),
        undo="systemctl restart postfix",
    ),
    Case(
        "second instance of Postfix without a map",
        f"""\
postmulti -e init
postmulti -I postfix-second -e create
postconf -c {_SECOND} -e inet_interfaces=127.0.0.1 smtp_tls_security_level=may \\
    smtp_tls_CAfile={_BUNDLE} smtp_tls_loglevel=1 authorized_submit_users=root
cp -a /var/spool/postfix/etc /var/spool/postfix-second
postmulti -i postfix-second -e enable
postmulti -i postfix-second -p start
""",
        expect(HELD, "map-missing"),
        undo="""\
postmulti -i postfix-second -p stop
rm -rf /var/spool/postfix-second/etc
postmulti -i postfix-second -e disable
postmulti -i postfix-second -e destroy
""",
        instance="postfix-second",
        sendmail=f"env MAIL_CONFIG={_SECOND} sendmail",
    ),
    Case(
        "older daemon than the program on disk",
        f"""sed -i 's/^__version__ = .*/__version__ = "99.0"/' {PROGRAM}""",
        expect(WARNING, "daemon-version"),
        undo=f"""\
sed -i 's/^__version__ = .*/__version__ = "{__version__}"/' {PROGRAM}
systemctl restart {UNIT}
""",
    ),
)
"""The daemon, and more than one Postfix."""

CASES: Final = (*doctor_map_cases.CASES, *_POSTFIX, *_ROUTES, *_DAEMON)


def chosen() -> Sequence[Case]:
    """Return all of them if DOCTOR is `all`; else a quarter, by the hash of the commit."""
    return CASES if os.environ.get("DOCTOR") == "all" else CASES[turn() % 4 :: 4]
