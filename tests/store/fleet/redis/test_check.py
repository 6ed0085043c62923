"""What `fleet check` says of a Redis or a Valkey, from what the server answers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.store.fleet.engine import Finding
from postfix_mta_sts.store.fleet.redis.check import Ask, checkup
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.wire import Command, Reply

PAGE: Final = (Path(__file__).parents[4] / "docs/fleet.md").read_text("utf-8")
LOCATION: Final = parse_store_url("rediss://mta_sts@store.example")
WELL: Final = {
    "redis_version": "7.0.15",
    "redis_mode": "standalone",
    "role": "master",
    "used_memory": "1048576",
    "maxmemory": "0",
    "maxmemory_policy": "noeviction",
    "rdb_last_bgsave_status": "ok",
    "rdb_changes_since_last_save": "12",
    "aof_enabled": "0",
}


def store(info: dict[str, str] | None = None, *, refuses: dict[str, str] | None = None) -> Ask:
    """A server with these lines in INFO, which refuses these commands."""
    lines = "".join(f"{name}:{value}\r\n" for name, value in (WELL | (info or {})).items())

    async def ask(commands: Sequence[Command]) -> list[Reply]:
        replies: list[Reply] = []
        for verb, *_ in commands:
            if text := (refuses or {}).get(str(verb)):
                replies.append(Refusal(text))
            else:
                replies.append(f"# Server\r\n{lines}".encode() if verb == "INFO" else 1)
        return replies

    return ask


async def found(ask: Ask, location: StoreLocation = LOCATION) -> dict[str, Finding]:
    """The findings, by what they are about."""
    return {each.what: each for each in await checkup(ask, location, "mta_sts")}


async def test_a_server_that_is_well() -> None:
    """All findings of a usual server are well."""
    said = await found(store())
    assert all(each.is_well and not each.mend for each in said.values())
    assert said["version"].found == "Redis 7.0.15"
    assert said["role"].found == "primary, standalone"
    assert said["memory"].found == "1 MiB used, without a limit"


async def test_a_valkey() -> None:
    """It has other names for its version and its mode than a Redis."""
    info = {"valkey_version": "8.1.1", "server_mode": "standalone", "redis_mode": ""}
    said = await found(store(info))
    assert said["version"].found == "Valkey 8.1.1"
    assert said["role"].found == "primary, standalone"


async def test_the_rights_are_those_of_the_documentation() -> None:
    """The check tries each command in docs/fleet.md but `select` and `info`, and no other."""
    tried: list[str] = []

    async def ask(commands: Sequence[Command]) -> list[Reply]:
        tried.extend(str(verb).lower() for verb, *_ in commands)
        return await store()(commands)

    await checkup(ask, LOCATION, "mta_sts")
    (line,) = re.findall(r"^user mta_sts .*$", PAGE, re.MULTILINE)
    rights = {word[1:] for word in line.split() if word.startswith("+")}
    assert set(tried) == rights - {"select"}


async def test_missing_rights_are_named() -> None:
    """Of the commands that the user may not run the check writes the command that allows them."""
    no = "NOPERM User monkey has no permissions to run the 'zadd' command"
    said = await found(store(refuses={"ZADD": no, "EVAL": no}))
    assert said["rights"].found == "none to run eval, zadd"
    assert said["rights"].mend == "ACL SETUSER mta_sts +eval +zadd"


@pytest.mark.parametrize(
    "text",
    [
        "NOPERM No permissions to access a key",
        "NOPERM User mta_sts has no permissions to access the 'mta_sts:probe:{set}' key",
        "NOPERM this user has no permissions to access one of the keys used as arguments",
    ],
)
async def test_missing_keys_are_named(text: str) -> None:
    """A user that may not access our keys gets their pattern."""
    said = await found(store(refuses={"SET": text}))
    assert said["rights"].mend == "ACL SETUSER mta_sts ~mta_sts:*"


async def test_a_server_that_takes_no_writes() -> None:
    """A server that refuses writes says why."""
    oom = "OOM command not allowed when used memory > 'maxmemory'."
    said = await found(store(refuses={"SET": oom}))
    assert not said["writes"].is_well
    assert "out of memory" in said["writes"].found


async def test_no_right_to_read_the_settings() -> None:
    """Without INFO the rest is still checked."""
    said = await found(store(refuses={"INFO": "NOPERM x to run the 'info' command"}))
    assert set(said) == {"rights", "writes", "TLS", "settings"}
    assert all(each.is_well for each in said.values())


@pytest.mark.parametrize(
    ("info", "what", "is_well", "says"),
    [
        ({"redis_version": "6.0.16"}, "version", False, "Redis 6.0.16"),
        ({"redis_version": "6.2.0"}, "version", True, "Redis 6.2.0"),
        ({"redis_version": "7.2.4", "valkey_version": "8.1.1"}, "version", True, "Valkey 8.1.1"),
        ({"redis_version": "\x1b[31m"}, "version", False, "Redis \\x1b[31m"),
        ({"role": "slave"}, "role", False, "slave, standalone"),
        ({"maxmemory": "10485760"}, "memory", True, "1 of 10 MiB used, noeviction"),
        ({"maxmemory": "1048577"}, "memory", False, "1 of 1 MiB used, noeviction"),
        (
            {"maxmemory": "1048577", "maxmemory_policy": "allkeys-lru"},
            "memory",
            True,
            "1 of 1 MiB used, allkeys-lru: a policy that is evicted costs a fetch",
        ),
        ({"rdb_last_bgsave_status": "err"}, "disk", False, "the last snapshot failed"),
        ({"aof_enabled": "1", "aof_last_write_status": "ok"}, "disk", True, "append-only file"),
        (
            {"aof_enabled": "1", "aof_last_write_status": "err"},
            "disk",
            False,
            "the last write to the append-only file failed",
        ),
        ({}, "disk", True, "snapshots; 12 changes since the last one"),
    ],
)
async def test_settings(info: dict[str, str], what: str, is_well: bool, says: str) -> None:  # noqa: FBT001
    """What a setting of the server costs, and which is no trouble."""
    said = await found(store(info))
    assert said[what].found == says
    assert said[what].is_well is is_well
    assert bool(said[what].mend) is not is_well


@pytest.mark.parametrize(
    ("url", "is_well"),
    [
        ("rediss://store.example", True),
        ("redis://127.0.0.1", True),
        ("redis+unix:///run/redis.sock", True),
        ("redis://store.example", False),
        ("redis+sentinel://store.example/fleet", False),
    ],
)
async def test_tls(url: str, is_well: bool) -> None:  # noqa: FBT001
    """A password that crosses a network without TLS is a fault."""
    said = await found(store(), parse_store_url(url))
    assert said["TLS"].is_well is is_well


@settings(max_examples=15)
@given(
    info=st.dictionaries(
        st.sampled_from([*WELL, "valkey_version", "aof_last_write_status"]),
        st.text(max_size=40) | st.integers().map(str),
    )
)
async def test_whatever_the_server_says_is_shown_as_one_printable_line(
    info: dict[str, str],
) -> None:
    """No text of INFO reaches the terminal as it is."""
    for each in (await found(store(info))).values():
        assert each.found.isascii()
        assert each.found.isprintable()
        assert each.mend.isascii()
