"""A main.cf of another machine, or what postconf printed there → an instance."""

from pathlib import Path

import pytest

from postfix_mta_sts.postfix.authorities import EMPTY, Authorities
from postfix_mta_sts.postfix.installed.elsewhere import DEFAULTS, instance_of

TEXT = """\
# made by hand
smtp_tls_security_level = may
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_tls_policy_maps = texthash:/etc/postfix/own,
    socketmap:inet:mta-sts:8461:postfix
"""


def test_main_cf() -> None:
    """What the file says, with the defaults of Postfix for the rest."""
    instance, unseen = instance_of(TEXT)
    assert (instance.name, instance.config_directory, unseen) == ("-", "/etc/postfix", {})
    (service,) = instance.services
    assert (service.name, service.command, service.overrides) == ("smtp/unix", "smtp", {})
    assert service.main_cf.smtp_tls_security_level == "may"
    assert service.main_cf.version == ()
    assert instance.parameters["smtp_tls_policy_maps"] == (
        "texthash:/etc/postfix/own, socketmap:inet:mta-sts:8461:postfix"
    )
    assert instance.parameters["smtp_tls_loglevel"] == "0"
    assert instance.authorities == Authorities(Path("/etc/ssl/certs/ca-certificates.crt"))
    assert (instance.is_running, instance.problem, instance.tables) == (None, "", ())


def test_output_of_postconf() -> None:
    """It has the version, and other values in the place of defaults."""
    text = "mail_version = 3.7.11\nconfig_directory = /opt/postfix\nsmtp_tls_loglevel = 1\n"
    instance, _ = instance_of(text)
    assert instance.version == (3, 7, 11)
    assert instance.config_directory == "/opt/postfix"
    assert instance.parameters == {
        **DEFAULTS,
        "mail_version": "3.7.11",
        "config_directory": "/opt/postfix",
        "smtp_tls_loglevel": "1",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Authorities(problem=EMPTY)),
        ("smtp_tls_CApath = /etc/ssl/certs\n", Authorities(None, Path("/etc/ssl/certs"))),
        (
            "smtp_tls_CAfile = /a\ntls_append_default_CA = yes\n",
            Authorities(Path("/a"), append_default=True),
        ),
    ],
)
def test_authorities(text: str, expected: Authorities) -> None:
    """No file is opened: it is on the other machine."""
    assert instance_of(text)[0].authorities == expected


def test_what_cannot_be_known() -> None:
    """A condition is named."""
    _, unseen = instance_of("relayhost = ${x?a}\n")
    assert list(unseen) == ["relayhost"]


def test_a_file_with_an_error() -> None:
    """Then the rest is empty."""
    instance, _ = instance_of("relayhost = a\nnonsense\n")
    assert instance.problem.startswith("line 2: ")
    assert (instance.parameters, instance.services) == ({}, ())


def test_control_characters() -> None:
    """No value can move the cursor."""
    instance, _ = instance_of("relayhost = a\x1b[2J\n")
    assert instance.parameters["relayhost"] == r"a\x1b[2J"
