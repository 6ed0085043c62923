"""The reply caches of the listeners: which listeners share one, and what new settings change."""

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.settings import DnsSettings, ListenerSettings, MapSettings, Settings
from postfix_mta_sts.mtasts.errors import DnsFailureError
from postfix_mta_sts.postfix.maps import Maps
from postfix_mta_sts.postfix.protocol.reply import STRICT
from postfix_mta_sts.stats import Counters
from postfix_mta_sts.stats.labels import Answer, Source
from tests.support.replies import NOT_FOUND, REQUEST, SECURE, ask
from tests.support.resolvers import make_resolver
from tests.support.surroundings import GOOD, Surroundings, signed

SOCKETMAP = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 1))
TCP_TABLE = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 2))
TLSRPT = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 3), tlsrpt=True)
GET = b"get good.test\n"


class MapsWithParts:
    """The reply caches of one daemon, on fake sources."""

    def __init__(self, around: Surroundings, settings: Settings | None = None) -> None:
        self.counters = Counters()
        self.resolver = make_resolver(around)
        self.maps = Maps(settings or Settings(), self.resolver, lambda: around.now, self.counters)


def test_listeners_with_the_same_replies_share_a_cache() -> None:
    """One cache for each protocol and reply format, whatever the address."""
    maps = MapsWithParts(Surroundings()).maps
    another = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 4))
    assert maps.replies(SOCKETMAP) is maps.replies(another)
    caches = {id(maps.replies(listener)) for listener in (SOCKETMAP, TCP_TABLE, TLSRPT)}
    assert len(caches) == 3


async def test_the_reply_format() -> None:
    """A socketmap replies by the map name; a tcp_table, which has none, by its listener."""
    around = Surroundings()
    around.publish()
    settings = Settings(maps={"noSNI": MapSettings(servername=False)})
    maps = MapsWithParts(around, settings).maps
    socketmap = maps.replies(SOCKETMAP)
    assert await ask(socketmap) == SECURE
    assert await ask(socketmap, b"15:noSNI good.test,") == b"29:OK secure match=mx1.good.test,"
    assert b"policy_type" not in await ask(maps.replies(TCP_TABLE), GET)
    assert b"policy_type" in await ask(maps.replies(TLSRPT), GET)


async def test_new_settings_for_maps() -> None:
    """They apply to the next request; cached replies are removed."""
    around = Surroundings()
    around.publish()
    maps = MapsWithParts(around).maps
    cache = maps.replies(SOCKETMAP)
    await ask(cache)
    maps.reconfigure(Settings(maps={"postfix": MapSettings(servername=False)}))
    assert cache.cached(REQUEST) is None
    assert await ask(cache) == b"29:OK secure match=mx1.good.test,"


async def test_new_settings_for_dns_failures() -> None:
    """`dns.on_failure: defer` holds for the next request."""
    around = Surroundings()
    around.records[GOOD] = DnsFailureError("no answer")
    maps = MapsWithParts(around).maps
    cache = maps.replies(SOCKETMAP)
    assert await ask(cache) == NOT_FOUND
    maps.reconfigure(Settings(dns=DnsSettings(on_failure="defer")))
    assert b"TEMP MTA-STS" in await ask(cache)


async def test_settings_that_affect_no_reply_leave_the_cache() -> None:
    """A reload without such changes does not slow down look-ups."""
    around = Surroundings()
    around.publish()
    maps = MapsWithParts(around).maps
    cache = maps.replies(SOCKETMAP)
    await ask(cache)
    maps.reconfigure(Settings(dns=DnsSettings(timeout=1)))
    assert cache.cached(REQUEST) == SECURE


async def test_the_dane_rule() -> None:
    """It applies to existing and to new caches; the same rule again removes no cached reply."""
    around = Surroundings(verdicts={GOOD: signed()})
    around.publish()
    parts = MapsWithParts(around)
    parts.resolver.use_dane(around.look_up_dane)
    cache = parts.maps.replies(SOCKETMAP)
    assert await ask(cache) == SECURE
    parts.maps.use_dane(STRICT)
    assert await ask(cache) == b"12:OK dane-only,"
    assert await ask(parts.maps.replies(TCP_TABLE), GET) == b"200 dane-only\n"
    parts.maps.use_dane(STRICT)
    assert cache.cached(REQUEST) == b"12:OK dane-only,"
    parts.maps.use_dane(None)
    assert await ask(cache) == SECURE


async def test_clear_and_count() -> None:
    """Both do their work in all caches; `entries` is their sum."""
    around = Surroundings()
    around.publish()
    parts = MapsWithParts(around)
    caches = [(parts.maps.replies(SOCKETMAP), REQUEST), (parts.maps.replies(TCP_TABLE), GET)]
    for cache, request in caches:
        await ask(cache, request)
        assert cache.cached(request)
    await parts.maps.count()
    assert parts.counters.answers[Answer.FOUND, Source.MEMORY] == 3
    assert parts.maps.entries == 2
    parts.maps.clear()
    assert parts.maps.entries == 0
