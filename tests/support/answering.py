"""A resolver on fake sources, and the replies that are made from what it knows."""

from postfix_mta_sts.postfix.protocol.reply import STRICT, DaneRule
from postfix_mta_sts.postfix.replies import ReplyCache
from postfix_mta_sts.resolver.resolver import Resolver
from tests.support.replies import make_reply_cache
from tests.support.resolvers import look_up, make_resolver
from tests.support.surroundings import Surroundings


def make(
    around: Surroundings,
    *,
    timeout: float = 30,
    rule: DaneRule | None = STRICT,
    defer: bool = False,
) -> tuple[Resolver, ReplyCache]:
    """A resolver and the replies made from what it knows."""
    resolver = make_resolver(around, timeout=timeout)
    resolver.use_dane(around.look_up_dane if rule else None)
    return resolver, make_reply_cache(around, resolver=resolver, rule=rule, defer=defer)


async def stored(around: Surroundings) -> None:
    """Put the policy of good.test into the store, as an earlier daemon did."""
    around.publish()
    await look_up(make_resolver(around))
