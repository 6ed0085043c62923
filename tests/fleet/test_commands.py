"""`fleet …` as a program, with real stores and the rights that docs/fleet.md gives."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from postfix_mta_sts.config.settings import load
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
from tests.e2e.namespace import obstacle
from tests.e2e.trees import NoTreeError
from tests.fleet.postgresql_servers import Version, documented, postgresql_server
from tests.fleet.redis_servers import Flavour, redis_server
from tests.support.obstacles import cannot

STORES: Final = (*Flavour, *Version)
DOMAIN: Final = Domain("example.com")


@contextlib.contextmanager
def store(kind: Flavour | Version, folder: Path) -> Iterator[dict[str, str]]:
    """Run a server; yield the part of the configuration that names it."""
    if isinstance(kind, Flavour):
        with redis_server(kind, folder, [documented("text", "user mta_sts").strip()]) as made:
            yield {"url": f"redis://mta_sts:CHANGE-THIS@127.0.0.1:{made.port}/0"}
        return
    with postgresql_server(kind, folder) as running:
        (ca_file := folder.with_name("ca.pem")).write_bytes(running.authority.certificate)
        where = f"mta_sts:CHANGE-THIS@127.0.0.1:{running.port}/mail?sslmode=verify-full"
        yield {"url": f"postgresql://{where}", "ca_file": str(ca_file)}


@pytest.fixture(scope="module", params=STORES, ids=lambda kind: kind.name)
def config(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """The configuration of a relay of each store in turn."""
    if why := obstacle():
        cannot(why)
    folder = tmp_path_factory.mktemp("commands")
    (key := folder / "key").touch(0o600)
    key.write_text(f"{'ab' * 32}\n")
    try:
        with store(request.param, folder / "server") as named:
            fleet = {"name": "mx1", "key_file": str(key), **named}
            (path := folder / "c.yml").write_text(json.dumps({"fleet": fleet}))
            yield path
    except NoTreeError as error:
        cannot(str(error))


def run(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the group."""
    command = [sys.executable, "-m", "postfix_mta_sts", "fleet", *words, "--config", str(config)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def checked(config: Path, code: int) -> dict[str, Any]:
    """What `fleet check` finds, by what it is about."""
    done = run(config, "check", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    assert "CHANGE-THIS" not in done.stdout
    return {each["what"]: each for each in json.loads(done.stdout)["findings"]}


async def put(config: Path, name: Name, record: bytes = b"nonsense") -> None:
    """Somebody with the password writes a record."""
    settings = SharedStoreSettings.of(load(config))
    assert settings
    engine = open_engine(settings)
    now = (await engine.read([name])).now
    await engine.put(name, record, now, now + 600_000_000)
    await engine.close()


def test_well(config: Path) -> None:
    """With the documented rights all is well, each thing has one line, and nothing is left."""
    found = checked(config, 0)
    assert {"keys", "connection", "rights", "latency", "clock", "signed record", "lease"} < set(
        found
    )
    assert found["records"]["found"].startswith("0 of relays, 0 of checks, no exceptions")
    lines = run(config, "check").stdout.splitlines()
    assert lines[-1] == "All is well."


async def test_somebody_else_writes(config: Path) -> None:
    """Records of others are named, with what to do; the store can be used."""
    await put(config, Name(Kind.CHECK, DOMAIN))
    found = checked(config, 1)["records"]
    assert not found["is_well"]
    assert "1 of them refused" in found["found"]
    assert "fleet.key_file" in found["mend"]


async def test_purge(config: Path) -> None:
    """What there is of a domain is removed, and named; the second time there is nothing."""
    await put(config, Name(Kind.POLICY, DOMAIN))
    await put(config, Name(Kind.CHECK, DOMAIN))
    done = run(config, "purge", "example.com")
    assert done.stdout.startswith("example.com: removed from the shared store: policy, last check;")
    assert done.returncode == 0
    again = run(config, "purge", "example.com")
    assert (again.returncode, "has nothing of it" in again.stdout) == (1, True)
    assert checked(config, 0)


def test_wrong_password(config: Path, tmp_path: Path) -> None:
    """A wrong password is named as such; it is not printed."""
    text = config.read_text().replace("CHANGE-THIS", "another-secret")
    (path := tmp_path / "c.yml").write_text(text)
    done = run(path, "check")
    assert done.returncode == 2
    assert "password" in done.stdout
    assert "another-secret" not in done.stdout + done.stderr


def test_schema(config: Path) -> None:
    """The tables are printed for PostgreSQL, also again; a Redis needs none, which is said."""
    done = run(config, "schema", "--role", "mta_sts")
    if "postgresql" in config.read_text():
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith("COMMIT;\n")
    else:
        assert (done.returncode, done.stdout) == (2, "")
        assert "needs no tables" in done.stderr
