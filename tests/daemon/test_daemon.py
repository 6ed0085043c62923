"""What a running daemon says of itself."""

import socket
from pathlib import Path

import pytest

from postfix_mta_sts.sockets import ListenError
from tests.support.daemons import reloading
from tests.support.internet import Changes, Internet


async def test_configured_at(net: Internet, tmp_path: Path) -> None:
    """The settings are those of the start, and then of the last reload that succeeded."""
    async with reloading(net, tmp_path) as (_, served):
        before = served.info()
        assert before.configured_at == before.started_at
        await served.reload(net.settings(tmp_path))
        after = served.info()
        assert after.started_at == before.started_at < after.configured_at
        assert (await served.control.status())["configured_at"] == round(after.configured_at, 3)


async def test_configured_at_after_a_refused_reload(net: Internet, tmp_path: Path) -> None:
    """A reload that is refused leaves the old settings in force."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        taken: Changes = {"metrics": {"listen": address}}
        async with reloading(net, tmp_path) as (_, served):
            before = served.info().configured_at
            with pytest.raises(ListenError):
                await served.reload(net.settings(tmp_path, taken))
            assert served.info().configured_at == before


async def test_trial(net: Internet, tmp_path: Path) -> None:
    """The status says of each map whether policies are on trial, also after a reload."""
    changes: Changes = {"trial": {"enabled": True}, "maps": {"postfix": {"trial": False}}}
    async with reloading(net, tmp_path) as (_, served):
        names = set((await served.control.status())["trial"]["maps"])
        assert {"postfix", "QUERY", "QUERYwithTLSRPT"} <= names
        await served.reload(net.settings(tmp_path, changes))
        trial = (await served.control.status())["trial"]
    assert trial["other"]
    assert [name for name, is_on in trial["maps"].items() if not is_on] == ["postfix"]
