"""The history of a domain is bounded in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.policy import shortened
from postfix_mta_sts.store.history import MX_BYTES


def test_a_usual_policy_is_kept_whole() -> None:
    """Thirty patterns of usual length fit."""
    mx = tuple(f"mx{n}.mail.example.test" for n in range(30))
    assert shortened(mx, MX_BYTES) == mx


@given(lengths=st.lists(st.integers(3, 255), max_size=200))
def test_the_rest_is_a_number(lengths: list[int]) -> None:
    """What is kept is a beginning of the patterns; the last word says how many more there were."""
    mx = tuple("m" * length for length in lengths)
    kept = shortened(mx, MX_BYTES)
    assert len(" ".join(kept)) <= MX_BYTES + len("+200")
    if kept != mx:
        assert kept[:-1] == mx[: len(kept) - 1]
        assert kept[-1] == f"+{len(mx) - len(kept) + 1}"
