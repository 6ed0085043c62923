"""Policies and states for the store, in every form that a Policy Host can give them."""

from hypothesis import strategies as st

from postfix_mta_sts.mtasts import lifecycle
from postfix_mta_sts.mtasts.errors import MtaStsError
from postfix_mta_sts.mtasts.lifecycle import State, restored
from postfix_mta_sts.mtasts.policy import MAX_AGE_LIMIT, Policy, parse_policy
from postfix_mta_sts.mtasts.record import PolicyId

WEEK = 604_800
TEXT = f"version: STSv1\nmode: enforce\nmx: mx.good.test\nmax_age: {WEEK}\n"


def a_policy(max_age: int = WEEK, note: str = "none") -> Policy:
    """Return a valid policy; `note` makes it differ from others, or long."""
    return parse_policy(TEXT.replace(str(WEEK), str(max_age)).encode() + f"note: {note}\n".encode())


def a_state(
    fetched_at: float = 1000.0,
    refetch_at: float = 2000.0,
    policy_id: str = "id1",
    policy: Policy | None = None,
) -> State:
    """Return a state as a store loads it."""
    return restored(policy or a_policy(), PolicyId(policy_id), fetched_at, refetch_at)


def a_failed_state(error: MtaStsError, state: State | None = None, at: float = 1000.0) -> State:
    """Return the state after an attempt that ended with this error, whatever its kind."""
    return lifecycle._failed(state, error, at, lifecycle.ABSENCE_RECHECK)


_HOSTS = st.from_regex(r"(\*\.)?[a-z0-9]([a-z0-9-]{0,9}[a-z0-9])?\.(test|[A-Z]{2})", fullmatch=True)
_WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    """Valid policies: any order, line ends and blanks, unknown fields with any text."""
    mode = draw(st.sampled_from(["enforce", "testing", "none"]))
    fields = ["version: STSv1", f"mode:{mode}", f"max_age:\t{draw(st.integers(0, MAX_AGE_LIMIT))}"]
    fields += [f"mx: {host}" for host in draw(st.lists(_HOSTS, min_size=1, max_size=4))]
    fields += [f"x-note: {word} " for word in draw(st.lists(_WORDS.filter(bool), max_size=3))]
    ends = st.sampled_from(["\n", "\r\n"])
    return parse_policy("".join(f + draw(ends) for f in draw(st.permutations(fields))).encode())


TIMES = st.floats(0, 2**33, allow_nan=False)
POLICY_IDS = st.from_regex(r"[A-Za-z0-9]{1,32}", fullmatch=True)
STATES = st.builds(
    restored,
    policy=policies(),
    policy_id=POLICY_IDS.map(PolicyId),
    fetched_at=TIMES,
    refetch_at=TIMES,
)
"""States as a store loads them."""
