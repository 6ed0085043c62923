"""The tables of smtp_tls_policy_maps: which is the daemon, and what servers answer."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix.installed import asking, servers, sleeping
from postfix_mta_sts.postfix.installed.asking import View
from postfix_mta_sts.postfix.installed.outcome import NotAskedError
from postfix_mta_sts.postfix.installed.tables import read_tables_of, tables_of
from postfix_mta_sts.postfix.installed.values import Instance, Reach, Standpoint, TableSeen
from postfix_mta_sts.postfix.policy_maps import Server
from tests.support.instances import instance, service
from tests.support.map_servers import map_server

POSTFIX = Account(12345, 54321)
OURS = "socketmap:inet:127.0.0.1:8461:QUERY"
LISTENER = ListenerSettings(socketmap=TcpAddress("127.0.0.1", 8461))
NONE: Mapping[Standpoint, str] = {}


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no error."""
    monkeypatch.setattr(asking, "TIMEOUT", 60.0)


class Asked:
    """In place of `ask_inside`: notes the questions, and has one answer for each standpoint."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, errors: Mapping[Standpoint, str] = NONE
    ) -> None:
        self.questions: list[tuple[Server, View]] = []
        self._errors = errors
        monkeypatch.setattr(servers, "ask_inside", self.ask)

    async def ask(self, server: Server, view: View) -> Reach:
        """The reach with the error of this standpoint; `NotAskedError` if that is `none`."""
        self.questions.append((server, view))
        error = self._errors.get(view.standpoint, "")
        if error == "none":
            raise NotAskedError("no room")
        return Reach(view.standpoint, error, error.lower())

    @property
    def addresses(self) -> dict[Standpoint, TcpAddress | UnixAddress]:
        """Which address was asked from where."""
        return {view.standpoint: server.address for server, view in self.questions}


async def see(
    where: Instance,
    *listeners: ListenerSettings,
    account: Account | None = None,
) -> tuple[TableSeen, ...]:
    """The tables, on a machine that has loopback addresses only."""

    async def resolve(host: str) -> tuple[str, ...]:
        return ("127.0.0.1", "::1") if host == "localhost" else (host,)

    return await read_tables_of(
        where,
        listeners,
        account,
        postmap=("no-such-program",),
        resolve=resolve,
        interfaces=lambda: ("127.0.0.1", "::1"),
    )


def test_each_once(tmp_path: Path) -> None:
    """Tables of main.cf come first; a chrooted service counts, whatever others are."""
    here = instance(
        tmp_path,
        service(tables="hash:/a, hash:/b"),
        service("relay", tables="hash:/c, hash:/a", chrooted=True),
        service("other", tables="hash:/a"),
    )
    assert tables_of(here) == {"hash:/a": True, "hash:/b": False, "hash:/c": True}
    assert [*tables_of(here)] == ["hash:/a", "hash:/b", "hash:/c"]


async def test_no_tables(tmp_path: Path) -> None:
    """Without a table there is nothing to see."""
    assert await see(instance(tmp_path, service())) == ()


async def test_a_daemon_that_answers(tmp_path: Path) -> None:
    """The daemon's own socket, found by its path from the queue directory, asked as this user."""
    listener = ListenerSettings(socketmap=UnixAddress(tmp_path / "sock"))
    table = "socketmap:unix:sock:postfix"
    async with map_server(path=tmp_path / "sock") as server:
        seen = await see(instance(tmp_path, service(tables=table)), listener)
    assert seen == (
        TableSeen(
            table,
            server=Server("socketmap", UnixAddress(tmp_path / "sock"), "postfix"),
            is_ours=True,
            map_name="postfix",
            reaches=(Reach(Standpoint.SELF),),
        ),
    )
    assert server.requests == [b"19:postfix [127.0.0.1],"]


async def test_a_name_server_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each host is looked up once, and then asked about all the same: smtp(8) asks it, too."""
    monkeypatch.setattr(servers, "RESOLVE_TIMEOUT", 0.01)
    asked, names = Asked(monkeypatch), list[str]()

    async def hang(host: str) -> tuple[str, ...]:
        names.append(host)
        await asyncio.Event().wait()
        return ()

    tables = "socketmap:inet:slow.test:8461:QUERY"
    where = instance(tmp_path, service(tables=tables, chrooted=True))
    (seen,) = await read_tables_of(where, (LISTENER,), POSTFIX, resolve=hang, interfaces=lambda: ())
    assert names == ["127.0.0.1", "slow.test"]
    assert {*asked.addresses.values()} == {TcpAddress("slow.test", 8461)}
    assert (seen.is_ours, seen.reaches[0]) == (False, Reach(Standpoint.CHROOT))


@pytest.mark.parametrize("chrooted", [False, True])
@pytest.mark.parametrize("table", ["socketmap:unix:sock:postfix", "proxy:tcp:127.0.0.1:{}"])
async def test_a_server_that_sleeps(tmp_path: Path, table: str, *, chrooted: bool) -> None:
    """A connection would make systemd start it, so there is none; that it is ours is known."""
    async with map_server(path=tmp_path / "sock") as unix, map_server() as tcp:
        assert isinstance(tcp.address, TcpAddress)
        listeners = (
            ListenerSettings(socketmap=UnixAddress(tmp_path / "sock")),
            ListenerSettings(tcp_table=tcp.address),
        )
        name = table.format(tcp.address.port)
        where = instance(tmp_path, service(tables=name, chrooted=chrooted))
        (seen,) = await read_tables_of(
            where,
            listeners,
            None,
            interfaces=lambda: (),
            sleeping=[each.address for each in listeners],
        )
        assert (unix.requests, tcp.requests) == ([], [])
    assert (seen.is_ours, seen.reaches, seen.unasked) == (True, (), (sleeping.REASON,))


async def test_from_the_chroot_and_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chrooted smtp(8) has another file at an absolute path; both places are asked for it."""
    asked = Asked(monkeypatch, {Standpoint.CHROOT: "ENOENT"})
    listener = ListenerSettings(socketmap=UnixAddress(Path("/run/sock")))
    tables = "socketmap:unix:/run/sock:postfix"
    where = instance(tmp_path, service(tables=tables, chrooted=True))
    (seen,) = await see(where, listener, account=POSTFIX)
    assert asked.addresses == {
        Standpoint.CHROOT: UnixAddress(tmp_path / "run/sock"),
        Standpoint.POSTFIX: UnixAddress(Path("/run/sock")),
    }
    assert seen.server
    assert seen.server.address == UnixAddress(tmp_path / "run/sock")
    assert (seen.is_ours, seen.map_name) == (True, "postfix")
    assert [(each.standpoint, each.error) for each in seen.reaches] == [
        (Standpoint.CHROOT, "ENOENT"),
        (Standpoint.POSTFIX, ""),
    ]


async def test_well_in_the_chroot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it works inside, nothing outside matters, unless a service is there."""
    Asked(monkeypatch, {Standpoint.POSTFIX: "ENOENT"})
    tables = "socketmap:unix:/run/sock:postfix"
    inside = service(tables=tables, chrooted=True)
    (seen,) = await see(instance(tmp_path, inside), account=POSTFIX)
    assert seen.reaches == (Reach(Standpoint.CHROOT),)
    outside = service("relay", tables=tables)
    (seen,) = await see(instance(tmp_path, inside, outside), account=POSTFIX)
    assert [each.error for each in seen.reaches] == ["", "ENOENT"]


async def test_the_chroot_cannot_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to chroot(2), another file outside says nothing of the one inside."""
    Asked(monkeypatch, {Standpoint.CHROOT: "none", Standpoint.POSTFIX: "ENOENT"})
    tables = "socketmap:unix:/run/sock:postfix"
    (seen,) = await see(instance(tmp_path, service(tables=tables, chrooted=True)), account=POSTFIX)
    assert (seen.reaches, seen.unasked) == ((), ("chroot: no room",))


async def test_without_a_chroot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no service that asks it is chrooted, nobody looks from there."""
    asked = Asked(monkeypatch)
    other = service("other", tables="hash:/a", chrooted=True)
    where = instance(tmp_path, service(tables="socketmap:unix:/run/sock:m"), other)
    seen, _ = await see(where, account=POSTFIX)
    assert asked.addresses == {Standpoint.POSTFIX: UnixAddress(Path("/run/sock"))}
    assert [view.account for _, view in asked.questions] == [POSTFIX]
    assert not seen.is_ours


async def test_proxymap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """proxymap(8) is not chrooted, also if the service that asks it is."""
    asked = Asked(monkeypatch)
    tables = "proxy:socketmap:unix:/run/sock:m"
    await see(instance(tmp_path, service(tables=tables, chrooted=True)), account=POSTFIX)
    assert asked.addresses == {Standpoint.POSTFIX: UnixAddress(Path("/run/sock"))}


async def test_a_plain_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the path that the chroot has; that it may not connect is no fault of Postfix."""
    asked = Asked(monkeypatch, {Standpoint.SELF: "EACCES"})
    tables = "socketmap:unix:/run/sock:m"
    (seen,) = await see(instance(tmp_path, service(tables=tables, chrooted=True)))
    path = tmp_path / "run/sock"
    assert asked.addresses == {Standpoint.SELF: UnixAddress(path)}
    assert seen.reaches == ()
    assert seen.unasked == (f"this user may not connect to unix:{path}",)


async def test_denied_to_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That Postfix may not connect is what doctor looks for."""
    Asked(monkeypatch, {Standpoint.POSTFIX: "EACCES"})
    (seen,) = await see(instance(tmp_path, service(tables=OURS)), LISTENER, account=POSTFIX)
    assert seen.reaches == (Reach(Standpoint.POSTFIX, "EACCES", "eacces"),)
    assert seen.unasked == ()


async def test_what_denies_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder or the socket that keeps Postfix out is named."""
    Asked(monkeypatch, {Standpoint.POSTFIX: "EACCES"})
    where = instance(tmp_path, service(tables="socketmap:unix:run/sock:m"))
    run = tmp_path / "run"
    run.mkdir()
    tmp_path.chmod(0o755)
    for mode, obstacle in ((0o700, run), (0o755, run / "sock")):
        run.chmod(mode)
        (run / "sock").touch(0o600)
        (seen,) = await see(where, account=POSTFIX)
        assert [each.obstacle for each in seen.reaches] == [str(obstacle)]
    (run / "sock").unlink()
    (seen,) = await see(where, account=POSTFIX)
    assert [each.obstacle for each in seen.reaches] == [""]


async def test_a_place_that_cannot_be_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the right to chroot(2), as in a container, the other place is asked all the same."""
    Asked(monkeypatch, {Standpoint.CHROOT: "none"})
    where = instance(tmp_path, service(tables=OURS, chrooted=True))
    (seen,) = await see(where, LISTENER, account=POSTFIX)
    assert [each.standpoint for each in seen.reaches] == [Standpoint.POSTFIX]
    assert seen.unasked == ("chroot: no room",)


async def test_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a group the daemon's table counts, also behind another server."""
    asked = Asked(monkeypatch)
    group = f"unionmap:{{hash:/a, socketmap:inet:127.0.0.1:1:m, {OURS}}}"
    (seen,) = await see(instance(tmp_path, service(tables=group)), LISTENER)
    assert (seen.name, seen.is_ours, seen.map_name) == (group, True, "QUERY")
    assert [*asked.addresses.values()] == [TcpAddress("127.0.0.1", 8461)]


async def test_a_group_of_proxymap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """proxymap(8), which is not chrooted, asks the daemon for the group."""
    asked = Asked(monkeypatch)
    group = f"proxy:pipemap:{{{OURS}}}"
    (seen,) = await see(instance(tmp_path, service(tables=group, chrooted=True)), LISTENER)
    assert (seen.name, seen.is_ours, seen.map_name) == (group, True, "QUERY")
    assert [*asked.addresses.values()] == [TcpAddress("127.0.0.1", 8461)]


async def test_another_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not the daemon is asked, too."""
    Asked(monkeypatch, {Standpoint.SELF: "ECONNREFUSED"})
    (seen,) = await see(instance(tmp_path, service(tables=OURS)))
    assert (seen.is_ours, seen.map_name) == (False, None)
    assert [each.error for each in seen.reaches] == ["ECONNREFUSED"]


async def test_tcp_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The map of a listener without map names has the name that the daemon gives it."""
    Asked(monkeypatch)
    listener = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462))
    (seen,) = await see(instance(tmp_path, service(tables="tcp:127.0.0.1:8462")), listener)
    assert seen.map_name == "tcp_table 127.0.0.1:8462"
