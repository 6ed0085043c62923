"""Any value of a class of values, for property tests: each attribute has anything of its type.

Text is printable ASCII, as the values of the network promise: with braces, long words, and empty.
"""

import enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, MxState
from postfix_mta_sts.mtasts.policy import Policy
from postfix_mta_sts.values import Value
from tests.support.states import policies

T = TypeVar("T")

_ODD: Final = ("", " ", "mx1.x.test", "x.test", "127.0.0.1", "{issuer}", "{", "%s", "a " * 60)
TEXTS: Final = st.sampled_from(_ODD) | st.text(
    st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]), max_size=90
)
"""One line of printable ASCII."""
TIMES: Final = st.integers(0, 253_402_300_799)
"""Epoch seconds, up to the last that a certificate can have (RFC 5280 §4.1.2.5)."""
_PRIMITIVES: Final[dict[Any, st.SearchStrategy[Any]]] = {
    str: TEXTS,
    int: st.integers(0, 999) | TIMES,
    float: st.floats(0, 1e9),
    bool: st.booleans(),
    bytes: st.binary(max_size=40),
    NoneType: st.none(),
}


@cache
def values(form: type[T]) -> st.SearchStrategy[T]:
    """Return a strategy for the values of a class."""
    if form in _SPECIAL:
        return _SPECIAL[form]
    hints = get_type_hints(form)
    return st.builds(form, **{name: _of(hint) for name, hint in hints.items()})


def _of(  # noqa: PLR0911 (one for each kind)
    hint: Any,  # noqa: ANN401 (a type, of any form)
) -> st.SearchStrategy[Any]:
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint]
    if isinstance(hint, NewType):
        return _of(hint.__supertype__)
    arguments = get_args(hint)
    if get_origin(hint) in {Union, UnionType}:
        return st.one_of(*map(_of, arguments))
    if get_origin(hint) is tuple and arguments[-1] is Ellipsis:
        return st.lists(_of(arguments[0]), max_size=3).map(tuple)
    if get_origin(hint) is tuple:
        return st.tuples(*map(_of, arguments))
    if issubclass(hint, enum.Enum):
        return st.sampled_from(hint)
    assert issubclass(hint, Value), hint
    return values(hint)


_WORDS: Final = TEXTS.filter(bool)
_DANE_HOSTS: Final = st.builds(Host, _WORDS, _of(get_type_hints(Host)["state"]), _WORDS)
_SPECIAL: Final[dict[Any, st.SearchStrategy[Any]]] = {
    Host: _DANE_HOSTS,
    DaneOutcome: st.builds(DaneOutcome, st.sampled_from(MxState), _WORDS)
    | st.builds(
        DaneOutcome, st.just(MxState.SECURE), _WORDS, st.lists(_DANE_HOSTS, max_size=3).map(tuple)
    ),
    Policy: policies(),
}
"""Classes with conditions of their own."""
