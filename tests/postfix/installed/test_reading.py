"""One instance as a whole: parameters, services, CAs, and whether master(8) has its lock."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postfix_mta_sts.postfix.authorities import EMPTY, Authorities, read_authorities
from postfix_mta_sts.postfix.installed import reading
from postfix_mta_sts.postfix.installed.reading import is_running, read_instance
from postfix_mta_sts.postfix.installed.values import Instance
from postfix_mta_sts.postfix.programs import ProgramError
from postfix_mta_sts.postfix.smtp_client.values import MainCf
from tests.support.postconf import DIRECTORY, MAIN, OPTIONS, REASON, Postconf


@contextmanager
def master(queue: Path) -> Iterator[None]:
    """Hold the lock that Postfix has while it runs."""
    (queue / "pid").mkdir()
    with (queue / "pid/master.pid").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


async def test_all(tmp_path: Path) -> None:
    """Everything that can be read is there; nothing is said of tables."""
    main = f"{MAIN}queue_directory = {tmp_path}\n"
    unused = "postconf: warning: /etc/postfix/main.cf: unused parameter: a=b\n"
    command = Postconf(tmp_path, main=main, errors=unused).command
    with master(tmp_path):
        found = await read_instance("-", DIRECTORY, command)
    assert (found.name, found.config_directory, found.problem) == ("-", DIRECTORY, "")
    assert found.parameters["smtp_tls_loglevel"] == "1"
    assert [each.name for each in found.services] == ["smtp/unix", "relay/unix", "lmtp/unix"]
    assert found.version == (3, 10, 13)
    assert found.unused == ("a=b",)
    assert found.table_types == ("hash", "inline", "socketmap")
    assert found.authorities
    assert found.authorities.problem == EMPTY
    assert found.is_running
    assert found.tables == ()


async def test_authorities(tmp_path: Path) -> None:
    """Each service has its own; those of the instance are of the first that runs smtp(8)."""
    columns = "lmtp/unix/command = lmtp\na/unix/command = smtp\nb/unix/command = smtp\n"
    options = f"{OPTIONS}a/unix/smtp_tls_CAfile = {tmp_path}/none.pem\n"
    command = Postconf(tmp_path, columns=columns, options=options).command
    found = await read_instance("-", DIRECTORY, command)
    problem = f"smtp_tls_CAfile {tmp_path}/none.pem: No such file or directory"
    assert found.authorities
    assert found.authorities.problem == problem
    problems = [each.authorities and each.authorities.problem for each in found.services]
    assert problems == [EMPTY, problem, EMPTY]
    assert [each.main_cf.tls_is_available for each in found.services] == [True, False, True]


async def test_no_service(tmp_path: Path) -> None:
    """Without a service that sends mail the CAs are those of main.cf."""
    main = f"{MAIN}smtp_tls_CAfile = {tmp_path}/none.pem\nqueue_directory = {tmp_path}\n"
    command = Postconf(tmp_path, main=main, columns="", options="").command
    found = await read_instance("-", DIRECTORY, command)
    assert found.services == ()
    assert found.version == ()
    assert found.authorities
    assert not found.authorities.is_loadable
    assert found.is_running is False


@pytest.mark.parametrize("missing", ["main", "columns"])
async def test_a_problem(tmp_path: Path, missing: str) -> None:
    """If main.cf or master.cf cannot be read, the reason is all that there is."""
    command = Postconf(tmp_path, **{missing: None}).command  # type: ignore[arg-type]
    found = await read_instance("out", DIRECTORY, command)
    assert found == Instance("out", DIRECTORY, problem=REASON)


async def test_too_much(tmp_path: Path) -> None:
    """A `postconf` that prints more than is read says nothing of an error in main.cf."""
    errors = "postconf: warning: /etc/postfix/main.cf: unused parameter: a=b\n" * 5_000
    command = Postconf(tmp_path, errors=errors).command
    with pytest.raises(ProgramError, match="printed more than"):
        await read_instance("-", DIRECTORY, command)


async def test_many_services(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A CA file is read once, and not for each of two hundred services."""
    asked: list[MainCf] = []

    def read(main_cf: MainCf) -> Authorities:
        asked.append(main_cf)
        return read_authorities(main_cf)

    monkeypatch.setattr(reading, "read_authorities", read)
    columns = "".join(f"out{n}/unix/command = smtp\nout{n}/unix/chroot = n\n" for n in range(200))
    options = "out7/unix/smtp_tls_CAfile = /none.pem\nout9/unix/smtp_helo_name = a.test\n"
    command = Postconf(tmp_path, columns=columns, options=options).command
    found = await read_instance("-", DIRECTORY, command)
    assert [each.smtp_tls_CAfile for each in asked] == ["", "/none.pem"]
    assert len(found.services) == 200
    assert found.services[9].main_cf.smtp_helo_name == "a.test"


async def test_no_postconf(tmp_path: Path) -> None:
    """A Postfix that has gone meanwhile is a problem as well."""
    found = await read_instance("-", DIRECTORY, [str(tmp_path / "none")])
    assert found.problem == f"{tmp_path}/none was not found"


def test_running(tmp_path: Path) -> None:
    """The lock counts, and not the file, which stays when Postfix stops; asking leaves no trace."""
    assert is_running(tmp_path) is False
    with master(tmp_path):
        assert [is_running(tmp_path), is_running(tmp_path)] == [True, True]
    assert (tmp_path / "pid/master.pid").exists()
    assert is_running(tmp_path) is False


def test_unknown(tmp_path: Path) -> None:
    """A file that cannot be opened says nothing."""
    (tmp_path / "pid").touch()
    assert is_running(tmp_path) is None
