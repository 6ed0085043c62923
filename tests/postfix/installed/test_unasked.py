"""Tables of which none was asked: which of them lead to the daemon, without a look-up of names."""

from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings, Settings
from postfix_mta_sts.postfix.installed.unasked import as_written, unasked_tables
from postfix_mta_sts.postfix.installed.values import Instance, TableSeen
from postfix_mta_sts.postfix.policy_maps import Server
from tests.support.snapshots import good, with_parameters, without_chroot

LISTENERS: Final = Settings().listen
HERE: Final = TcpAddress("127.0.0.1", 8461)


def having(maps: str, *, chrooted: bool = True) -> Instance:
    """An instance with this smtp_tls_policy_maps."""
    snapshot = with_parameters(good(), smtp_tls_policy_maps=maps)
    return (snapshot if chrooted else without_chroot(snapshot)).instances[0]


async def test_tables() -> None:
    """Each table once, in the order of main.cf, with its server."""
    maps = "texthash:/a, socketmap:inet:127.0.0.1:8461:QUERY, tcp:127.0.0.1:9"
    first, second, third = await unasked_tables(having(maps), LISTENERS)
    assert first == TableSeen("texthash:/a")
    name = "socketmap:inet:127.0.0.1:8461:QUERY"
    assert second == TableSeen(name, Server("socketmap", HERE, "QUERY"), True, "QUERY")  # noqa: FBT003 (short)
    assert (third.is_ours, third.map_name) == (False, None)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1",)),
        ("[::1]", ("::1",)),
        ("localhost", ("127.0.0.1", "::1")),
        ("mta-sts", ()),
    ],
)
async def test_hosts(host: str, expected: tuple[str, ...]) -> None:
    """A name is not looked up, which could take long."""
    assert await as_written(host) == expected


@pytest.mark.parametrize("chrooted", [True, False])
async def test_sockets(*, chrooted: bool) -> None:
    """A path is below the queue directory for a chrooted smtp(8)."""
    inside = "/var/spool/postfix" if chrooted else ""
    listener = ListenerSettings(socketmap=UnixAddress(Path(f"{inside}/run/s")))
    (table,) = await unasked_tables(
        having("socketmap:unix:/run/s:QUERY", chrooted=chrooted), [listener]
    )
    assert table.is_ours
