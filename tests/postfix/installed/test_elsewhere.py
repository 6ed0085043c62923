"""A main.cf of another machine, or what postconf printed there → an instance."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.postfix.authorities import EMPTY, Authorities
from postfix_mta_sts.postfix.installed.elsewhere import DEFAULTS, instance_of
from postfix_mta_sts.postfix.installed.main_cf_file import TOTAL_LIMIT
from postfix_mta_sts.postfix.installed.master_cf_file import UNSEEN_LIMIT

TEXT = """\
# made by hand
smtp_tls_security_level = may
smtp_tls_CAfile = /etc/ssl/certs/ca-certificates.crt
smtp_tls_policy_maps = texthash:/etc/postfix/own,
    socketmap:inet:mta-sts:8461:postfix
"""


def test_main_cf() -> None:
    """What the file says, with the defaults of Postfix for the rest."""
    instance, unseen, _ = instance_of(TEXT)
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
    instance, *_ = instance_of(text)
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
    _, unseen, _ = instance_of("relayhost = ${x?a}\n")
    assert list(unseen) == ["relayhost"]


def test_a_file_with_an_error() -> None:
    """Then the rest is empty."""
    instance, *_ = instance_of("relayhost = a\nnonsense\n")
    assert instance.problem.startswith("line 2: ")
    assert (instance.parameters, instance.services) == ({}, ())


def test_control_characters() -> None:
    """No value can move the cursor."""
    instance, *_ = instance_of("relayhost = a\x1b[2J\n")
    assert instance.parameters["relayhost"] == r"a\x1b[2J"


class TestMasterCf:
    """The master.cf beside it."""

    TEXT = """\
# service type private unpriv chroot wakeup maxproc command
smtp      inet  n       -       y       -       -       smtpd
relay     unix  -       -       y       -       -       smtp
    -o syslog_name=${multi_instance_name?{$multi_instance_name}:{postfix}}/$service_name
    -o smtp_tls_policy_maps= -o { smtp_helo_name = $service_name.$myhostname }
#   -o smtp_helo_timeout=5
plain     unix  -       -       -       -       -       smtp -v -osmtp_tls_CAfile=
lmtp      unix  -       -       n       -       -       lmtp -o lmtp_tls_policy_maps=hash:/a
cleanup   unix  n       -       y       -       0       cleanup
"""

    def test_services(self) -> None:
        """Its services, with chroot and options; comments and other services are left out."""
        instance, unseen, missed = instance_of(f"{TEXT}myhostname = a.test\n", self.TEXT)
        assert unseen == {}
        assert missed == {}  # no rule looks at syslog_name
        relay, plain, lmtp = instance.services
        assert (relay.name, relay.command, relay.is_chrooted) == ("relay/unix", "smtp", True)
        assert relay.main_cf.smtp_tls_policy_maps == ""
        assert relay.main_cf.smtp_helo_name == "relay.a.test"
        assert relay.overrides.keys() == {"syslog_name", "smtp_tls_policy_maps", "smtp_helo_name"}
        assert (plain.name, plain.is_chrooted) == ("plain/unix", True)
        assert plain.authorities == Authorities(problem=EMPTY)
        assert plain.main_cf.smtp_tls_policy_maps.endswith(":postfix")
        assert (lmtp.command, lmtp.is_chrooted) == ("lmtp", False)
        assert lmtp.main_cf.smtp_tls_policy_maps == "hash:/a"
        assert instance.authorities == relay.authorities
        assert plain.written == "smtp -v -osmtp_tls_CAfile="

    def test_options_end(self) -> None:
        """As in getopt(3), no option follows the first word that is none; flags may precede one."""
        text = "a unix - - n - - smtp -vo smtp_helo_name=b.test x -o smtp_helo_name=c.test\n"
        instance, *_ = instance_of("", text)
        assert instance.services[0].overrides == {"smtp_helo_name": "b.test"}

    @pytest.mark.parametrize(("level", "is_chrooted"), [("", True), ("0", True), ("3.6", False)])
    def test_default_of_chroot(self, level: str, *, is_chrooted: bool) -> None:
        """`-` depends on compatibility_level, which is 0 if main.cf has none (master(5))."""
        text = f"compatibility_level = {level}\n" if level else ""
        instance, *_ = instance_of(text, "a unix - - - - - smtp\n")
        assert [each.is_chrooted for each in instance.services] == [is_chrooted]

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("a unix - - Y - - smtpd", "chroot is Y, which is neither y, n nor -"),
            ("a unix - - y\x07 - - smtp", r"chroot is y\x07, which is neither y, n nor -"),
            ("a inet yes - n - - smtpd", "private is yes, which is neither y, n nor -"),
            ("a unix n {y} n - - lmtp", "unprivileged is {y}, which is neither y, n nor -"),
        ],
    )
    def test_a_column_that_postfix_refuses(self, line: str, problem: str) -> None:
        """No program of Postfix starts then, and the rest is empty."""
        instance, *_ = instance_of("", f"# comment\nb unix - - n - - smtp\n{line}\n")
        assert instance.problem == f"master.cf, line 3: {problem}"
        assert (instance.services, instance.parameters) == ((), {})
        both, *_ = instance_of("nonsense\n", f"{line}\n")
        assert both.problem.startswith("line 1: not of the form")

    def test_unknown(self) -> None:
        """An option that refers to what nobody knows, and a line that is none, are named."""
        text = "a unix - - n - - smtp -o smtp_helo_name=$nobody\nb unix - - n\x07\n"
        instance, _, missed = instance_of("", text)
        assert [each.name for each in instance.services] == ["a/unix"]
        assert missed == {
            "smtp_helo_name of a/unix": "$nobody is not in the file",
            "line 2": r"it has fewer than 8 words: b unix - - n\x07",
        }

    def test_unknown_parameters(self) -> None:
        """Each service has its own: an option hides main.cf, and lmtp(8) has other parameters."""
        main_cf = "smtp_helo_name = $nobody\nlmtp_tls_policy_maps = ${a?b}\n"
        text = (
            "a unix - - n - - smtp -o smtp_tls_CAfile=$nothing\n"
            "b unix - - n - - smtp -o smtp_helo_name=b.test\nc unix - - n - - lmtp\n"
        )
        instance, *_ = instance_of(main_cf, text)
        assert instance.unknown == {"smtp_helo_name", "lmtp_tls_policy_maps"}
        one, two, lmtp = (each.unknown for each in instance.services)
        assert one == {"smtp_helo_name", "smtp_tls_CAfile", "lmtp_tls_policy_maps"}
        assert two == {"lmtp_tls_policy_maps"}
        assert "smtp_tls_policy_maps" in lmtp
        assert "smtp_helo_name" not in lmtp
        (alone,) = instance_of(main_cf)[0].services
        assert alone.unknown == instance.unknown

    def test_none_that_sends(self) -> None:
        """A master.cf without smtp(8) has no services, and then main.cf has the CAs."""
        instance, *_ = instance_of(TEXT, "smtp inet n - y - - smtpd\n")
        assert (instance.services, instance.version) == ((), ())
        assert instance.authorities == Authorities(Path("/etc/ssl/certs/ca-certificates.crt"))

    def test_another_file(self) -> None:
        """Of a file that is no master.cf a few lines are named, and how many more there are."""
        _, _, missed = instance_of("", "a\n" * 5_000)
        assert len(missed) == UNSEEN_LIMIT + 1
        assert missed["the rest"] == f"{5_000 - UNSEEN_LIMIT} more lines or options are not known"

    def test_long_values(self) -> None:
        """The values of all services together have a limit."""
        text = "".join(f"s{n} unix - - - - - smtp -o smtp_helo_name=$a\n" for n in range(200))
        instance, _, missed = instance_of(f"a = {'x' * 60_000}\n", text)
        assert len(instance.services) == 200
        assert sum(len(each.main_cf.smtp_helo_name) for each in instance.services) < 2 * TOTAL_LIMIT
        assert "together" in next(iter(missed.values()))

    @given(st.text("ab -o={}$\n\t#unix\x0b", max_size=200))
    def test_any_text(self, text: str) -> None:
        """It raises nothing."""
        _, _, missed = instance_of("a = b\n", text)
        assert "".join([*missed, *missed.values()]).isprintable()
