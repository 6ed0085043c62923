"""The reply caches of all listeners: one for each protocol and reply format.

This module turns the settings `maps`, `dns.on_failure`, `cache` and `listen[].tlsrpt` into reply
formats. Listeners that give the same replies share a cache.
"""

from collections.abc import Callable
from typing import Final

from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix.answers import Answering, AnswerRules, ServedMap
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters

_WIRES: Final[dict[str, Wire]] = {"socketmap": socketmap, "tcp_table": tcp_table}


class Maps:
    """The reply caches of one daemon; `counters` counts replies."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        clock: Callable[[], float],
        counters: Counters,
    ) -> None:
        self._settings = settings
        self._formats = _formats(settings)
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._rule: DaneRule | None = None
        self._caches: dict[tuple[str, bool], ReplyCache] = {}

    @property
    def entries(self) -> int:
        """Replies in all caches."""
        return sum(cache.entries for cache in self._caches.values())

    @property
    def asked_at(self) -> float | None:
        """When a domain was last asked for, in epoch seconds; None: never."""
        return max((cache.asked_at for cache in self._caches.values()), default=0.0) or None

    def replies(self, listener: ListenerSettings) -> ReplyCache:
        """The reply cache for a listener, created on first use."""
        key = (listener.wire, bool(listener.tlsrpt))
        if key not in self._caches:
            own = _own_format(listener)
            by_name = listener.wire == "socketmap"
            self._caches[key] = ReplyCache(
                _WIRES[listener.wire],
                self.reply_format if by_name else (lambda _: own),
                self._resolver,
                self._clock,
                limits=Limits(0, 0),  # set below
                defer=self._settings.dns.on_failure == "defer",
                rule=self._rule,
                counters=self._counters,
            )
            self._set_limits()
        return self._caches[key]

    def reply_format(self, name: str) -> ReplyFormat:
        """The format of replies to look-ups in the map with this name."""
        return self._formats.get(name, PLAIN)

    @property
    def answering(self) -> Answering:
        """The settings on which answers depend, and all maps that Postfix may ask."""
        return answering_by(self._settings, self._rule)

    def reconfigure(self, settings: Settings) -> None:
        """Apply new settings; cached replies stay if no setting that affects them changed."""
        before, self._settings = _reply_settings(self._settings), settings
        self._set_limits()
        if _reply_settings(settings) == before:
            return
        self._formats = _formats(settings)
        self._reconfigure_caches()

    def use_dane(self, rule: DaneRule | None) -> None:
        """Answer DANE verdicts by this rule from now on; None: ignore verdicts."""
        if rule != self._rule:
            self._rule = rule
            self._reconfigure_caches()

    def clear(self) -> None:
        """Remove all cached replies, because the clock was set."""
        for cache in self._caches.values():
            cache.clear()

    async def count(self) -> None:
        """Add the uses of cached replies to the counters."""
        for cache in list(self._caches.values()):
            await cache.count()

    def _reconfigure_caches(self) -> None:
        defer = self._settings.dns.on_failure == "defer"
        for cache in self._caches.values():
            cache.reconfigure(defer=defer, rule=self._rule)

    def _set_limits(self) -> None:
        """Divide the memory for requests among the caches."""
        memory = self._settings.cache.reply_memory // max(1, len(self._caches))
        for cache in self._caches.values():
            cache.limits = Limits(self._settings.cache.memory_entries, memory)


def answering_by(settings: Settings, rule: DaneRule | None) -> Answering:
    """The settings on which answers depend, and all maps; `rule` is None if DANE is off."""
    named = [ServedMap(name, reply_format=form) for name, form in _formats(settings).items()]
    unnamed = [
        ServedMap(served_name(each), tcp_table, _own_format(each))
        for each in settings.listen
        if each.wire == "tcp_table"
    ]
    defers = settings.dns.on_failure == "defer"
    return Answering(AnswerRules(rule, defers), (*named, *unnamed))


def served_name(listener: ListenerSettings, map_name: str = "") -> str:
    """The name of a map in `ServedMap`; tcp_table has no map names."""
    return map_name if listener.wire == "socketmap" else f"{listener.wire} {listener.address}"


def _own_format(listener: ListenerSettings) -> ReplyFormat:
    """The format of a listener whose protocol has no map names."""
    return ReplyFormat(tlsrpt=bool(listener.tlsrpt))


def _formats(settings: Settings) -> dict[str, ReplyFormat]:
    maps = settings.maps.items()
    return {n: ReplyFormat(m.tlsrpt, m.servername, m.enforce_testing) for n, m in maps}


def _reply_settings(settings: Settings) -> tuple[object, ...]:
    """All settings that affect a reply."""
    return settings.maps, settings.dns.on_failure
