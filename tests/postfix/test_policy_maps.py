"""The tables of smtp_tls_policy_maps: how they are told apart, and what postmap says of them."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import ListenerSettings
from postfix_mta_sts.permissions import Account
from postfix_mta_sts.postfix import policy_maps
from postfix_mta_sts.postfix.policy_maps import (
    OwnMap,
    Table,
    find_own_maps,
    first_answer,
    is_piped,
    look_up,
    members,
    read_tables,
    server_of,
    split_tables,
)
from postfix_mta_sts.postfix.programs import Output
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from tests.support.scripts import script

KEYS = ("sub.a.test", ".a.test", ".test")
NAMES = {
    "localhost": ("127.0.0.1", "::1"),
    "127.0.0.1": ("127.0.0.1",),
    "::1": ("::1",),
    "relay.test": ("192.0.2.1",),
    "192.0.2.9": ("192.0.2.9",),
}


async def resolve(host: str) -> tuple[str, ...]:
    """The addresses of a name."""
    return NAMES.get(host, ())


def interfaces() -> tuple[str, ...]:
    """The addresses of this machine."""
    return ("127.0.0.1", "::1", "192.0.2.1")


def socketmap(host: str, port: int = 8461) -> ListenerSettings:
    """A listener for socketmap."""
    return ListenerSettings(socketmap=TcpAddress(host, port))


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("", ()),
        (" , \n", ()),
        ("hash:/a", ("hash:/a",)),
        ("hash:/a, socketmap:inet:h:1:m", ("hash:/a", "socketmap:inet:h:1:m")),
        ("hash:/a\n\thash:/b,,hash:/c ", ("hash:/a", "hash:/b", "hash:/c")),
        (
            "inline:{ { a.test = may }, {b.test=x} } proxy:hash:/b",
            ("inline:{ { a.test = may }, {b.test=x} }", "proxy:hash:/b"),
        ),
        ("pipemap:{hash:/a, hash:/b},c:d", ("pipemap:{hash:/a, hash:/b}", "c:d")),
        ("inline:{a=b, hash:/c", ("inline:{a=b, hash:/c",)),
        ("a:} b:c", ("a:}", "b:c")),
    ],
)
def test_split(text: str, tables: tuple[str, ...]) -> None:
    """Commas and space divide tables, except in braces."""
    assert split_tables(text) == tables


@given(st.text("{}, \n:ab", max_size=40))
def test_split_anything(text: str) -> None:
    """Only separators are lost, whatever the braces are like."""
    tables = split_tables(text)
    assert "".join("".join(tables).split()).replace(",", "") == "".join(
        text.replace(",", "").split()
    )
    assert all(tables)
    for each in tables:
        members(each)
        server_of(each, MainCf())


@given(st.lists(st.sampled_from(["hash:/a", "inline:{ {a = b}, c=d }", "x:y"]), max_size=5))
def test_split_and_join(tables: list[str]) -> None:
    """A parameter comes apart into the tables that it is made of."""
    assert split_tables(", ".join(tables)) == tuple(tables)


def test_members() -> None:
    """Groups are taken apart, also within each other."""
    group = "unionmap:{pipemap:{hash:/a,hash:/b}, socketmap:inet:h:1:m}"
    assert members(group) == ("hash:/a", "hash:/b", "socketmap:inet:h:1:m")
    assert members("hash:/a") == ("hash:/a",)


def test_members_of_proxymap() -> None:
    """proxymap(8) opens a group with all that is in it."""
    group = "proxy:unionmap:{pipemap:{hash:/a,proxy:hash:/b}, socketmap:inet:h:1:m}"
    proxied = ("proxy:hash:/a", "proxy:hash:/b", "proxy:socketmap:inet:h:1:m")
    assert members(group) == proxied
    assert is_piped(group, proxied[0])
    assert not is_piped(group, proxied[2])


def test_piped() -> None:
    """A member that has others beside it in a pipemap, at any depth."""
    assert is_piped("pipemap:{a:b, c:d}", "a:b")
    assert is_piped("unionmap:{pipemap:{a:b, c:d}, e:f}", "c:d")
    assert is_piped("pipemap:{unionmap:{a:b, c:d}, e:f}", "c:d")
    assert not is_piped("unionmap:{pipemap:{a:b, c:d}, e:f}", "e:f")
    assert not is_piped("unionmap:{pipemap:{a:b}, e:f}", "a:b")
    assert not is_piped("a:b", "a:b")


@pytest.mark.parametrize(
    ("table", "address", "map_name"),
    [
        ("socketmap:inet:127.0.0.1:8461:postfix", TcpAddress("127.0.0.1", 8461), "postfix"),
        ("socketmap:inet:[0::1]:8461:postfix", TcpAddress("::1", 8461), "postfix"),
        ("proxy:socketmap:inet:LOCALHOST:8461:QUERY", TcpAddress("localhost", 8461), "QUERY"),
        ("socketmap:inet:8461:postfix", TcpAddress("localhost", 8461), "postfix"),
        ("socketmap:inet::8461:postfix", TcpAddress("localhost", 8461), "postfix"),
        ("socketmap:unix:run/x.sock:m", UnixAddress(Path("/spool/run/x.sock")), "m"),
        ("socketmap:unix:/run/x.sock:m", UnixAddress(Path("/spool/run/x.sock")), "m"),
        ("proxy:socketmap:unix:/run/x.sock:m", UnixAddress(Path("/run/x.sock")), "m"),
        ("tcp:127.0.0.1:8462", TcpAddress("127.0.0.1", 8462), ""),
        ("tcp:127.0.0.1:0008462", TcpAddress("127.0.0.1", 8462), ""),
        ("socketmap:inet:[::1]:0000000008461:m", TcpAddress("::1", 8461), "m"),
        ("socketmap:inet:0008461:m", TcpAddress("localhost", 8461), "m"),
    ],
)
def test_servers(table: str, address: TcpAddress | UnixAddress, map_name: str) -> None:
    """The server of a table, as the chrooted smtp(8), or proxymap(8), finds it."""
    found = server_of(table, MainCf(queue_directory="/spool", smtp_is_chrooted=True))
    assert found
    assert (found.address, found.map_name) == (address, map_name)


def test_a_path_without_chroot() -> None:
    """An absolute path stays as it is if smtp(8) is not chrooted."""
    found = server_of("socketmap:unix:/run/x.sock:m", MainCf(queue_directory="/spool"))
    assert found
    assert found.address == UnixAddress(Path("/run/x.sock"))


@pytest.mark.parametrize(
    "table",
    [
        "hash:/a",
        "socketmap:inet:127.0.0.1:8461:",
        "socketmap:postfix",
        "socketmap:other:127.0.0.1:8461:postfix",
        "socketmap:inet:127.0.0.1:smtp:postfix",
        "tcp:a:b:1",
        "tcp:127.0.0.1:123456",
        "socketmap",
        "",
    ],
)
def test_no_servers(table: str) -> None:
    """Other tables, and those that Postfix refuses, have no server."""
    assert server_of(table, MainCf()) is None


@pytest.mark.parametrize(
    ("table", "listener"),
    [
        ("socketmap:inet:127.0.0.1:8461:m", socketmap("127.0.0.1")),
        ("socketmap:inet:localhost:8461:m", socketmap("127.0.0.1")),
        ("socketmap:inet:[::1]:8461:m", socketmap("localhost")),
        ("socketmap:inet:relay.test:8461:m", socketmap("0.0.0.0")),
        ("socketmap:inet:127.0.0.1:8461:m", socketmap("::")),
    ],
)
async def test_ours(table: str, listener: ListenerSettings) -> None:
    """Names and addresses of this machine are the same; the unspecified address is all of them."""
    found = await find_own_maps(
        [table], [listener], MainCf(), resolve=resolve, interfaces=interfaces
    )
    assert found == {table: OwnMap(listener, "m")}


@pytest.mark.parametrize(
    "table",
    [
        "socketmap:inet:127.0.0.1:8462:m",
        "socketmap:inet:192.0.2.9:8461:m",
        "socketmap:inet:unknown.test:8461:m",
        "socketmap:unix:/run/x.sock:m",
        "tcp:127.0.0.1:8461",
    ],
)
async def test_not_ours(table: str) -> None:
    """Another port, machine or protocol is not this daemon."""
    listeners = [socketmap("0.0.0.0")]
    found = await find_own_maps(
        [table], listeners, MainCf(), resolve=resolve, interfaces=interfaces
    )
    assert not found


async def test_our_socket(tmp_path: Path) -> None:
    """A path with a symbolic link is the same socket; tcp_table has no map name."""
    (tmp_path / "run").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "run")
    unix = ListenerSettings(socketmap=UnixAddress(tmp_path / "run/x.sock"))
    tcp = ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462))
    tables = [f"socketmap:unix:{tmp_path}/var/x.sock:m", "tcp:localhost:8462"]
    found = await find_own_maps(
        tables, [tcp, unix], MainCf(), resolve=resolve, interfaces=interfaces
    )
    assert found == {tables[0]: OwnMap(unix, "m"), tables[1]: OwnMap(tcp)}


def postmap(folder: Path) -> list[str]:
    """A postmap that behaves as Postfix's; each run adds its arguments to the file `runs`."""
    body = f"""
        echo "$2 $3" >> {folder}/runs
        case "$3 $2" in
            "hash:/a .a.test") printf 'secure\\n  match=x.test\\n';;
            "socketmap:inet:h:1:m sub.a.test")
                echo "postmap: warning: connect to h:1: Connection refused" >&2
                echo "postmap: fatal: table socketmap:inet:h:1:m: query error: refused" >&2
                exit 1;;
            "hash:/empty "*) echo "postmap: warning: empty string" >&2; echo;;
            "hash:/odd "*) echo "postmap: warning: overriding earlier entry" >&2; exit 1;;
            "hash:/killed "*) exit 3;;
            *) exit 1;;
        esac
    """
    return [script(folder / "postmap", body)]


@pytest.mark.parametrize(
    ("table", "found", "key", "error"),
    [
        ("hash:/a", "secure match=x.test", ".a.test", ""),
        ("hash:/none", None, None, ""),
        ("hash:/odd", None, None, ""),
        (
            "socketmap:inet:h:1:m",
            None,
            "sub.a.test",
            "table socketmap:inet:h:1:m: query error: refused",
        ),
        ("hash:/empty", None, "sub.a.test", "the entry is empty"),
        ("hash:/killed", None, "sub.a.test", "postmap: exit code 3"),
        ("/a", None, "sub.a.test", "not of the form type:name"),
    ],
)
async def test_look_up(
    tmp_path: Path, table: str, found: str | None, key: str | None, error: str
) -> None:
    """Found, not found, and failed are told apart."""
    result = await look_up(table, KEYS, str(tmp_path), command=postmap(tmp_path))
    assert result == Table(table, is_ours=False, found=found, key=key, error=error)


async def test_no_more_keys_than_necessary(tmp_path: Path) -> None:
    """The first entry ends the search."""
    await look_up("hash:/a", KEYS, str(tmp_path), command=postmap(tmp_path))
    assert (tmp_path / "runs").read_text() == "sub.a.test hash:/a\n.a.test hash:/a\n"


async def test_the_working_directory(tmp_path: Path) -> None:
    """Its working directory is the queue directory, where relative paths of sockets begin."""
    program = script(tmp_path / "postmap", "pwd")
    queue = tmp_path / "queue"
    queue.mkdir()
    assert (await look_up("hash:/a", KEYS, str(queue), command=[program])).found == str(queue)


async def test_not_for_ever(tmp_path: Path) -> None:
    """A table that does not answer in time has an error."""
    program = script(tmp_path / "postmap", "sleep 600")
    result = await look_up("hash:/a", KEYS, str(tmp_path), command=[program], seconds=0.2)
    assert (result.key, result.error) == (KEYS[0], "no answer within 0.2 s")


async def test_as_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user that asks is the one that is given."""
    seen: list[object] = []

    async def run(_: object, **options: object) -> Output:
        seen.append(options["account"])
        return Output(1, "", "")

    monkeypatch.setattr(policy_maps, "run", run)
    await look_up("hash:/a", KEYS[:1], str(tmp_path), account=Account(1, 2))
    await look_up("hash:/a", KEYS[:1], str(tmp_path))
    assert seen == [Account(1, 2), None]


async def test_no_postmap(tmp_path: Path) -> None:
    """Without a postmap that is the error."""
    result = await look_up("hash:/a", KEYS, str(tmp_path), command=["no-such-program"])
    assert result.error == "no-such-program was not found"


async def test_all_tables(tmp_path: Path) -> None:
    """The daemon's own table is not asked, nor a group with it; the others are."""
    ours = "socketmap:inet:localhost:8461:postfix"
    group = f"unionmap:{{hash:/a, {ours}}}"
    main_cf = MainCf(smtp_tls_policy_maps=f"hash:/a, {ours} {group}", queue_directory=str(tmp_path))
    listener = socketmap("127.0.0.1")
    tables = await read_tables(
        main_cf,
        [listener],
        KEYS,
        command=postmap(tmp_path),
        resolve=resolve,
        interfaces=interfaces,
    )
    not_asked = "not asked, because it would ask the daemon"
    assert tables == (
        (Table("hash:/a", is_ours=False, found="secure match=x.test", key=".a.test"), None),
        (Table(ours, is_ours=True), OwnMap(listener, "postfix")),
        (Table(group, is_ours=False, key="sub.a.test", error=not_asked), None),
    )
    assert "8461" not in (tmp_path / "runs").read_text()


@pytest.mark.parametrize("form", ["pipemap:{*}", "proxy:unionmap:{*}", "proxy:*"])
async def test_group_of_one(tmp_path: Path, form: str) -> None:
    """A group of nothing but the daemon's table is that."""
    name = form.replace("*", "socketmap:inet:localhost:8461:postfix")
    listener = socketmap("127.0.0.1")
    tables = await read_tables(
        MainCf(smtp_tls_policy_maps=name, queue_directory=str(tmp_path)),
        [listener],
        KEYS,
        command=postmap(tmp_path),
        resolve=resolve,
        interfaces=interfaces,
    )
    assert tables == ((Table(name, is_ours=True), OwnMap(listener, "postfix")),)


def entry(name: str, key: str | None, error: str = "") -> Table:
    """A table with an entry, or an error, for a key."""
    return Table(name, is_ours=False, key=key, error=error, found=None if error else "may")


@pytest.mark.parametrize(
    ("tables", "name"),
    [
        ([], None),
        ([Table("a", is_ours=True)], None),
        ([entry("a", ".test"), entry("b", "sub.a.test")], "b"),
        ([entry("a", ".test"), entry("b", ".test")], "a"),
        ([entry("a", "sub.a.test", "refused"), entry("b", "sub.a.test")], "a"),
        ([entry("a", ".test", "refused"), entry("b", ".a.test")], "b"),
        ([entry("a", ".test"), entry("b", None, "unknown")], "b"),
    ],
)
def test_first_answer(tables: Sequence[Table], name: str | None) -> None:
    """Keys come before tables: an entry for the domain wins over an earlier table's for `.test`."""
    answer = first_answer(tables, KEYS)
    assert (answer.name if answer else None) == name
