"""Reports of `doctor`, as values: for the texts that people see, and for the exit codes."""

from typing import Final

from postfix_mta_sts.admin.doctor.report import (
    HARM,
    WARNINGS,
    WELL,
    Effect,
    Fact,
    Finding,
    Report,
    Unseen,
)

NOW: Final = 1_800_000_000.0
MAP: Final = "socketmap:inet:127.0.0.1:8461:QUERYwithTLSRPT"
SET_MAP: Final = f"postconf -e 'smtp_tls_policy_maps = {MAP}' && postfix reload"
AS_ROOT: Final = "run doctor as root"

_FACTS: Final = (
    Fact("daemon", "answers, version 0.1.0, pid 512"),
    Fact("configuration", "defaults, no file"),
    Fact("listeners", "socketmap 127.0.0.1:8461"),
    Fact("Postfix", "3.10.13, /etc/postfix"),
    Fact("services", "smtp/unix (chroot), relay/unix (chroot), lmtp/unix (chroot)"),
    Fact("policy map", MAP),
    Fact("TLS level", "may"),
    Fact("CA certificates", "/etc/ssl/certs/ca-certificates.crt"),
    Fact("DANE", "off: smtp_dns_support_level is not set in Postfix"),
    Fact("name servers", "127.0.0.1:53, by /etc/resolv.conf"),
    Fact("name servers of smtp(8)", "127.0.0.1:53, by /var/spool/postfix/etc/resolv.conf"),
    Fact("waiting mail", "none because of a policy"),
)
_WRONG_ADDRESS: Final = Finding(
    "map-wrong-address",
    Effect.HELD,
    "smtp_tls_policy_maps asks 127.0.0.1:8999, and nothing listens there; the daemon listens on "
    "127.0.0.1:8461",
    "Postfix holds all mail until the look-up succeeds",
    SET_MAP,
)
_LOG_LEVEL: Final = Finding(
    "loglevel-0",
    Effect.NONE,
    "smtp_tls_loglevel is 0",
    "The mail log does not say whether a TLS connection was verified",
    "postconf -e 'smtp_tls_loglevel = 1' && postfix reload",
)
_RELAY: Final = Finding(
    "service-without-map",
    Effect.UNPROTECTED,
    "relay/unix has an own smtp_tls_policy_maps, and does not ask the daemon",
    "Mail that it sends follows no policy",
    "postconf -PX relay/unix/smtp_tls_policy_maps && postfix reload",
    services=("relay/unix",),
)


def _report(
    code: int, sentence: str, *findings: Finding, unseen: tuple[Unseen, ...] = ()
) -> Report:
    return Report("0.1.0", NOW, code, sentence, findings, unseen, _FACTS)


REPORTS: Final = {
    "well": _report(WELL, "All is well"),
    "held": _report(HARM, "1 fault holds mail; 1 warning", _WRONG_ADDRESS, _LOG_LEVEL),
    "unprotected": _report(HARM, "1 fault leaves mail unprotected", _RELAY),
    "warning": _report(WARNINGS, "1 warning", _LOG_LEVEL),
    "plain-user": _report(
        WELL,
        "Nothing is wrong in what could be seen; 3 things were not seen (run as root)",
        unseen=(
            Unseen(
                "the status of the daemon",
                "/run/postfix-mta-sts/control.sock: permission denied; "
                "/run/postfix-mta-sts/control.sock belongs to user postfix-mta-sts, group "
                "postfix-mta-sts, mode 0600; run this as root or that user",
            ),
            Unseen(
                "what Postfix is answered as its own user, and in its chroot",
                f"only root may become another user; {AS_ROOT}",
            ),
            Unseen("the store", f"/var/lib/postfix-mta-sts: Permission denied; {AS_ROOT}"),
        ),
    ),
    "one-command": _report(
        HARM,
        "2 faults hold mail",
        Finding(
            "map-denied",
            Effect.HELD,
            "/var/spool/postfix/run/mta-sts has mode 0700: user postfix may not enter it",
            "Postfix holds all mail; a check by root succeeds all the same",
            "chmod o+x /var/spool/postfix/run/mta-sts",
            "postfix-out",
            ("smtp/unix", "relay/unix"),
        ),
        Finding(
            "map-denied",
            Effect.HELD,
            "/var/spool/postfix/run/mta-sts has mode 0700: user postfix may not enter it",
            "Postfix holds all mail; a check by root succeeds all the same",
            "chmod o+x /var/spool/postfix/run/mta-sts",
            "postfix-in",
        ),
    ),
    "no-command": _report(
        HARM,
        "2 faults hold mail",
        Finding(
            "smtp-blocked",
            Effect.HELD,
            "no MX host of example.com can be reached on port 25: 192.0.2.25: Connection timed out",
            "Mail cannot leave this machine; open port 25 outward in the firewall, or ask the "
            "provider of the machine to",
            "",
        ),
        _WRONG_ADDRESS,
    ),
}
"""By name, one for each form that a report may have."""
