"""The errors of Redis and Valkey become errors of the fleet, printable ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.store.fleet.errors import CannotServeError, DeniedError, FleetError
from postfix_mta_sts.store.fleet.redis.refusals import Refusal, login_refused

# Each as Redis 7.0 and Valkey 8.1 write it.
CASES = [
    ("NOAUTH Authentication required.", DeniedError, "wants a password"),
    ("NOPERM User mta_sts has no permissions to run the 'set' command", DeniedError, "too few"),
    ("NOPERM No permissions to access a key", DeniedError, "too few rights"),
    (
        "ERR The user executing the script can't run this command or subcommand script: 1234",
        DeniedError,
        "too few rights",
    ),
    ("ERR ACL failure in script: No permissions to access a key", DeniedError, "too few rights"),
    ("READONLY You can't write against a read only replica.", CannotServeError, "read-only"),
    ("OOM command not allowed when used memory > 'maxmemory'.", CannotServeError, "out of memory"),
    ("MISCONF Redis is configured to save RDB snapshots, but", CannotServeError, "its disk"),
    ("LOADING Redis is loading the dataset in memory", CannotServeError, "is loading"),
    ("MASTERDOWN Link with MASTER is down and", CannotServeError, "has lost its primary"),
    ("CLUSTERDOWN Hash slot not served", CannotServeError, "Cluster that is down"),
    ("MOVED 3999 127.0.0.1:6381", CannotServeError, "names no other"),
    ("BUSY Redis is busy running a script.", CannotServeError, "busy with a script"),
    ("NOREPLICAS Not enough good replicas to write.", CannotServeError, "too few replicas"),
    ("ERR something new", CannotServeError, "answers 'ERR something new'"),
    ("", CannotServeError, "answers ''"),
]


@pytest.mark.parametrize(("text", "kind", "says"), CASES)
def test_a_refusal_says_what_it_means(text: str, kind: type[FleetError], says: str) -> None:
    """The first word of an error chooses the kind and the words."""
    error = Refusal(text).meaning("store.example:6379")
    assert type(error) is kind
    assert str(error).startswith("store.example:6379: it ")
    assert says in str(error)


@pytest.mark.parametrize("text", ["READONLY x", "MASTERDOWN x"])
def test_another_server_is_the_primary(text: str) -> None:
    """After these errors the primary is looked for; after others it is not."""
    assert Refusal(text).is_of_former_primary
    assert not Refusal("OOM x").is_of_former_primary


@given(text=st.text(max_size=300) | st.sampled_from([case[0] for case in CASES]))
def test_no_text_of_a_server_is_more_than_one_short_printable_line(text: str) -> None:
    """Whatever a server writes, the message is short, printable ASCII."""
    for error in (Refusal(text).meaning("a:1"), login_refused("a:1", text)):
        said = str(error)
        assert said.isascii()
        assert said.isprintable()
        assert len(said) < 600


@given(secret=st.text("abcdefgh0123", min_size=12, max_size=12), before=st.text(max_size=60))
def test_a_refused_login_shows_nothing_of_what_was_sent(secret: str, before: str) -> None:
    """A server that writes the password into its error does not make us log it."""
    assert secret not in str(login_refused("a:1", f"{before}{secret}"))
