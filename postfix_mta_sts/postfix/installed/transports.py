"""Where transport_maps send mail to all domains, past the policies of these."""

import asyncio
from collections.abc import Sequence

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.postmap import Postmap, unused_domain
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.policy_maps import TABLES_LIMIT, first_answer, split_tables
from postfix_mta_sts.postfix.programs import all_ended


async def read_catch_all(
    instance: Instance, account: Account | None, *, postmap: Sequence[str] = ("postmap",)
) -> str | None:
    """The entry of transport_maps for a domain that nobody has, such as `smtp:[relay.test]`.

    None: there is none, or a table could not be asked. The keys are those of transport(5).
    """
    names = split_tables(instance.parameters.get("transport_maps", ""))[:TABLES_LIMIT]
    program, domain = Postmap.of(instance, account, postmap), unused_domain()
    keys = (f"doctor@{domain}", domain, "*")
    tasks = [asyncio.create_task(program.look_up(each, keys)) for each in names]
    if tasks:
        await all_ended(*tasks)
    first = first_answer([each.result() for each in tasks], keys)
    return first.found if first else None
