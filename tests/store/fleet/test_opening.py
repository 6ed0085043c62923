"""The engine of a location is made without a connection; a missing library is named."""

import subprocess
import sys
from typing import Final

import pytest

_PROGRAM: Final = """\
import sys
from importlib import metadata
sys.modules[{package!r}] = None  # as though it were not installed
installed = metadata.version
def version(package):
    if package == {package!r}:
        raise metadata.PackageNotFoundError(package)
    return installed(package)
metadata.version = version
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.store.fleet.errors import FleetError
from postfix_mta_sts.store.fleet.opening import open_engine
from postfix_mta_sts.store.fleet.settings import SharedStoreSettings
location = parse_store_url({url!r})
settings = SharedStoreSettings(
    location=location, name="a", prefix="mta_sts", budget=0.25, keyring=None, authorities=None
)
try:
    print(type(open_engine(settings)).__name__)
except FleetError as error:
    print(error)
"""


def opened(url: str, package: str) -> str:
    """What becomes of a URL in a process that lacks a package."""
    program = _PROGRAM.format(url=url, package=package)
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("url", "package", "extra"),
    [
        ("valkey://localhost", "redis", "valkey"),
        ("postgresql://localhost/mail", "asyncpg", "postgresql"),
    ],
)
def test_a_missing_library(url: str, package: str, extra: str) -> None:
    """The error names the command that installs it."""
    said = opened(url, package)
    assert package in said
    assert f"pip install 'postfix-mta-sts[{extra}]'" in said


def test_a_library_that_lacks_a_part() -> None:
    """The error says which: a private part may move between two versions."""
    said = opened("valkey://localhost", "redis._parsers")
    assert said.startswith("a library is unusable: No module named 'redis._parsers")


@pytest.mark.parametrize(
    ("url", "package", "engine"),
    [
        ("valkey://localhost", "asyncpg", "RedisEngine"),
        ("postgresql://localhost/mail", "redis", "PostgresqlEngine"),
    ],
)
def test_each_engine_needs_its_own_library_only(url: str, package: str, engine: str) -> None:
    """The library of the other engine is not imported."""
    assert opened(url, package) == engine
