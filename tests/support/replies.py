"""A reply cache on fake sources, and the replies that tests expect most often."""

from collections.abc import Callable

from postfix_mta_sts.mtasts.exceptions import NO_EXCEPTIONS, Exceptions
from postfix_mta_sts.postfix.answers import AnswerRules
from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.postfix.reply_cache import NoteFailure
from postfix_mta_sts.resolver.cache import Limits
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from tests.support.resolvers import make_resolver
from tests.support.surroundings import Surroundings

REQUEST = b"17:postfix good.test,"
SECURE = b"49:OK secure match=mx1.good.test servername=hostname,"
NOT_FOUND = b"9:NOTFOUND ,"


def make_reply_cache(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    resolver: Resolver | None = None,
    entries: int = 100,
    memory: int = 2**30,
    defer: bool = False,
    rule: DaneRule | None = None,
    exceptions: Exceptions = NO_EXCEPTIONS,
    counters: Counters | None = None,
    note_failure: NoteFailure = lambda *_: None,
) -> ReplyCache:
    """A reply cache; its own resolver, if none is given, looks up DANE if there is a `rule`."""
    if resolver is None:
        resolver = make_resolver(around)
        resolver.use_dane(around.look_up_dane if rule else None)
    return ReplyCache(
        wire,
        reply_format,
        resolver,
        lambda: around.now,
        limits=Limits(entries, memory),
        rules=AnswerRules(rule, defer, exceptions),
        counters=counters,
        note_failure=note_failure,
    )


async def ask(cache: ReplyCache, request: bytes = REQUEST) -> bytes:
    """The reply to a request, found in the same way as by the server."""
    reply = cache.cached(request) or cache.reply(request)
    return reply if isinstance(reply, bytes) else reply.reply(await reply.result)
