"""Mistakes of the Policy Host and of the MX records, and policies that do not go with these."""

import pytest

from postfix_mta_sts.mtasts.mistakes import MailName, Place, Seen, find_mistakes
from postfix_mta_sts.values import replace
from tests.support.mistakes import DOMAIN, codes, in_policy

NOTHING = Seen(DOMAIN)
URL = "https://mta-sts.x.test/.well-known/mta-sts.txt"


def policy(*patterns: str, mode: str = "enforce", max_age: int = 604_800) -> str:
    """A policy with these patterns."""
    mx = "".join(f"mx: {pattern}\n" for pattern in patterns)
    return f"version: STSv1\nmode: {mode}\n{mx}max_age: {max_age}\n"


@pytest.mark.parametrize(
    ("seen", "code", "write"),
    [
        (replace(NOTHING, host_exists=False), "host-missing", "mta-sts.x.test. IN A"),
        (
            replace(NOTHING, certificate_error="certificate has expired"),
            "certificate-expired",
            "renew the certificate of mta-sts.x.test",
        ),
        (
            replace(
                NOTHING,
                certificate_error="Hostname mismatch, certificate is not valid for 'x'",
                certificate_names=("x.test", "www.x.test"),
            ),
            "certificate-name",
            "get a certificate for mta-sts.x.test",
        ),
        (
            replace(NOTHING, certificate_error="certificate is not yet valid"),
            "certificate-not-yet-valid",
            "get a valid certificate",
        ),
        (
            replace(NOTHING, certificate_error="self-signed certificate"),
            "certificate-self-signed",
            "get a certificate of a public CA",
        ),
        (
            replace(NOTHING, certificate_error="unable to get local issuer certificate"),
            "certificate-chain",
            "fullchain.pem",
        ),
        (
            replace(NOTHING, certificate_error="CA signature digest algorithm too weak\n"),
            "certificate",
            "get a valid certificate for mta-sts.x.test",
        ),
        (replace(NOTHING, status=301, location="https://www.x.test/\r\n"), "redirect", URL),
        (replace(NOTHING, status=302), "redirect", URL),
        (replace(NOTHING, status=404), "no-file", URL),
        (replace(NOTHING, status=404, near_path="/mta-sts.txt"), "wrong-path", URL),
        (replace(NOTHING, status=403), "not-allowed", "without a password"),
        (
            replace(NOTHING, status=200, media_type="text/html; charset=utf-8"),
            "media-type",
            "Content-Type: text/plain",
        ),
        (replace(NOTHING, status=200, media_type=""), "media-type", "Content-Type: text/plain"),
    ],
)
def test_policy_host(seen: Seen, code: str, write: str) -> None:
    """Each mistake of the web server has its code, and says what to do."""
    mistakes = find_mistakes(seen)
    assert codes(mistakes) == [code]
    assert mistakes[0].place is Place.POLICY_HOST
    assert write in mistakes[0].write


def test_what_is_there_is_named() -> None:
    """The target of a redirect, the names of a certificate and a near path are in the text."""
    redirect = replace(NOTHING, status=301, location="https://www.x.test/p")
    assert "https://www.x.test/p" in find_mistakes(redirect)[0].found
    name = replace(NOTHING, certificate_error="Hostname mismatch", certificate_names=("x.test",))
    assert "it is for x.test" in find_mistakes(name)[0].found
    path = replace(NOTHING, status=404, near_path="/mta-sts.txt")
    assert "/mta-sts.txt" in find_mistakes(path)[0].found


@pytest.mark.parametrize(
    "seen",
    [
        NOTHING,
        replace(NOTHING, host_exists=True, status=200, media_type="text/plain"),
        replace(NOTHING, status=200, media_type="Text/Plain; charset=iso-8859-1"),
        replace(NOTHING, status=503, media_type="text/html"),
    ],
)
def test_good_policy_host(seen: Seen) -> None:
    """What works is no mistake, and neither is a web server that is down."""
    assert find_mistakes(seen) == ()


@pytest.mark.parametrize(
    ("mx", "code", "write"),
    [
        (MailName("192.0.2.1"), "mx-record-address", "x.test. IN MX 10 mail.x.test."),
        (MailName("192.0.2.1.x.test"), "mx-record-address", "x.test. IN MX 10 mail.x.test."),
        (MailName("2001:db8::1"), "mx-record-address", "x.test. IN MX 10 mail.x.test."),
        (MailName("mx.x.test.x.test", 5), "mx-record-doubled", "x.test. IN MX 5 mx.x.test."),
        (
            MailName("mx.x.test", aliases=("a.test", "b.test")),
            "mx-record-alias",
            "x.test. IN MX 10 b.test.",
        ),
        (MailName("mail"), "mx-record-single-label", "x.test. IN MX 10 mail.x.test."),
    ],
)
def test_mx_records(mx: MailName, code: str, write: str) -> None:
    """Each mistake in an MX record has its code, and the record to write."""
    mistakes = find_mistakes(replace(NOTHING, mx=(MailName("good.x.test"), mx)))
    assert codes(mistakes) == [code]
    assert (mistakes[0].place, mistakes[0].write) == (Place.MX, write)


def test_null_mx() -> None:
    """A domain that takes no mail is right; a null MX beside other MX records is not."""
    assert find_mistakes(replace(NOTHING, mx=(MailName(""),))) == ()
    both = replace(NOTHING, mx=(MailName(""), MailName("mx.x.test")))
    assert codes(find_mistakes(both)) == ["mx-record-null"]


@pytest.mark.parametrize(
    ("patterns", "code"),
    [
        (["mx.other.test"], "mx-other-hosts"),
        (["x.test"], "mx-no-star"),
        (["*.test"], "mx-star-depth"),
        (["*.mx1.x.test"], "mx-star-of-host"),
    ],
)
@pytest.mark.parametrize("mode", ["enforce", "testing"])
def test_a_policy_without_the_mx_hosts(patterns: list[str], code: str, mode: str) -> None:
    """A policy that no MX host conforms to is told with the reason and the hosts to write (D4)."""
    mistakes = in_policy(policy(*patterns, mode=mode))
    assert codes(mistakes) == [code]
    assert mistakes[0].write == "mx: mx1.x.test / mx: mx2.x.test"


def test_one_host_is_enough() -> None:
    """A host beside those of the policy may be there on purpose."""
    assert in_policy(policy("mx1.x.test")) == ()


def test_a_misspelt_field_in_a_valid_policy() -> None:
    """An unknown field is a mistake if its value is an MX host that the policy misses."""
    body = policy("mx1.x.test") + "nmx: mx2.x.test\nmx-note: mx3.x.test\n"
    (mistake,) = in_policy(body)
    assert (mistake.code, mistake.write) == ("misspelt-mx", "mx: mx2.x.test")
    assert in_policy(policy("mx1.x.test", "mx2.x.test") + "nmx: mx2.x.test\n") == ()


@pytest.mark.parametrize("pattern", ["127.0.0.1", "*.1.2.3.4"])
def test_a_pattern_that_no_certificate_can_match(pattern: str) -> None:
    """It is valid by the ABNF, and told (E4)."""
    (mistake,) = in_policy(policy(pattern))
    assert (mistake.code, mistake.write) == ("mx-address", "mx: mx1.x.test / mx: mx2.x.test")
    assert codes(in_policy(policy(pattern, "*.x.test"))) == ["mx-address"]


def test_short_max_age() -> None:
    """A max_age below an hour is told; it may be meant as days."""
    (mistake,) = in_policy(policy("*.x.test", max_age=7))
    assert (mistake.code, mistake.write) == ("short-max-age", "max_age: 604800")
    assert in_policy(policy("*.x.test", max_age=3600)) == ()


def test_hosts_that_cannot_be_in_a_policy() -> None:
    """Names that are none are left out of the lines to write."""
    names = ("192.0.2.1", "a_b.x.test", "mail", "mx1.x.test")
    mistakes = in_policy(policy("other.test"), tuple(map(MailName, names)))
    assert mistakes[0].write == "mx: mx1.x.test"
    assert {mistake.place for mistake in mistakes[1:]} == {Place.MX}
