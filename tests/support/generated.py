"""Records and policies that the grammars of RFC 8461 and RFC 8460 generate, for property tests."""

from hypothesis import strategies as st

WSP = st.text(" \t", max_size=3)
_VALUE = r"[\x21-\x3a\x3c\x3e-\x7e]{1,40}"
_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,31}", fullmatch=True)
_PCHAR = r"(?:[A-Za-z0-9._~$&'()*+=:-]|%[0-9A-F]{2})"

ids = st.from_regex(r"[A-Za-z0-9]{1,32}", fullmatch=True)
"""Policy ids."""
uris = st.one_of(
    st.from_regex(rf"mailto:{_PCHAR}{{1,20}}@{_PCHAR}{{1,20}}", fullmatch=True),
    st.from_regex(rf"https://{_PCHAR}{{1,20}}(/{_PCHAR}{{0,20}}){{0,3}}", fullmatch=True),
)
"""Places for TLS reports."""


@st.composite
def record(draw: st.DrawFn, version: str, field: str) -> bytes:
    """A TXT record with this version and this field, among extensions."""
    name = field.partition("=")[0]
    extensions = st.builds("{}={}".format, _NAMES, st.from_regex(_VALUE, fullmatch=True))
    others = extensions.filter(lambda each: not each.startswith(f"{name}="))
    fields = draw(st.lists(others, max_size=3))
    fields.insert(draw(st.integers(0, len(fields))), field)
    text = version
    for each in fields:
        text += f"{draw(WSP)};{draw(WSP)}{each}"
    if draw(st.booleans()):
        text += f"{draw(WSP)};{draw(WSP)}"
    return text.encode()


records = ids.flatmap(lambda policy_id: record("v=STSv1", f"id={policy_id}"))
"""MTA-STS records."""
tlsrpt_records = st.lists(uris, min_size=1, max_size=4).flatmap(
    lambda each: record("v=TLSRPTv1", f"rua={','.join(each)}")
)
"""TLSRPT records."""

_LABELS = st.sampled_from(["a", "B", "mx1", "mail-2", "x--y", "1", "0a", "m" * 63, "test", "Mx"])
_TOP_LEVEL = st.sampled_from(["test", "Example", "xn--p1ai", "a1"])
hosts = st.builds(
    "{}.{}".format, st.lists(_LABELS, min_size=1, max_size=3).map(".".join), _TOP_LEVEL
)
"""Names that an MX host may have."""


@st.composite
def policies(draw: st.DrawFn) -> tuple[bytes, str]:
    """A policy that works, and a host that it allows: any order, line end, blanks, extensions."""
    host = draw(hosts)
    above = f"*.{host.partition('.')[2]}"
    good = draw(st.sampled_from([host, above] if above.count(".") > 1 else [host]))
    patterns = draw(st.permutations([good, *draw(st.lists(hosts, max_size=3))]))
    extension = st.builds("{}: {}".format, _NAMES, st.from_regex(_VALUE, fullmatch=True))
    names = ("version", "mode", "mx", "max_age")
    lines = [
        "version: STSv1",
        f"mode: {draw(st.sampled_from(['enforce', 'testing']))}",
        f"max_age: {draw(st.integers(86_400, 9_999_999_999))}",
        *(f"mx:{draw(WSP)}{pattern}{draw(WSP)}" for pattern in patterns),
        *draw(st.lists(extension.filter(lambda x: x.partition(":")[0] not in names), max_size=2)),
    ]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    return end.join([*draw(st.permutations(lines)), ""]).encode(), host.lower()
