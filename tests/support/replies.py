"""A reply cache in its surroundings."""

from collections.abc import Callable

from postfix_mta_sts.postfix.protocol import socketmap
from postfix_mta_sts.postfix.protocol.reply import PLAIN, DaneRule, ReplyFormat
from postfix_mta_sts.postfix.protocol.wire import Wire
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from postfix_mta_sts.stats import Counters
from tests.support.surroundings import Surroundings

REQUEST = b"17:postfix good.test,"


SECURE = b"49:OK secure match=mx1.good.test servername=hostname,"


NOT_FOUND = b"9:NOTFOUND ,"


def answers_in(
    around: Surroundings,
    wire: Wire = socketmap,
    reply_format: Callable[[str], ReplyFormat] = lambda _: PLAIN,
    *,
    defer: bool = False,
    rule: DaneRule | None = None,
    counters: Counters | None = None,
) -> ReplyCache:
    """Answers with a resolver of their own in these surroundings; with a `rule`, of DANE too."""
    resolver = Resolver(around.sources(), lookup_timeout=30, entries=100)
    resolver.use_dane(around.look_up_dane if rule else None)
    return ReplyCache(
        wire,
        reply_format,
        resolver,
        lambda: around.now,
        entries=100,
        defer=defer,
        rule=rule,
        counters=counters,
    )


async def answered(answers: ReplyCache, request: bytes = REQUEST) -> bytes:
    """The reply, as the server gets it."""
    reply = answers.cached(request) or answers.reply(request)
    return reply if isinstance(reply, bytes) else reply.reply(await reply.result)
