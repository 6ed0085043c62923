"""A key names its Policy Domain, or none (postfix.md "Keys"; RFC 8461 §3.4)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.protocol.nexthop import UnmappedKeyError, dane_applies, policy_domain
from tests.support.idn_names import NAMES, OLD_NAMES


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        (b"good.test", "good.test"),
        (b"sub.a.good.test", "sub.a.good.test"),
        (b"Nf.LOAD.test", "nf.load.test"),
        (b"[mx1.good.test]", "mx1.good.test"),
        (b"[mx1.good.test]:587", "mx1.good.test"),
        (b"good.test:25", "good.test"),
        (b"good.test:submission", "good.test"),
        ("b\u00fccher.test".encode(), "xn--bcher-kva.test"),
        (b"xn--bcher-kva.test", "xn--bcher-kva.test"),
        (b"good.test.", "good.test"),
    ],
)
def test_names_a_domain(key: bytes, domain: str) -> None:
    """Plain, with a port, in brackets: the host is the Policy Domain (D18, Q3)."""
    assert policy_domain(key) == domain


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b".good.test",
        b".test",
        b".",
        b"[127.0.0.1]",
        b"[127.0.0.1]:25",
        b"127.0.0.1",
        b"127.0.0.1:25",
        b"[IPv6:2001:db8::1]",
        b"[ipv6:::1]:25",
        b"[2001:db8::1]",
        b"2001:db8::1",
        b"[]",
        b"[]:25",
        b"[good.test",
        b"good.test]",
        b"[good.test]25",
        b"[good.test]:",
        b"good.test:",
        b"good.test:25:25",
        b"[[good.test]]",
        b"localhost",
        b"[mailhub]",
        b"user@good.test",
        b"good test",
        b"good.test\n",
        b"good.test\x00",
        b"good_host.test",
        b"\xff\xfe.test",
        b"*",
        ".".join(["a" * 61] * 4).encode(),  # 247 characters: _mta-sts. no longer fits before it
        b"a" * 10_000,
    ],
)
def test_names_none(key: bytes) -> None:
    """Parents, literals, local and malformed names: no Policy Domain (D17, D19, X6)."""
    assert policy_domain(key) is None


@pytest.mark.parametrize("names", [NAMES, OLD_NAMES], ids=["Postfix 3.10", "Postfix 3.7"])
def test_a_key_as_postfix_maps_it(names: dict[str, str | None]) -> None:
    """Postfix asks by U-labels: the Policy Domain is the one whose MX it looks up, or not known.

    Other names have an underscore: no CA certifies a Policy Host with such a name.
    """
    for name, mapped in names.items():
        if mapped is not None:  # or Postfix does not ask
            domain = domain_or_error(f"{name}.test".encode())
            assert domain in {f"{mapped}.test", "not known"} or "_" in mapped, ascii(name)


def domain_or_error(key: bytes) -> str | None:
    """The Policy Domain of a key, or that it is not known."""
    try:
        return policy_domain(key)
    except UnmappedKeyError:
        return "not known"


@pytest.mark.parametrize(
    "key", ["gro\u1e9e.test", "[gro\u1e9e.test]:587", "\u202ea.test", "\ufffd.test"]
)
def test_not_known(key: str) -> None:
    """U-labels that cannot be mapped, or not for sure, may have a policy: an error, not None."""
    with pytest.raises(UnmappedKeyError):
        policy_domain(key.encode())


@given(st.one_of(st.binary(max_size=300), st.text(max_size=80).map(str.encode)))
def test_any_bytes(key: bytes) -> None:
    """Any key names no domain, or one whose name with the prefixes of MTA-STS is not too long."""
    domain = domain_or_error(key)
    assert domain == "not known" or domain is None or len(f"_mta-sts.{domain}") <= 253


GOOD = Domain("good.test")


@pytest.mark.parametrize(
    ("key", "host", "applies"),
    [
        (b"good.test", "mx.good.test", True),
        (b"Good.test.", "mx.good.test", True),
        (b"good.test:25", "mx.good.test", True),
        (b"good.test:smtp", "mx.good.test", True),
        (b"good.test:587", "mx.good.test", False),
        (b"[good.test]", "mx.good.test", False),
        (b"[good.test]", "good.test", True),
        (b"[good.test]:25", "good.test", True),
        (b"[good.test]:587", "good.test", False),
        (b"\xff[", "good.test", False),
    ],
)
def test_where_a_verdict_applies(key: bytes, host: str, *, applies: bool) -> None:
    """A verdict applies to the MX hosts and port 25, and to no other next-hop (T10)."""
    outcome = DaneOutcome(MxState.SECURE, "MX", (Host(host, HostState.USABLE, "TLSA"),), 300)
    assert dane_applies(key, GOOD, outcome) == applies


@pytest.mark.parametrize(
    ("key", "applies"), [(b"good.test", True), (b"[good.test]", True), (b"good.test:587", False)]
)
def test_where_a_verdict_may_apply(key: bytes, *, applies: bool) -> None:
    """Before the MX hosts are known, a name in brackets may be its own MX host."""
    assert dane_applies(key, GOOD, None) == applies
