"""What Postfix is told, in words for people: the answer with its reason, and the replies."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

_UNENFORCED: Final = {
    "testing": "testing",
    "none": "none",
    "no-policy": "no policy",
    "dane": "main.cf",
    "trial": "trial",
    "exception": "exception",
}
"""What stands for the answer "not found", by its reason."""
_EXPLAINED: Final = {
    "testing": "not found: the policy is in mode testing, so that it is not enforced",
    "none": "not found: the policy is in mode none",
    "no-policy": "not found: no policy is in force",
    "dane": "not found: level dane of main.cf stays in force",
    "trial": "not found: the trial is on, so that nothing is enforced",
    "exception": "not found: an exception of this daemon says so",
}


def answer(known: Mapping[str, Any]) -> str | None:
    """Return the answer in one or two words; None: it is not known before the network is asked."""
    is_absent = known["answer"] == "not-found"
    told: str | None = _UNENFORCED.get(known["why"]) if is_absent else known["answer"]
    return f"{told} (exception)" if known["why"] == "exception" and not is_absent else told


def explained(known: Mapping[str, Any]) -> str:
    """Return the answer with its reason; there is one."""
    if known["answer"] == "not-found":
        return _EXPLAINED[known["why"]]
    if known["answer"] == "secure" and known["why"] == "testing":
        return "secure: mode testing is enforced in the map postfix"
    if known["why"] == "exception":
        return f"{known['answer']}: an exception of this daemon says so"
    return str(known["answer"])


def replies(known: Mapping[str, Any], *, shortened: bool) -> Iterator[tuple[str, object]]:
    """Yield the lines of the replies: each once, the shortest first, with its maps.

    `shortened`: without the TLSRPT attributes, which repeat the policy.
    """
    maps: dict[str | None, list[str]] = {}
    for told in known["replies"]:
        maps.setdefault(told["reply"], []).append(told["map"])
    for reply in sorted(maps, key=lambda text: len(text or "")):
        text = reply or "the next look-up asks the network first"
        yield "reply", _shortened(text) if shortened else text
        if len(maps) > 1:
            yield "", f"in {_join(maps[reply])}"


def _shortened(reply: str) -> str:
    head, attributes, tail = reply.partition(" policy_type=sts ")
    return f"{head}{attributes}... (+{len(tail)} characters)" if tail else reply


def _join(names: Iterable[str]) -> str:
    known = list(names)
    return f"map{'s' if len(known) > 1 else ''} {', '.join(known)}"
