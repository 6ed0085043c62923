"""A set of sockets changes by one plan: what is wanted opens, stays or closes, all or nothing."""

import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.sockets import Binding, Bindings, ListenError, Sockets, SocketSet, make_plan
from tests.support.sockets import connects, tcp, unix

NAMES = ("a", "b", "c", "d")
MODES = (0o600, 0o660)

wanted_files = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(MODES))
"""Socket files by name, and their modes."""


@pytest.fixture
def sockets() -> Iterator[SocketSet[str]]:
    """A set without sockets."""
    with closing(SocketSet[str](Sockets([]))) as made:
        yield made


def change(sockets: SocketSet[str], wanted: Bindings[str]) -> None:
    """Carry out a change to its end."""
    with sockets.prepare(wanted) as prepared:
        pass
    sockets.commit(prepared)


def in_folder(folder: Path, files: dict[str, int]) -> dict[str, Binding]:
    """The bindings of socket files."""
    return {name: unix(folder / name, mode=mode) for name, mode in files.items()}


class TestPlan:
    """What a change does with each socket."""

    def test_each_case(self, tmp_path: Path) -> None:
        """A key is opened, kept, permitted or closed."""
        current = in_folder(tmp_path, {"kept": 0o600, "permitted": 0o600, "closed": 0o600})
        wanted = in_folder(tmp_path, {"kept": 0o600, "permitted": 0o660, "opened": 0o600})
        plan = make_plan(current, wanted)
        assert plan.open.keys() == {"opened"}
        assert plan.keep.keys() == {"kept"}
        assert plan.permit == {"permitted": wanted["permitted"]}
        assert plan.close.keys() == {"closed"}

    def test_tcp_has_no_permissions(self) -> None:
        """A TCP socket is kept, whatever mode its listener has."""
        old, new = tcp(port=1), Binding(tcp(port=1).address, unix(Path("/s"), mode=0o666).access)
        assert make_plan({"x": old}, {"x": new}).keep.keys() == {"x"}

    @given(current=wanted_files, wanted=wanted_files)
    def test_each_key_once(self, current: dict[str, int], wanted: dict[str, int]) -> None:
        """Each key has exactly one of the four cases."""
        folder = Path("/nowhere")
        plan = make_plan(in_folder(folder, current), in_folder(folder, wanted))
        cases = [*plan.open, *plan.keep, *plan.permit, *plan.close]
        assert sorted(cases) == sorted(current.keys() | wanted.keys())
        assert {*plan.open, *plan.keep, *plan.permit} == wanted.keys()


class TestChange:
    """Plans carried out."""

    @given(steps=st.lists(wanted_files, max_size=4))
    def test_exactly_the_wanted_sockets_are_open(self, steps: list[dict[str, int]]) -> None:
        """After each change the wanted files exist with their modes; kept sockets are the same."""
        with TemporaryDirectory() as name, closing(SocketSet[str](Sockets([]))) as sockets:
            folder = Path(name)
            before: dict[str, socket.socket | None] = {}
            for step in steps:
                change(sockets, in_folder(folder, step))
                modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
                assert modes == step
                after = {name: sockets.get(name) for name in NAMES}
                assert {name for name, sock in after.items() if sock} == step.keys()
                assert all(after[key] is before[key] for key in step if before.get(key))
                before = after
            sockets.close()
            assert not list(folder.iterdir())

    def test_families(self, sockets: SocketSet[str], tmp_path: Path) -> None:
        """TCP and UNIX sockets may be in one set."""
        change(sockets, {"4": tcp(), "u": unix(tmp_path / "s"), "6": tcp("::1")})
        opened = [sockets.get(key) for key in "4u6"]
        families = [sock.family for sock in opened if sock]
        assert families == [socket.AF_INET, socket.AF_UNIX, socket.AF_INET6]

    def test_address_in_use(self, sockets: SocketSet[str], tmp_path: Path) -> None:
        """If one address cannot be opened, nothing has changed, permissions included."""
        files = {"kept": 0o600, "permitted": 0o600, "closed": 0o600}
        change(sockets, in_folder(tmp_path, files))
        before = [sockets.get(name) for name in files]
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            wanted = in_folder(tmp_path, {"new": 0o600, "kept": 0o600, "permitted": 0o660})
            with pytest.raises(ListenError, match="in use"):
                change(sockets, {**wanted, "taken": tcp(port=port)})
        self.see_unchanged(sockets, tmp_path, files, before)

    def test_permissions_refused(self, sockets: SocketSet[str], tmp_path: Path) -> None:
        """If the permissions of one socket cannot be changed, nothing has changed."""
        files = {"a": 0o600, "b": 0o600}
        change(sockets, in_folder(tmp_path, files))
        before = [sockets.get(name) for name in files]
        wanted = in_folder(tmp_path, {"a": 0o660, "new": 0o600})
        with pytest.raises(ListenError, match="cannot change"):
            change(sockets, {**wanted, "b": unix(tmp_path / "b", owner="no-such-one")})
        self.see_unchanged(sockets, tmp_path, files, before)

    def test_error_of_the_caller(self, sockets: SocketSet[str], tmp_path: Path) -> None:
        """An error inside the context undoes the change as well, and it can be repeated."""
        files = {"a": 0o600}
        change(sockets, in_folder(tmp_path, files))
        before = [sockets.get(name) for name in files]
        wanted = in_folder(tmp_path, {"a": 0o660, "new": 0o600})
        with pytest.raises(RuntimeError), sockets.prepare(wanted):
            raise RuntimeError
        self.see_unchanged(sockets, tmp_path, files, before)
        change(sockets, wanted)
        assert {file.name for file in tmp_path.iterdir()} == {"a", "new"}

    def test_socket_that_is_optional(self, sockets: SocketSet[str], tmp_path: Path) -> None:
        """A socket that cannot be opened, and need not be, is tried again by the next change."""
        wanted = in_folder(tmp_path, {"a": 0o600})
        with sockets.prepare(wanted, lambda _: None) as prepared:
            pass
        sockets.commit(prepared)
        assert sockets.get("a") is None
        change(sockets, wanted)
        assert sockets.get("a")

    def test_inherited_socket_survives_a_failed_change(self) -> None:
        """A change that is undone gives an inherited socket back, for the next change."""
        with socket.create_server(("127.0.0.1", 0)) as inherited:
            binding = tcp(port=inherited.getsockname()[1])
            with closing(SocketSet[str](Sockets([inherited]))) as sockets:
                with pytest.raises(RuntimeError), sockets.prepare({"a": binding}):
                    raise RuntimeError
                change(sockets, {"a": binding})
                sock = sockets.get("a")
                assert sock
                assert sock.getsockname() == inherited.getsockname()

    @staticmethod
    def see_unchanged(
        sockets: SocketSet[str],
        folder: Path,
        files: dict[str, int],
        before: list[socket.socket | None],
    ) -> None:
        """See that the same sockets are open as before, with the same permissions."""
        assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == files
        assert [sockets.get(name) for name in files] == before
        for name in files:
            sock = sockets.get(name)
            assert sock
            sock.listen()
            assert connects(folder / name)
