"""The contents of records: what was written is read, and hostile content is refused by name."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.policy import MAX_AGE_LIMIT, MX_LIMIT, Mode, Policy
from postfix_mta_sts.mtasts.record import PolicyId
from postfix_mta_sts.mtasts.sharing import SharedPolicy
from postfix_mta_sts.store import MAX_HISTORY, HistoryEntry
from postfix_mta_sts.store.fleet import bodies
from postfix_mta_sts.store.fleet.engine import SECOND
from postfix_mta_sts.store.fleet.envelope import Opened
from postfix_mta_sts.store.fleet.errors import RefusedRecordError
from postfix_mta_sts.store.fleet.requests import Document, RelayReport
from postfix_mta_sts.values import replace, to_msgpack
from tests.support.exceptions import exception
from tests.support.states import POLICY_IDS, TEXT, WEEK, policies

GOOD = Domain("good.test")
NOW = 1_700_000_000 * SECOND
HOUR = 3600
REPORT = RelayReport("1.2.3", 10, 0, 7)
CHECK = Check(GOOD, CheckResult.HELD, "it is held", "x509", "theirs", "id1", 1e9, 9e8)
ENTRY = HistoryEntry(PolicyId("id1"), Mode.ENFORCE, ("mx.good.test", "*.good.test"), 1e9, 1.1e9)


def opened(body: bytes, age: float = HOUR) -> Opened:
    """A record whose signature is valid, of this age in seconds."""
    return Opened(NOW - int(age * SECOND), body, "")


def shared(
    text: str = TEXT, policy_id: str = "id1", relay: str = "mx1", age: float = HOUR
) -> SharedPolicy | None:
    """Read a policy of `good.test` that a relay has written."""
    return bodies.shared_policy(
        GOOD, opened(bodies.policy_body(GOOD, text, policy_id, relay), age), NOW
    )


@settings(max_examples=30)
@given(policies(), POLICY_IDS, st.integers(-60 * SECOND, MAX_AGE_LIMIT * SECOND))
def test_policy(policy: Policy, policy_id: str, age: int) -> None:
    """A policy is as it was fetched, and lives from its fetch by the clock of the store."""
    body = bodies.policy_body(GOOD, policy.text, policy_id, "mx1.good.test")
    found = bodies.shared_policy(GOOD, Opened(NOW - age, body, ""), NOW)
    lived = max(0, age) / SECOND
    if lived >= policy.max_age:
        assert found is None
    else:
        assert found == SharedPolicy(policy, PolicyId(policy_id), lived, "mx1.good.test", NOW - age)


@pytest.mark.parametrize(
    ("text", "policy_id", "relay", "reason"),
    [
        (TEXT.replace("mx.good.test", "hostname"), "id1", "mx1", "policy: line 3: mx: not a fully"),
        (TEXT.replace("mx.good.test", "{mx.good.test}"), "id1", "mx1", "policy: line 3: mx: not a"),
        (TEXT.replace("enforce", "off"), "id1", "mx1", "policy: line 2: mode is not"),
        (TEXT.replace("STSv1", "STSv2"), "id1", "mx1", "policy: line 1: version"),
        ("", "id1", "mx1", "policy: no version field"),
        (TEXT + "note: " + "x" * 65_536, "id1", "mx1", "policy: it has more than 65536 bytes"),
        (TEXT + "x" * 2**20, "id1", "mx1", "policy: it has more than 65536 bytes"),
        (TEXT + "a: \0\n", "id1", "mx1", "policy: line 5: a has a control character"),
        (
            TEXT + "".join(f"mx: mx{n}.good.test\n" for n in range(MX_LIMIT)),
            "id1",
            "mx1",
            "policy: 201 different mx fields",
        ),
        (TEXT, "", "mx1", "policy: id is not 1 to 32 letters and digits"),
        (TEXT, "a\nb", "mx1", "policy: id is not"),
        (TEXT, "x" * 33, "mx1", "policy: id is not"),
        (TEXT, "id1", "", "no name of a relay: ''"),
        (TEXT, "id1", "mx1\n", r"no name of a relay: 'mx1\\n'"),
        (TEXT, "id1", "<b>", "no name of a relay: '<b>'"),
        (TEXT, "id1", "m" * 65, "no name of a relay"),
    ],
)
def test_hostile_policy(text: str, policy_id: str, relay: str, reason: str) -> None:
    """A policy that a Policy Host could not serve is refused, and the reason is named."""
    with pytest.raises(RefusedRecordError, match=reason) as caught:
        shared(text, policy_id, relay)
    assert str(caught.value).isprintable()


def test_the_end_of_a_policy() -> None:
    """A policy that has lived for its max_age is as though it were not there."""
    assert shared(age=WEEK - 0.001) is not None
    assert shared(age=WEEK) is None
    assert shared(age=60 * WEEK) is None
    assert shared(TEXT.replace(str(WEEK), "0"), age=0) is None


def test_an_end_in_100_years() -> None:
    """No policy lives longer than a year: not by its max_age, and not by the time of its fetch."""
    century = 100 * 365 * 86_400
    found = shared(TEXT.replace(str(WEEK), str(century)))
    assert found is not None
    assert found.policy.max_age == MAX_AGE_LIMIT
    with pytest.raises(RefusedRecordError, match="its time is 3153600000 s in the future"):
        shared(age=-century)


def test_a_fetch_in_the_future() -> None:
    """A minute may be between two clocks; a fetch later than that is refused."""
    found = shared(age=-60)
    assert found is not None
    assert found.age == 0
    with pytest.raises(RefusedRecordError, match="in the future of the store"):
        shared(age=-60.001)


def test_a_record_of_another_domain() -> None:
    """A policy that was copied to another domain is refused, even if nothing is signed."""
    body = bodies.policy_body(Domain("evil.test"), TEXT, "id1", "mx1")
    with pytest.raises(RefusedRecordError, match=r"its content is that of 'evil\.test'"):
        bodies.shared_policy(GOOD, opened(body), NOW)


_HOSTS = st.sampled_from(["mx.good.test", "*.good.test", "MX2.x", "1.2"])
_SECONDS = st.floats(0, NOW / SECOND, allow_nan=False)
_ENTRIES = st.builds(
    HistoryEntry,
    policy_id=st.sampled_from([PolicyId("1"), PolicyId("zZ" * 16)]),
    mode=st.sampled_from(Mode),
    mx=st.lists(_HOSTS, max_size=5).map(tuple),
    seen_from=st.just(0.0),
    seen_to=_SECONDS,
)


@settings(max_examples=30)
@given(st.lists(_ENTRIES, max_size=MAX_HISTORY + 3))
def test_history(entries: list[HistoryEntry]) -> None:
    """A history is read as it was written, the oldest entry first, and bounded."""
    entries.sort(key=lambda each: each.seen_to)
    found = bodies.history_of(GOOD, opened(bodies.history_body(GOOD, entries)), NOW)
    assert found == tuple(entries[-MAX_HISTORY:])


@pytest.mark.parametrize(
    "entry",
    [
        replace(ENTRY, mx=("hostname",)),
        replace(ENTRY, mx=("",)),
        replace(ENTRY, mx=("+3", "mx.good.test")),
        replace(ENTRY, mx=("+\u0663",)),
        replace(ENTRY, mx=tuple(f"mx{n}.good.test" for n in range(90))),
        replace(ENTRY, policy_id=PolicyId("a b")),
        replace(ENTRY, seen_from=-1.0),
        replace(ENTRY, seen_from=1.2e9),
        replace(ENTRY, seen_to=NOW / SECOND + 61),
        replace(ENTRY, seen_to=float("nan")),
        replace(ENTRY, seen_to=float("inf")),
    ],
)
def test_hostile_history(entry: HistoryEntry) -> None:
    """An entry that no relay has written is refused."""
    with pytest.raises(RefusedRecordError, match=r"^history: "):
        bodies.history_of(GOOD, opened(bodies.history_body(GOOD, [ENTRY, entry])), NOW)


def test_a_history_that_was_cut() -> None:
    """The last pattern of an entry may say how many there are more."""
    entry = replace(ENTRY, mx=("mx.good.test", "+12"))
    assert bodies.history_of(GOOD, opened(bodies.history_body(GOOD, [entry])), NOW) == (entry,)


def test_a_history_without_end() -> None:
    """A history with more entries than a relay keeps is refused."""
    many = {"domain": GOOD, "entries": [ENTRY] * (MAX_HISTORY + 1)}
    with pytest.raises(RefusedRecordError, match="it has more than 20 policies"):
        bodies.history_of(GOOD, opened(to_msgpack(many)), NOW)


def test_check() -> None:
    """A check is read as it was written; a time of a clock ahead becomes now."""
    body = bodies.check_body(CHECK)
    assert bodies.check_of("good.test", opened(body), NOW) == CHECK
    ahead = replace(CHECK, checked_at=NOW / SECOND + 30)
    found = bodies.check_of("good.test", opened(bodies.check_body(ahead)), NOW)
    assert found.checked_at == NOW / SECOND


@pytest.mark.parametrize(
    ("key", "check"),
    [
        ("other.test", CHECK),
        ("GOOD..test", CHECK),
        ("good.test", replace(CHECK, sentence="two\nlines")),
        ("good.test", replace(CHECK, cause="\x1b[31m")),
        ("good.test", replace(CHECK, sentence="x" * 20_000)),
        ("good.test", replace(CHECK, checked_at=float("nan"))),
        ("good.test", replace(CHECK, since=1e300)),
    ],
)
def test_hostile_check(key: str, check: Check) -> None:
    """A check of another domain, or with a text or a time that none has, is refused."""
    with pytest.raises(RefusedRecordError, match=r"^check: "):
        bodies.check_of(key, opened(bodies.check_body(check)), NOW)


def test_document() -> None:
    """The document has its version from the order of its record, and each exception as it was."""
    exceptions = (
        exception("good.test"),
        exception("*.x.test", None, mx=()),
        exception(reason="caf\xe9", scope="b.test"),
    )
    found = bodies.document_of(Opened(12, bodies.document_body(exceptions, "mx1"), ""))
    assert found == Document(12, exceptions, "mx1")
    assert bodies.document_of(Opened(13, bodies.document_body((), "mx1"), "")).exceptions == ()


def test_hostile_documents() -> None:
    """A document with one exception that no command adds is refused as a whole."""
    good = exception("good.test")
    for bad, reason in (
        ([exception("b.test"), replace(good, reason="two\nlines")], "its reason is no line"),
        ([good, replace(exception("b.test"), scope="hostname")], "has one label"),
        ([replace(good, mx=("evil.test",))], "mx is for pin"),
        ([replace(good, ignores_dane=True)], "cannot ignore DANE"),
        ([replace(good, until=float("nan"))], "a time is no date"),
        ([replace(good, added_at=-1.0)], "it was added before 1970"),
        ([replace(good, added_at=None)], "an exception that no command has added"),
        ([replace(good, relay="<b>")], "exceptions: "),
        ([replace(good, relay="two\nlines")], "exceptions: "),
        ([replace(good, scope="GOOD.test")], "is not what this program writes"),
        ([good, good], "two exceptions for one scope"),
        ([exception(f"n{n}.test") for n in range(1001)], "more than 1000 exceptions"),
    ):
        with pytest.raises(RefusedRecordError, match=reason):
            bodies.document_of(Opened(1, bodies.document_body(bad, "mx1"), ""))
    with pytest.raises(RefusedRecordError, match="no name of a relay"):
        bodies.document_of(Opened(1, bodies.document_body([good], "<script>"), ""))


def test_relay() -> None:
    """What a relay says of itself is read, with the time since then."""
    found = bodies.relay_of("mx1", opened(bodies.relay_body("mx1", REPORT), 12), NOW)
    assert (found.name, found.report, found.seen_ago) == ("mx1", REPORT, 12)


@pytest.mark.parametrize(
    ("key", "name", "report"),
    [
        ("mx2", "mx1", REPORT),
        ("<b>", "<b>", REPORT),
        ("mx1", "mx1", replace(REPORT, version="")),
        ("mx1", "mx1", replace(REPORT, version="1\x1b[31m")),
        ("mx1", "mx1", replace(REPORT, version="1" * 33)),
        ("mx1", "mx1", replace(REPORT, policies=-1)),
        ("mx1", "mx1", replace(REPORT, exceptions_version=2**60)),
    ],
)
def test_hostile_relay(key: str, name: str, report: RelayReport) -> None:
    """A relay with a name, a version or numbers that none has is refused."""
    with pytest.raises(RefusedRecordError):
        bodies.relay_of(key, opened(bodies.relay_body(name, report)), NOW)


def _read_all(record: Opened) -> list[object]:
    """Read a record as each kind; each is a value or the reason of a refusal."""
    found: list[object] = []
    for read in (
        lambda: bodies.shared_policy(GOOD, record, NOW),
        lambda: bodies.history_of(GOOD, record, NOW),
        lambda: bodies.check_of(GOOD, record, NOW),
        lambda: bodies.document_of(record),
        lambda: bodies.relay_of(GOOD, record, NOW),
    ):
        try:
            found.append(read())
        except RefusedRecordError as error:
            found.append(str(error))
    return found


@given(st.binary(max_size=300))
def test_garbage(body: bytes) -> None:
    """Bytes of any kind are refused with one printable line."""
    for found in _read_all(opened(body)):
        assert isinstance(found, str)
        assert found.isprintable()


_PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
_KEYS = (
    "domain",
    "text",
    "policy_id",
    "given_by",
    "is_own_fetch",
    "entries",
    "name",
    "report",
    "exceptions",
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(_KEYS), _PLAIN, max_size=8))
def test_wrong_types(content: object) -> None:
    """Maps with the right names and any values are refused with one printable line."""
    for found in _read_all(opened(to_msgpack(content))):
        assert isinstance(found, str)
        assert found.isprintable()


@pytest.mark.parametrize("nested", [b"\x91" * 80_000, b"\x81\xa1a" * 20_000])
def test_deeply_nested(nested: bytes) -> None:
    """Content that is nested ten thousand times is refused, also as a name that is not known."""
    for body in (nested, b"\x81\xa7unknown" + nested):
        for found in _read_all(opened(body)):
            assert isinstance(found, str)
            assert found.isprintable()
