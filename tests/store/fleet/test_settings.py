"""What the network process gets of the settings: the files are read, and no secret is shown."""

import re
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from postfix_mta_sts.config.settings import Settings, parse
from postfix_mta_sts.config.store_location import EngineName
from postfix_mta_sts.errors import UserError
from postfix_mta_sts.mtasts.sharing import is_relay_name
from postfix_mta_sts.store.fleet import settings as fleet_settings
from postfix_mta_sts.store.fleet.extras import missing_extra
from postfix_mta_sts.store.fleet.settings import (
    SharedStoreSettings,
    name_of_host,
    problems,
    relay_name,
)
from postfix_mta_sts.values import msgpack_decoder, to_msgpack
from tests.support.tls import Authority

ROOT = Path(__file__).parents[3]
KEY = "5ec2e7" + "ab" * 29
PASSWORD = "hun%ter2 \xe9"  # noqa: S105 (of a test)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str | bytes], Path]:
    """Writes a file that only its owner can read."""

    def write_file(name: str, content: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(0o600)
        return path

    return write_file


def fleet(section: str) -> Settings:
    """Settings with a section `fleet`."""
    return parse(f"fleet: {{{section}}}", "x.yml")


def test_none() -> None:
    """Without a URL there is nothing to read, and nothing to complain of."""
    settings = fleet("key_file: /no/such, password_file: /no/such")
    assert SharedStoreSettings.of(settings) is None
    assert list(problems(settings.fleet)) == []


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_all(write: Callable[[str, str | bytes], Path], tmp_path: Path, end: str) -> None:
    """Keys, password and certificates are read from their files."""
    key, password = write("key", KEY), write("password", PASSWORD + end)
    ca = Authority().write(tmp_path)
    settings = fleet(
        f"url: 'rediss://relay@h', name: mx1, prefix: p, budget: 1s, key_file: {key},"
        f" password_file: {password}, ca_file: {ca}"
    )
    found = SharedStoreSettings.of(settings)
    assert found is not None
    assert found.location.password == PASSWORD
    assert found.keyring is not None
    assert found.keyring.signing[1].hex() == KEY
    assert (found.name, found.prefix, found.budget) == ("mx1", "p", 1.0)
    assert found.authorities == ca.read_text()
    assert list(problems(settings.fleet)) == []
    assert msgpack_decoder(SharedStoreSettings)(to_msgpack(found)) == found
    for text in (repr(found), repr(settings)):
        assert "ter2" not in text
        assert "5ec2e7" not in text
        assert r"\xab\xab" not in text


def test_the_order_of_keys_crosses_to_the_network_process(
    write: Callable[[str, str | bytes], Path],
) -> None:
    """After a rotation the network process signs with the first key, too."""
    for keys in ((KEY, "ab" * 32), ("ab" * 32, KEY)):
        path = write("key", "\n".join(keys))
        found = SharedStoreSettings.of(fleet(f"url: 'redis://h', key_file: {path}"))
        sent = msgpack_decoder(SharedStoreSettings)(to_msgpack(found))
        assert [each.hex() for each in sent.keyring.keys.values()] == [*keys]


def test_unsigned() -> None:
    """On loopback there may be no key, and the URL may have the password."""
    found = SharedStoreSettings.of(fleet("url: 'redis://:hunter2@127.0.0.1', unsigned: true"))
    assert found is not None
    assert (found.keyring, found.location.password) == (None, "hunter2")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "has no password; write one line"),
        ("\n", "has no password"),
        ("hunter2\nhunter3\n", "has several lines, or a control character"),
        ("hunter2\0", "has several lines, or a control character"),
        (b"hunter2\xff", "is not UTF-8"),
        ("hunter2" * 1000, "is larger than 4096 bytes"),
    ],
    ids=["empty", "blank", "lines", "null", "latin-1", "large"],
)
def test_bad_password(
    write: Callable[[str, str | bytes], Path], content: str | bytes, reason: str
) -> None:
    """A file that is not one line of text is refused, and its content is not shown."""
    path = write("password", content)
    settings = fleet(f"url: 'redis://127.0.0.1', unsigned: true, password_file: {path}")
    with pytest.raises(UserError, match=f"^fleet.password_file: {path}.*{reason}") as caught:
        SharedStoreSettings.of(settings)
    assert "hunter" not in str(caught.value)
    assert caught.value.__context__ is None or "hunter" not in repr(caught.value.__context__)


def test_all_problems(write: Callable[[str, str | bytes], Path], tmp_path: Path) -> None:
    """Each file that cannot be used is named."""
    settings = fleet(
        f"url: 'redis://h', key_file: {write('key', 'abcdef')}, password_file: {tmp_path}/none"
    )
    assert dict(problems(settings.fleet)) == {
        "fleet.key_file": f"{tmp_path}/key: line 1 is no key of 64 to 256 hexadecimal digits;"
        " make one: openssl rand -hex 32",
        "fleet.password_file": f"{tmp_path}/none: No such file or directory;"
        " write the password of the store into it, with mode 640",
    }


def test_a_file_of_another_user(
    write: Callable[[str, str | bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the daemon's user cannot read says what lets it."""
    path = write("key", "ab" * 32)

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.open", denied)
    found = dict(problems(fleet(f"url: 'redis://h', key_file: {path}").fleet))
    assert "Permission denied; the group of the daemon" in found["fleet.key_file"]


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("mx1", "mx1"),
        ("mx1.example.com", "mx1.example.com"),
        ("mx 1", "mx-1"),
        ("-mx1-", "mx1"),
        ("b\xfcro", "b-ro"),
        ("a" * 100, "a" * 64),
        ("", "relay"),
        ("\xe9", "relay"),
    ],
)
def test_name_of_host(host: str, name: str) -> None:
    """The name of a host becomes one that a relay can have."""
    assert name_of_host(host) == name
    assert is_relay_name(name)


def test_name() -> None:
    """Without a name in the settings a relay has that of its host."""
    assert relay_name(fleet("name: mx7").fleet) == "mx7"
    assert is_relay_name(relay_name(Settings().fleet))


def test_a_start_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its library the daemon does not start, and says what to install."""
    monkeypatch.setattr(fleet_settings, "missing_extra", lambda _: "the library is missing")
    settings = fleet("url: 'redis://:hunter2@127.0.0.1', unsigned: true")
    with pytest.raises(UserError, match=r"^fleet\.url: the library is missing$"):
        SharedStoreSettings.of(settings)


def test_library_is_missing() -> None:
    """Without the library the reason says what to install."""

    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    found = [missing_extra(engine, version) for engine in EngineName]
    assert found == [
        "the library redis is missing; install it: pip install 'postfix-mta-sts[valkey]'",
        "the library asyncpg is missing; install it: pip install 'postfix-mta-sts[postgresql]'",
    ]


@pytest.mark.parametrize(
    ("engine", "version", "is_enough"),
    [
        (EngineName.REDIS, "7.4.0", False),
        (EngineName.REDIS, "8.0", True),
        (EngineName.REDIS, "8.1.0b1", True),
        (EngineName.REDIS, "10.0.0", True),
        (EngineName.POSTGRESQL, "0.29.0", False),
        (EngineName.POSTGRESQL, "0.30.0", True),
        (EngineName.POSTGRESQL, "1", True),
        (EngineName.POSTGRESQL, "", False),
    ],
)
def test_versions(engine: EngineName, version: str, *, is_enough: bool) -> None:
    """A library that is too old is refused with its version."""
    found = missing_extra(engine, lambda _: version)
    assert (found == "") is is_enough
    if found:
        assert re.search(f"has version {version}, and [0-9.]+ is needed; install it: pip", found)


def test_installed() -> None:
    """Where the tests run both libraries are there, in versions that the extras admit."""
    assert [missing_extra(engine) for engine in EngineName] == ["", ""]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert extras["valkey"][0].startswith("redis>=8.0")
    assert extras["postgresql"][0].startswith("asyncpg>=0.30")
