"""What an engine raises and should not becomes an error of the store."""

import pytest

from postfix_mta_sts.store.fleet.errors import CannotServeError, NotReachedError
from postfix_mta_sts.store.fleet.unexpected import failing_as_store


@pytest.mark.parametrize("error", [NotReachedError("refused"), TimeoutError(), KeyboardInterrupt()])
def test_what_is_expected(error: BaseException) -> None:
    """Errors of the store, time limits and what ends a task pass."""
    with pytest.raises(type(error)) as raised, failing_as_store():
        raise error
    assert raised.value is error


def test_what_is_not() -> None:
    """The reason names the type and the place, and not the text, which a server may have sent."""
    with pytest.raises(CannotServeError) as raised, failing_as_store():
        raise BufferError("the password")
    assert str(raised.value).startswith("unexpected BufferError in test_unexpected.py, line ")
    assert "report it" in raised.value.mend
