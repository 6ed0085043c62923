"""Which answers a listener gives: one `Answers` for each wire and dress.

Border: what the settings say of maps and of failures ends here; listeners that give the same
answers share them, and what they remember.
"""

from collections.abc import Callable
from typing import Final

from postfix_mta_sts.config.settings import Listener, Settings
from postfix_mta_sts.counts import Counts
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, Dress
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import Answers
from postfix_mta_sts.resolver.resolver import Resolver

_WIRES: Final[dict[str, Wire]] = {"socketmap": socketmap, "tcp_table": tcp_table}


class Desk:
    """The answers of one daemon; `counts`: where what is answered is counted."""

    def __init__(
        self, settings: Settings, resolver: Resolver, clock: Callable[[], float], counts: Counts
    ) -> None:
        self._settings = settings
        self._dresses = _dresses(settings)
        self._resolver = resolver
        self._clock = clock
        self._counts = counts
        self._rule: DaneRule | None = None
        self._answers: dict[tuple[str, bool], Answers] = {}

    @property
    def entries(self) -> int:
        """How many replies are remembered."""
        return sum(answers.entries for answers in self._answers.values())

    def answers(self, listener: Listener) -> Answers:
        """The answers that a listener gives, shared with those that give the same."""
        key = (listener.wire, bool(listener.tlsrpt))
        if key not in self._answers:
            own = Dress(tlsrpt=bool(listener.tlsrpt))
            by_name = listener.wire == "socketmap"
            self._answers[key] = Answers(
                _WIRES[listener.wire],
                (lambda name: self._dresses.get(name, PLAIN)) if by_name else (lambda _: own),
                self._resolver,
                self._clock,
                entries=self._settings.cache.memory_entries,
                defer=self._settings.dns.on_failure == "defer",
                rule=self._rule,
                counts=self._counts,
            )
        return self._answers[key]

    def change(self, settings: Settings) -> None:
        """Answer as these settings have it; what is remembered stays, if they say the same."""
        before, self._settings = _manner(self._settings), settings
        if _manner(settings) == before:
            return
        self._dresses = _dresses(settings)
        self._change_all()

    def do_dane(self, rule: DaneRule | None) -> None:
        """Answer verdicts of DANE so from now on; None: as though there were none."""
        if rule != self._rule:
            self._rule = rule
            self._change_all()

    def forget(self) -> None:
        """Remember no reply: the clock was set."""
        for answers in self._answers.values():
            answers.forget()

    async def count(self) -> None:
        """Bring the counts up to date with what was answered from memory."""
        for answers in list(self._answers.values()):
            await answers.count()

    def _change_all(self) -> None:
        defer, entries = (
            self._settings.dns.on_failure == "defer",
            self._settings.cache.memory_entries,
        )
        for answers in self._answers.values():
            answers.change(defer=defer, rule=self._rule, entries=entries)


def _dresses(settings: Settings) -> dict[str, Dress]:
    return {n: Dress(m.tlsrpt, m.servername, m.enforce_testing) for n, m in settings.maps.items()}


def _manner(settings: Settings) -> tuple[object, ...]:
    """All that decides over a reply, but for what is known of its domain."""
    return settings.maps, settings.dns.on_failure, settings.cache.memory_entries
