"""Mistakes that both TXT records have in common: `_mta-sts.` and `_smtp._tls.`.

A record that the parser refuses goes through a list of repairs, in their order. Each repair that
changes the text is a mistake, and the text after the last one is what to write. `record` and
`tlsrpt` say what is particular to each.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final

from postfix_mta_sts.mtasts.errors import MtaStsError, printable
from postfix_mta_sts.mtasts.mistakes.repair import Repair, Wrong, repair
from postfix_mta_sts.mtasts.mistakes.values import Mistake, Place, Seen, Texts
from postfix_mta_sts.values import Value

_LONGEST: Final = 1024
"""Characters of a text that are looked at: a good record has fewer than 300."""
_MOST: Final = 4
"""Texts of a name that are looked at."""
QUOTES: Final = "\"'`\u00ab\u00bb\u2018\u2019\u201c\u201d\u201e"

_CLUTTER = re.compile(r"[^!#-&(-\[\]-~]")
"""Blanks, quotation marks, backslashes, and all that is not ASCII."""

# The order matters: each takes what those before it leave.
COMMON: Final = (
    Repair.of(
        "zone-line",
        "a line of a zone file as the text",
        r"^\s*(?:[^\s=;]{1,255}\s+)?(?:[0-9]+\s+)?(?:IN\s+)?TXT\s+",
        "",
    ),
    Repair.of("quotes", "quotation marks in the text", rf"\\?[{QUOTES}]", ""),
    Repair.of("backslash", "a backslash in the text", r"\\", ""),
    Repair.of("not-ascii", "a character that is not ASCII", r"[^\x00-\x7f]+", " "),
    Repair.of(
        "blank-around", "a blank or line break at the beginning or end", r"^\s+|(?<!;)\s+$", ""
    ),
    Repair.of("control", "a line break or control character", r"[\x00-\x08\x0a-\x1f\x7f]+", " "),
    Repair.of("colon", "a colon in place of =", r"(^|[;,\s])(v|id|rua)\s*:\s*", r"\1\2="),
    Repair.of("blanks-at-equals", "blanks around =", r"\b(v|id|rua)(?:\s+=\s*|=\s+)", r"\1="),
)


def version_repairs(version: str, name: str) -> tuple[Repair, ...]:
    """The repairs of a version such as `v=STSv1`, and of what is around it.

    `name` is a pattern for the names of the fields that follow; these repairs come after `COMMON`.
    """
    return (
        Repair.of(
            "order",
            "the version is not the first field",
            rf"^({name}=[^;]*?)[;,\s]+(v=[^;,\s]*)[;\s]*",
            r"\2; \1; ",
        ),
        Repair("no-version", "no version", re.compile(rf"^(?={name}=)"), f"{version}; "),
        Repair(
            "version",
            f"the version is not {version}",
            re.compile(rf"^(?!{version}(?![^;,\s]))(?:[vV]=)?(?:(?!{name}=)[^;,\s=])*"),
            version,
        ),
        Repair(
            "comma",
            "a comma in place of a semicolon",
            re.compile(rf"^({version})\s*,\s*"),
            r"\1; ",
        ),
        Repair(
            "no-semicolon",
            "no semicolon between two fields",
            re.compile(rf"^({version})[ \t]*(?=[A-Za-z0-9]+=)"),
            r"\1; ",
        ),
        Repair("empty-field", "two semicolons in a row", re.compile(r";(?:\s*;)+"), ";"),
    )


class Kind(Value, frozen=True):
    """What is particular to one of the two records."""

    place: Place
    prefix: str
    """With which the codes of its mistakes begin."""
    name: str
    """The name of the record, without the final dot."""
    version: str
    """With which a good one begins."""
    is_meant: re.Pattern[str]
    """Matches a text that is meant as such a record, at the right name."""
    has_version: re.Pattern[str]
    """Matches a text that is meant as such a record wherever it is."""
    repairs: tuple[Repair, ...]
    complete: Callable[[str], tuple[list[Wrong], str]]
    """Check the fields of a repaired text; return what is wrong, and the text without that."""
    parse: Callable[[Sequence[bytes]], object]
    """Raises `MtaStsError` for texts that are not a good record."""
    fields: str
    """The fields of a record for a domain that has none."""
    near: Mapping[str, str]
    """`NEAR_RECORD` or `NEAR_TLSRPT`."""

    def line(self, text: str) -> str:
        """A record with this text as a line of a zone file, in strings of 255 (RFC 1035 §3.3)."""
        strings = re.findall(".{1,255}", text)
        return f"{self.name}. IN TXT " + " ".join(f'"{string}"' for string in strings)

    def mistake(self, code: str, found: str, text: str) -> Mistake:
        """A mistake that a record with this text corrects."""
        return Mistake(f"{self.prefix}-{code}", self.place, found, self.line(text))


def is_good(texts: Sequence[bytes], parse: Callable[[Sequence[bytes]], object]) -> bool:
    """Whether exactly one of the texts is a good record, so that there is no mistake."""
    try:
        parse(texts)
    except MtaStsError:
        return False
    return True


def find_in_texts(seen: Seen, here: Texts | None, kind: Kind) -> Iterator[Mistake]:
    """Yield the mistakes in the records at the right name, and those of wrong names."""
    if here is None or is_good(here.texts, kind.parse):
        return
    if not here.texts and _is_meant(here.aliases):
        yield _alias_to_nothing(here, kind)
    yield from _find_here(here, kind)
    for code, template in kind.near.items():
        name = template.format(domain=seen.domain)
        yield from _at_wrong_name(seen.near, name, code, kind)


def _repaired(text: str, kind: Kind) -> tuple[list[Wrong], str]:
    wrong, better = repair(text, kind.repairs)
    more, better = kind.complete(better)
    return wrong + more, better.replace("\t", " ").strip()


def _find_here(here: Texts, kind: Kind) -> Iterator[Mistake]:
    meant = _meant(here, kind.is_meant)
    if len(meant) > 1:
        yield _several(meant, kind)
        return
    for text in meant:
        if len(here.texts) > 1 and (better := _without_blank(text, kind)) != text:
            found = "a blank before the first semicolon, beside other TXT records"
            yield kind.mistake("blank-before-semicolon", found, _repaired(better, kind)[1])
        else:
            yield from _find_in_text(text, kind)


def _find_in_text(text: str, kind: Kind) -> Iterator[Mistake]:
    wrong, better = _repaired(text, kind)
    for code, found in wrong:
        yield kind.mistake(code, f"{found}: '{printable(text)}'", better)


def _meant(there: Texts, pattern: re.Pattern[str]) -> list[str]:
    """The texts at a name that are meant as such a record."""
    decoded = [text[:_LONGEST].decode("utf-8", "replace") for text in there.texts]
    return [
        text for text in decoded if pattern.search(text) or pattern.search(_CLUTTER.sub("", text))
    ][:_MOST]


def _without_blank(text: str, kind: Kind) -> str:
    """The text as it counts beside others: the parsers take `v=STSv1;` literally then."""
    return re.sub(rf"^({kind.version})[ \t]+;", r"\1;", text)


def _several(meant: Sequence[str], kind: Kind) -> Mistake:
    """Several records that are meant as one: parts of it, or an old and a newer one."""
    shown = ", ".join(f"'{printable(text, 80)}'" for text in meant)
    whole = [text for text in meant if "v=" in text and re.search(r"\b(?:id|rua)\s*=", text)]
    if not whole:
        text = _repaired("; ".join(part.strip("; ") for part in meant), kind)[1]
        return kind.mistake("split", f"one record in {len(meant)} TXT records: {shown}", text)
    text = _repaired(whole[0], kind)[1]
    return kind.mistake("several", f"{len(meant)} records, only one is allowed: {shown}", text)


def _is_meant(aliases: Sequence[str]) -> bool:
    """Whether a CNAME was written for this record: it leads to a name with an underscore.

    One that stands for all names, such as `*.example.com`, leads to the name of a host.
    """
    return any("._" in f".{alias}" for alias in aliases)


def _alias_to_nothing(here: Texts, kind: Kind) -> Mistake:
    target = printable(here.aliases[-1], 253)
    found = f"a CNAME to {target}, where there is no TXT record"
    return kind.mistake("alias", found, f"{kind.version}; {kind.fields};")


def _at_wrong_name(near: Sequence[Texts], name: str, code: str, kind: Kind) -> Iterator[Mistake]:
    """Yield the mistake if a record of this kind is at the wrong name `name`."""
    for there in near:
        if there.name != name:
            continue
        for text in _meant(there, kind.has_version)[:1]:
            found = f"the record is at {there.name}, not at {kind.name}"
            yield Mistake(code, kind.place, found, kind.line(_repaired(text, kind)[1]))
