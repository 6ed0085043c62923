"""Entries of smtp_tls_policy_maps, as two versions of Postfix read them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.decision import Decision, from_memory
from postfix_mta_sts.mtasts.domain import parse_domain
from postfix_mta_sts.mtasts.lifecycle import restored
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.postfix.protocol.reply import Found, ReplyFormat, compose
from postfix_mta_sts.postfix.smtp_client.tls_policy import NO_NAME, parse_tls_policy
from postfix_mta_sts.postfix.smtp_client.values import InvalidTlsPolicy, Level, MainCf, TlsPolicy
from postfix_mta_sts.values import replace
from tests.support.smtp_client import NEW, OLD

STS = "secure match=mx.x.test policy_type=sts policy_domain=x.test mx_host_pattern=mx.x.test"
SECURE = TlsPolicy(Level.SECURE)
INVALID = None
"""In these tables: this version does not understand the entry."""


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("secure", SECURE, SECURE),
        ("SECURE", SECURE, SECURE),
        ("may", TlsPolicy(Level.MAY), TlsPolicy(Level.MAY)),
        ("dane-only", TlsPolicy(Level.DANE_ONLY), TlsPolicy(Level.DANE_ONLY)),
        ("none what=ever", TlsPolicy(Level.NONE), TlsPolicy(Level.NONE)),
        *((t, replace(SECURE, match=m), replace(SECURE, match=m)) for t, m in (
            ("secure match=mx.x.test", ("mx.x.test",)),
            ("secure,MATCH=a.test:.b.test\t", ("a.test", ".b.test")),
            ("secure match=a.test match=b.test:c.test", ("a.test", "b.test", "c.test")),
            ("secure match=:", (NO_NAME,)),
        )),
        ("secure servername=hostname", *(2 * (replace(SECURE, servername="hostname"),))),
        ("fingerprint match=ab:cd|ef", *(2 * (TlsPolicy(Level.FINGERPRINT, ("ab:cd", "ef")),))),
        ("may ciphers=high protocols=>=TLSv1.2 exclude=", *(2 * (TlsPolicy(Level.MAY),))),
        ("secure tafile=/etc/ca.pem tafile=/etc/cb.pem", SECURE, SECURE),
        ("secure connection_reuse=yes connection_reuse=no", SECURE, SECURE),
        ("secure\0 junk", SECURE, SECURE),
        # Only one of the two understands it.
        ("secure { match = mx.x.test }", INVALID, replace(SECURE, match=("mx.x.test",))),
        (
            "secure { match = a.test:\n b.test }",
            INVALID,
            replace(SECURE, match=("a.test", "  b.test")),
        ),
        ("secure enable_rpk=yes", INVALID, SECURE),
        (STS, INVALID, TlsPolicy(Level.SECURE, ("hostname",), patterns=("mx.x.test",))),
        ("secure policy_type=sts mx_host_pattern=mx.x.test", INVALID, SECURE),
        (
            "secure match=a.test policy_type=no-policy-found mx_host_pattern=a.test",
            INVALID,
            replace(SECURE, match=("a.test",)),
        ),
        ("secure policy_type=STS { policy_string = mode: enforce } policy_ttl=60", INVALID, SECURE),
        ("secure policy_type=sts policy_failure=sts-policy-invalid", INVALID, SECURE),
        # Neither does.
        *((text, INVALID, INVALID) for text in (
            "", " ,", "halfdane", "securely", "secure match", "secure match=", "secure =x",
            "may match=mx.x.test", "dane match=mx.x.test", "encrypt tafile=/x", "secure tafile=",
            "secure servername=a servername=a", "secure servername=", "secure servername=-",
            "secure ciphers=a ciphers=b", "secure ciphers=", "secure protocols=a protocols=b",
            "secure exclude=a exclude=b", "secure connection_reuse=maybe", "secure unknown=x",
            "secure policy_domain=x.test", "secure mx_host_pattern=x.test",
            "secure policy_type=tlsa",
            "secure policy_type=sts policy_type=sts", "secure policy_type=sts policy_ttl=-1",
            "secure policy_type=sts policy_domain=x.test.", "secure { match = a", "secure {}",
            "secure { match = a }b", "secure policy_type=sts policy_failure=else",
            "secure enable_rpk=maybe",
        )),
    ],
)  # fmt: skip
def test_entries(text: str, old: TlsPolicy | None, new: TlsPolicy | None) -> None:
    """Each version reads an entry as its sources do, or defers mail."""
    for main_cf, expected in ((OLD, old), (NEW, new)):
        found = parse_tls_policy(text, main_cf)
        if expected is INVALID:
            assert isinstance(found, InvalidTlsPolicy)
            assert found.reason.isprintable()
        else:
            assert found == expected


@pytest.mark.parametrize(
    ("main_cf", "has_patterns"),
    [
        (MainCf(version=(3, 10)), False),
        (MainCf(version=(3, 10, 4)), False),
        (MainCf(version=(3, 10, 5)), True),
        (MainCf(version=(3, 11, 0)), True),
        (MainCf(), True),
        (MainCf(version=(3, 11, 0), smtp_tls_enforce_sts_mx_patterns=False), False),
    ],
)
def test_patterns(main_cf: MainCf, *, has_patterns: bool) -> None:
    """Postfix 3.10.5 and later compare MX host names with patterns, unless main.cf says no."""
    found = parse_tls_policy(STS, main_cf)
    assert isinstance(found, TlsPolicy)
    assert found.patterns == (("mx.x.test",) if has_patterns else ())
    assert found.match == (("hostname",) if has_patterns else ("mx.x.test",))


def test_attributes_of_later_versions() -> None:
    """Postfix 3.3 has no servername."""
    old = replace(OLD, version=(3, 3, 22))
    assert isinstance(parse_tls_policy("secure servername=hostname", old), InvalidTlsPolicy)


_WORDS = st.sampled_from(
    ["secure", "may", "none", "dane", " ", ",", "\t", "{", "}", "=", ":", "match=", "mx.x.test",
     "servername=hostname", "policy_type=sts", "mx_host_pattern=*.x.test", "policy_ttl=", "\n"]
)  # fmt: skip


@given(st.text() | st.lists(_WORDS).map("".join), st.sampled_from([OLD, NEW, MainCf()]))
def test_any_text(text: str, main_cf: MainCf) -> None:
    """Any text is read as a policy or refused."""
    found = parse_tls_policy(text, main_cf)
    assert isinstance(found, TlsPolicy | InvalidTlsPolicy)


_LABEL = st.from_regex(r"[a-z0-9](?:[a-z0-9-]{0,5}[a-z0-9])?", fullmatch=True)
_HOSTS = st.lists(_LABEL, min_size=2, max_size=4).map(".".join)
_PATTERNS = st.lists(_HOSTS | _HOSTS.map("*.{}".format), min_size=1, max_size=5, unique=True)
_EXTENSIONS = st.lists(st.from_regex(r"x-[a-z]{1,3}: [!-~]{1,9}", fullmatch=True), max_size=3)


@given(patterns=_PATTERNS, extensions=_EXTENSIONS, tlsrpt=st.booleans(), servername=st.booleans())
def test_our_replies(
    patterns: list[str], extensions: list[str], *, tlsrpt: bool, servername: bool
) -> None:
    """Every variant of a reply of this program is read back as the patterns of the policy."""
    mx = [f"mx: {pattern}" for pattern in patterns]
    lines = ["version: STSv1", "mode: enforce", *mx, "max_age: 9", *extensions]
    policy = parse_policy("\n".join(lines).encode())
    state = restored(policy, PolicyId("a"), 0, 0)
    form = ReplyFormat(tlsrpt=tlsrpt, servername=servername)
    reply = compose(parse_domain("x.test"), Decision.SECURE, from_memory(state), form, 0)
    assert isinstance(reply, Found)
    for text in reply.variants:
        found = parse_tls_policy(text, NEW if tlsrpt else OLD)
        assert isinstance(found, TlsPolicy)
        assert found.servername == ("hostname" if servername else "")
        if found.patterns:
            assert (found.patterns, found.match) == (policy.mx, ("hostname",))
        else:
            assert found.match == tuple(each.replace("*", "") for each in policy.mx)
