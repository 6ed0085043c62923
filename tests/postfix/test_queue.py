"""Counting the mail that waits for a domain."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.postfix.queue import Count, Waiting, waiting_for
from tests.support.scripts import script

DOMAIN = Domain("a.test")
TIMEOUT = "connect to mx.{}[192.0.2.1]:25: Connection timed out"
NOT_VERIFIED = "Server certificate not verified"


def message(arrived: int, *recipients: tuple[str, str]) -> str:
    """A line of `postqueue -j`; recipients are an address and a reason, or no reason."""
    each = [{"address": to} | ({"delay_reason": why} if why else {}) for to, why in recipients]
    return json.dumps(
        {
            "queue_name": "deferred",
            "queue_id": "4ZZ",
            "arrival_time": arrived,
            "message_size": 300,
            "forced_expire": False,
            "sender": "s@relay.test",
            "recipients": each,
        },
        ensure_ascii=False,
    )


QUEUE = [
    message(200, ("u@a.test", TIMEOUT.format("a.test"))),
    message(100, ("U@A.Test", TIMEOUT.format("b.test")), ("v@a.test", NOT_VERIFIED)),
    message(300, ("u@a.test.", "")),
    message(50, ("u@b.test", TIMEOUT.format("b.test")), ("u@c.test", NOT_VERIFIED)),
    message(60, ("u@b.test", "mailbox full")),
    message(400, ("u@a.test", TIMEOUT.format("a.test")), ("u@c.test", NOT_VERIFIED)),
    message(70, ("u@sub.a.test", "")),
    message(80),
]


def postqueue(folder: Path, lines: list[str], end: str = "") -> list[str]:
    """A postqueue that prints these lines."""
    (folder / "lines").write_text("".join(f"{line}\n" for line in lines))
    return [script(folder / "postqueue", f'[ "$*" = -j ] || exit 1; cat {folder}/lines; {end}')]


async def test_a_queue(tmp_path: Path) -> None:
    """Messages, the oldest, reasons by frequency, and others that wait for the same."""
    assert await waiting_for(DOMAIN, command=postqueue(tmp_path, QUEUE)) == Waiting(
        messages=4,
        oldest=100,
        reasons=("connect to ...: Connection timed out", NOT_VERIFIED),
        others_with_reason=2,
    )


async def test_an_empty_queue(tmp_path: Path) -> None:
    """No mail is not an error."""
    assert await waiting_for(DOMAIN, command=postqueue(tmp_path, [])) == Waiting(0, None)


async def test_names_of_other_spelling(tmp_path: Path) -> None:
    """U-labels are the same domain as A-labels; what is no domain is none."""
    lines = [
        message(1, (to, "")) for to in ("u@b\u00fccher.test", "u@B\u00dcCHER.test", "u@_x", "u")
    ]
    found = await waiting_for(Domain("xn--bcher-kva.test"), command=postqueue(tmp_path, lines))
    assert found == Waiting(2, 1)


async def test_no_more_than_five_reasons(tmp_path: Path) -> None:
    """The most frequent reasons are shown."""
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    lines = [message(1, ("u@a.test", why)) for n, why in enumerate(words) for _ in range(n + 1)]
    found = await waiting_for(DOMAIN, command=postqueue(tmp_path, lines))
    assert found.reasons == ("seven", "six", "five", "four", "three")


async def test_many_reasons() -> None:
    """Memory is limited, however many different reasons there are."""
    count = Count(DOMAIN)
    for number in range(1_500):
        why = "x" * (number % 150) + f" {chr(97 + number % 26)}{number}"
        count.add(message(1, ("u@a.test", why), ("u@b.test", f"{why} b")).encode())
    found = count.result("")
    assert found.messages == 1_500
    assert len(found.reasons) == 5


async def test_the_mail_system_is_down(tmp_path: Path) -> None:
    """What postqueue says last is the error."""
    end = "echo 'postqueue: fatal: Queue report unavailable - mail system is down' >&2; exit 69"
    found = await waiting_for(DOMAIN, command=postqueue(tmp_path, [], end))
    error = "postqueue: fatal: Queue report unavailable - mail system is down"
    assert found == Waiting(0, None, error=error)


async def test_no_postqueue() -> None:
    """Without a postqueue that is the error."""
    found = await waiting_for(DOMAIN, command=["no-such-program"])
    assert found == Waiting(0, None, error="no-such-program was not found")


async def test_lines_that_are_not_json(tmp_path: Path) -> None:
    """They are left out, and said."""
    lines = ["{", QUEUE[0], '{"arrival_time": "x"}', "", "[" * 100_000]
    found = await waiting_for(DOMAIN, command=postqueue(tmp_path, lines))
    assert (found.messages, found.error) == (1, "3 lines of postqueue could not be read")


async def test_an_endless_queue(tmp_path: Path) -> None:
    """What was read within the limit counts."""
    lines = [QUEUE[0]] * 100
    found = await waiting_for(DOMAIN, command=postqueue(tmp_path, lines, "exec yes"), limit=100_000)
    assert found.messages == 100
    assert found.error == "the queue was not read to its end: more than 100000 bytes"


async def test_a_slow_queue(tmp_path: Path) -> None:
    """When the time is over, that is said."""
    command = postqueue(tmp_path, [], "exec sleep 600")
    found = await waiting_for(DOMAIN, command=command, timeout=0.2)
    assert found.error == "the queue was not read to its end within 0.2 s"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["arrival_time", "recipients", "address", "delay_reason"]), inner
        )
    ),
    max_leaves=10,
)


@given(st.lists(st.binary(max_size=50) | JSON.map(lambda value: json.dumps(value).encode())))
def test_garbage(lines: list[bytes]) -> None:
    """Whatever postqueue prints, counting goes on."""
    count = Count(DOMAIN)
    for line in lines:
        count.add(line)
    count.add(QUEUE[0].encode())
    assert count.result("").messages >= 1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**40),
            st.lists(
                st.tuples(st.sampled_from(["u@a.test", "u@b.test", "u@c.test"]), st.text()),
                max_size=3,
            ),
        )
    )
)
def test_any_queue(queue: list[tuple[int, list[tuple[str, str]]]]) -> None:
    """Messages for the domain, and the oldest, whatever the reasons are."""
    count = Count(DOMAIN)
    for arrived, recipients in queue:
        count.add(message(arrived, *recipients).encode("utf-8", "replace"))
    ours = [arrived for arrived, to in queue if any(each == "u@a.test" for each, _ in to)]
    found = count.result(count.problem)
    assert (found.messages, found.oldest) == (len(ours), min(ours, default=None))
    assert found.error == ""
    assert found.others_with_reason <= len(queue)


@pytest.mark.parametrize("reason", ["", TIMEOUT.format("a.test")])
def test_others_without_the_reason(reason: str) -> None:
    """Messages that do not wait yet count for no reason."""
    count = Count(DOMAIN)
    count.add(message(1, ("u@a.test", reason)).encode())
    count.add(message(1, ("u@b.test", "")).encode())
    assert count.result("").others_with_reason == 0
