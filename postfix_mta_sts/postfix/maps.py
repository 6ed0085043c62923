"""The reply caches of all listeners: one for each protocol and reply format.

This module turns the settings `maps`, `trial`, `dns.on_failure`, `cache` and `listen[].tlsrpt` into
reply formats. Listeners that give the same replies share a cache.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

from postfix_mta_sts.config.settings import ListenerSettings, MapSettings, Settings
from postfix_mta_sts.mtasts.exceptions import NO_EXCEPTIONS, Exceptions
from postfix_mta_sts.postfix.answers import OTHER, Answering, AnswerRules, ServedMap
from postfix_mta_sts.postfix.protocol import socketmap, tcp_table
from postfix_mta_sts.postfix.protocol.reply import DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.postfix.reply_cache import NoteFailure
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.values import replace

_WIRES: Final[dict[str, Wire]] = {"socketmap": socketmap, "tcp_table": tcp_table}


class Maps:
    """The reply caches of one daemon; `counters` and `note_failure` are as in `ReplyCache`."""

    def __init__(
        self,
        settings: Settings,
        resolver: Resolver,
        clock: Callable[[], float],
        counters: Counters,
        note_failure: NoteFailure = lambda *_: None,
    ) -> None:
        self._note_failure = note_failure
        self._settings = settings
        self._set_formats()
        self._resolver = resolver
        self._clock = clock
        self._counters = counters
        self._rule: DaneRule | None = None
        self.exceptions = NO_EXCEPTIONS
        """See `use_exceptions`."""
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
            by_name = listener.wire == "socketmap"
            self._caches[key] = ReplyCache(
                _WIRES[listener.wire],
                self.reply_format if by_name else partial(self._own_format, key[1]),
                self._resolver,
                self._clock,
                limits=Limits(0, 0),  # set below
                rules=self._rules,
                counters=self._counters,
                note_failure=self._note_failure,
            )
            self._set_limits()
        return self._caches[key]

    def reply_format(self, name: str) -> ReplyFormat:
        """The format of replies to look-ups in the map with this name."""
        return self._formats.get(name, self._other)

    @property
    def answering(self) -> Answering:
        """The settings on which answers depend, and all maps that Postfix may ask."""
        return answering_by(self._settings, self._rule, self.exceptions)

    def reconfigure(self, settings: Settings) -> None:
        """Apply new settings; cached replies stay if no setting that affects them changed."""
        before, self._settings = _reply_settings(self._settings), settings
        self._set_limits()
        if _reply_settings(settings) == before:
            return
        self._set_formats()
        self._reconfigure_caches()

    def use_dane(self, rule: DaneRule | None) -> None:
        """Answer DANE verdicts by this rule from now on; None: ignore verdicts."""
        if rule != self._rule:
            self._rule = rule
            self._reconfigure_caches()

    def use_exceptions(self, exceptions: Exceptions) -> None:
        """Answer by these exceptions from now on; cached replies stay if they are the same."""
        if exceptions != self.exceptions:
            self.exceptions = exceptions
            self._reconfigure_caches()

    def clear(self) -> None:
        """Remove all cached replies, because the clock was set."""
        for cache in self._caches.values():
            cache.clear()

    async def count(self) -> None:
        """Add the uses of cached replies to the counters."""
        for cache in list(self._caches.values()):
            await cache.count()

    @property
    def _rules(self) -> AnswerRules:
        return _rules(self._settings, self._rule, self.exceptions)

    def _set_formats(self) -> None:
        settings = self._settings
        self._formats, self._other = _formats(settings), _other_format(settings)
        self._own = {tlsrpt: _own_format(settings, tlsrpt=tlsrpt) for tlsrpt in (False, True)}

    def _own_format(self, tlsrpt: bool, _: str) -> ReplyFormat:  # noqa: FBT001 (for partial)
        """The format of a listener without map names, by the settings of this moment."""
        return self._own[tlsrpt]

    def _reconfigure_caches(self) -> None:
        for cache in self._caches.values():
            cache.reconfigure(self._rules)

    def _set_limits(self) -> None:
        """Divide the memory for requests among the caches."""
        memory = self._settings.cache.reply_memory // max(1, len(self._caches))
        for cache in self._caches.values():
            cache.limits = Limits(self._settings.cache.memory_entries, memory)


def answering_by(
    settings: Settings, rule: DaneRule | None, exceptions: Exceptions = NO_EXCEPTIONS
) -> Answering:
    """The settings on which answers depend, and all maps; `rule` is None if DANE is off."""
    named = [ServedMap(name, reply_format=form) for name, form in _formats(settings).items()]
    unnamed = [
        ServedMap(served_name(each), tcp_table, _own_format(settings, tlsrpt=bool(each.tlsrpt)))
        for each in settings.listen
        if each.wire == "tcp_table"
    ]
    other = replace(OTHER, reply_format=_other_format(settings))
    return Answering(_rules(settings, rule, exceptions), (*named, *unnamed), other)


def served_name(listener: ListenerSettings, map_name: str = "") -> str:
    """The name of a map in `ServedMap`; tcp_table has no map names."""
    return map_name if listener.wire == "socketmap" else f"{listener.wire} {listener.address}"


def _rules(settings: Settings, rule: DaneRule | None, exceptions: Exceptions) -> AnswerRules:
    return AnswerRules(rule, settings.dns.on_failure == "defer", exceptions, settings.trial.dane)


def _own_format(settings: Settings, *, tlsrpt: bool) -> ReplyFormat:
    """The format of a listener whose protocol has no map names."""
    return ReplyFormat(tlsrpt=tlsrpt, trial=settings.trial.enabled)


def _other_format(settings: Settings) -> ReplyFormat:
    """The format for map names that are not in the settings."""
    return ReplyFormat(trial=settings.trial.enabled)


def _formats(settings: Settings) -> dict[str, ReplyFormat]:
    return {name: _format(each, settings) for name, each in settings.maps.items()}


def _format(own: MapSettings, settings: Settings) -> ReplyFormat:
    return ReplyFormat(own.tlsrpt, own.servername, own.enforce_testing, settings.is_on_trial(own))


def _reply_settings(settings: Settings) -> tuple[object, ...]:
    """All settings that affect a reply; `Maps.use_exceptions` has exceptions."""
    return settings.maps, settings.dns.on_failure, settings.trial.enabled, settings.trial.dane
