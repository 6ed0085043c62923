"""`status --nagios`: one line, and the exit code, of a plugin for Nagios, Icinga and their like.

CRITICAL: mail waits, because no look-up is answered. WARNING: mail flows, with less protection than
is configured. See https://nagios-plugins.org/doc/guidelines.html.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from postfix_mta_sts.admin.client import ControlDeniedError, ControlError
from postfix_mta_sts.admin.times import ago
from postfix_mta_sts.cli.fleet_status import in_short
from postfix_mta_sts.errors import UserError

OK, WARNING, CRITICAL, UNKNOWN = 0, 1, 2, 3
TIMEOUT: Final = 9.0
"""Seconds to wait for the daemon: monitors kill a plugin after 10 seconds."""
_REASONS: Final = {"dns": "no name server answers"}
"""Of parts that do not say why."""
_WORDS: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


@dataclass(frozen=True, slots=True)
class Check:
    """The result of the check."""

    code: int
    text: str

    @property
    def line(self) -> str:
        """The line that the plugin prints."""
        return f"MTA-STS {_WORDS[self.code]}: {self.text}"


def check(ask: Callable[[], Mapping[str, Any]], now: float) -> Check:
    """Judge the status that `ask` returns; a daemon that is not there is CRITICAL."""
    try:
        status = ask()
    except ControlDeniedError as error:
        return Check(UNKNOWN, _one_field(str(error)))
    except ControlError as error:
        return Check(CRITICAL, _one_field(str(error)))
    except UserError as error:
        return Check(UNKNOWN, _one_field(str(error)))
    code, problems = _judge(status)
    text = _one_field("; ".join([*problems, *_facts(status, now)]))
    return Check(code, f"{text} | {' '.join(_numbers(status))}")


def not_working(status: Mapping[str, Any]) -> Sequence[str]:
    """Name the parts that do not work, with the reasons that are known."""
    reasons = {**_REASONS, **{part: why for part, why in status["reasons"].items() if why}}
    return [f"{p} ({reasons[p]})" if p in reasons else p for p in status["not_working"]]


def _judge(status: Mapping[str, Any]) -> tuple[int, list[str]]:
    answering, dane = status["answering"], status["dane"]
    if not answering["ok"]:
        return CRITICAL, [f"does not answer: {answering['reason']}"]
    problems = []
    if status["not_working"]:
        problems.append(f"not working: {', '.join(not_working(status))}")
    if dane["needs_attention"]:
        problems.append(f"DANE is {'on' if dane['on'] else 'off'}: {dane['reason']}")
    return (WARNING if problems else OK), problems


def _facts(status: Mapping[str, Any], now: float) -> Iterator[str]:
    asked_at = status["last_asked_at"]
    yield "not asked since the start" if asked_at is None else f"last asked {ago(asked_at, now)}"
    yield f"{status['failing']} failing"
    yield f"DANE {'on' if status['dane']['on'] else 'off'}"
    if status.get("fleet"):
        yield in_short(status["fleet"], now)


def _numbers(status: Mapping[str, Any]) -> Iterator[str]:
    """The performance data; `c` marks a counter."""
    yield f"failing={status['failing']}"
    yield f"policies={sum(status['policies']['by_mode'].values())}"
    yield from (f"{name}={n}c" for name, n in status["lookups"]["by_answer"].items())
    yield f"unwritten={status['store']['unwritten']}"


def _one_field(text: str) -> str:
    """The text without the character that begins the performance data."""
    return text.replace("|", "/")
