"""The socket to which smtp(8) sends the outcome of TLS handshakes (TLSRPT_README)."""

from pathlib import Path

from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed.asking import connect_inside, views_of
from postfix_mta_sts.postfix.installed.outcome import NotAskedError
from postfix_mta_sts.postfix.installed.servers import DENIED
from postfix_mta_sts.postfix.installed.values import Instance, Reach


async def reach_tlsrpt(instance: Instance, account: Account | None) -> Reach | None:
    """What comes of connecting to smtp_tlsrpt_socket_name; nothing is sent.

    None: reports are off, the name is empty, or this process may not try. `account` is
    `asking.account_of(mail_owner)`.
    """
    name = instance.parameters.get("smtp_tlsrpt_socket_name", "")
    is_on = instance.parameters.get("smtp_tlsrpt_enable", "").lower() == "yes"
    if not is_on or not name:
        return None
    queue_directory = instance.queue_directory
    chrooted = any(each.is_chrooted for each in instance.services)
    socket = Path(queue_directory, name.lstrip("/") if chrooted else name)
    view = views_of(queue_directory, account, chrooted=chrooted)[0]
    try:
        reach = await connect_inside(socket, view)
    except NotAskedError:
        return None
    return None if account is None and reach.error in DENIED else reach
