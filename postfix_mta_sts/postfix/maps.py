"""Which answers a listener gives: one `ReplyCache` for each wire and dress.

Border: what the settings say of maps and of failures ends here; listeners that give the same
answers share them, and what they remember.
"""

from collections.abc import Callable
from typing import Final

from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters

_WIRES: Final[dict[str, Wire]] = {"socketmap": socketmap, "tcp_table": tcp_table}


class Maps:
    """The answers of one daemon; `counters`: where what is answered is counted."""

    def __init__(
        self, settings: Settings, resolver: Resolver, clock: Callable[[], float], counters: Counters
    ) -> None:
        self._settings = settings
        self._reply_formats = _reply_formats(settings)
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._rule: DaneRule | None = None
        self._answers: dict[tuple[str, bool], ReplyCache] = {}

    @property
    def entries(self) -> int:
        """How many replies are remembered."""
        return sum(answers.entries for answers in self._answers.values())

    def answers(self, listener: ListenerSettings) -> ReplyCache:
        """The answers that a listener gives, shared with those that give the same."""
        key = (listener.wire, bool(listener.tlsrpt))
        if key not in self._answers:
            own = ReplyFormat(tlsrpt=bool(listener.tlsrpt))
            by_name = listener.wire == "socketmap"
            self._answers[key] = ReplyCache(
                _WIRES[listener.wire],
                (lambda name: self._reply_formats.get(name, PLAIN)) if by_name else (lambda _: own),
                self._resolver,
                self._clock,
                entries=self._settings.cache.memory_entries,
                defer=self._settings.dns.on_failure == "defer",
                rule=self._rule,
                counters=self._counters,
            )
        return self._answers[key]

    def reconfigure(self, settings: Settings) -> None:
        """Answer as these settings have it; what is remembered stays, if they say the same."""
        before, self._settings = _manner(self._settings), settings
        if _manner(settings) == before:
            return
        self._reply_formats = _reply_formats(settings)
        self._change_all()

    def use_dane(self, rule: DaneRule | None) -> None:
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
            answers.reconfigure(defer=defer, rule=self._rule, entries=entries)


def _reply_formats(settings: Settings) -> dict[str, ReplyFormat]:
    return {
        n: ReplyFormat(m.tlsrpt, m.servername, m.enforce_testing) for n, m in settings.maps.items()
    }


def _manner(settings: Settings) -> tuple[object, ...]:
    """All that decides over a reply, but for what is known of its domain."""
    return settings.maps, settings.dns.on_failure, settings.cache.memory_entries
