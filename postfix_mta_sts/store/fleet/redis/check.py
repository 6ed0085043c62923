"""What `fleet check` says of a Redis or a Valkey: version, rights, memory, disk, TLS."""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.config.store_location import StoreLocation
from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.engine import Finding
from postfix_mta_sts.store.fleet.mending import mend_of
from postfix_mta_sts.store.fleet.redis.refusals import Refusal
from postfix_mta_sts.store.fleet.redis.replies import octets
from postfix_mta_sts.store.fleet.redis.wire import Command, Reply

Ask: TypeAlias = Callable[[Sequence[Command]], Awaitable[list[Reply]]]
"""Sends commands in one go; see `Primary.ask`."""

OLDEST: Final = (6, 2)
"""The first release of Redis with ZADD GT and ZMSCORE; Valkey began later."""
_NEARLY_FULL: Final = 0.9


async def checkup(ask: Ask, location: StoreLocation, prefix: str) -> Sequence[Finding]:
    """Return what was found. Raises `FleetError` if the server does not answer at all."""
    trials = _trials(prefix)
    tried = list(zip(trials, await ask(trials), strict=True))
    everywhere = [_rights(tried, location, prefix), _writes(tried, location), _tls(location)]
    (reply,) = await ask([("INFO",)])
    if isinstance(reply, Refusal):
        return [*everywhere, _finding("settings", "not known: the user may not read INFO")]
    info = _parsed(octets(reply))
    return [_version(info), _role(info), *everywhere, _memory(info), _disk(info)]


def _rights(
    tried: Sequence[tuple[Command, Reply]], location: StoreLocation, prefix: str
) -> Finding:
    refused = [
        (str(command[0]).lower(), reply)
        for command, reply in tried
        if isinstance(reply, Refusal) and reply.code == "NOPERM"
    ]
    if not refused:
        return _finding("rights", "all that are needed")
    change = f"ACL SETUSER {location.user or 'default'}"
    if any("to run the" not in reply.text for _, reply in refused):
        return _finding("rights", "no access to the keys", f"{change} ~{prefix}:*")
    missing = sorted({command for command, _ in refused})
    mend = " ".join((change, *(f"+{each}" for each in missing)))
    return _finding("rights", f"none to run {', '.join(missing)}", mend)


def _writes(tried: Sequence[tuple[Command, Reply]], location: StoreLocation) -> Finding:
    for _, reply in tried:
        if isinstance(reply, Refusal) and reply.code not in ("NOPERM", "NOSCRIPT"):
            error = reply.meaning("refused")
            return _finding("writes", str(error), mend_of(error, location))
    return _finding("writes", "taken")


def _trials(prefix: str) -> list[Command]:
    """Each command that the engine uses, on keys of its own."""
    string, members = (f"{prefix}:probe:{{{each}}}" for each in ("string", "set"))
    return [
        ("TIME",),
        ("SET", string, "probe", "PX", 10_000),
        ("GETRANGE", string, 0, 1),
        ("PEXPIRE", string, 10_000),
        ("PTTL", string),
        ("PEXPIREAT", string, 1),
        ("TYPE", string),
        ("DEL", string),
        ("ZADD", members, "GT", 1, "probe"),
        ("PEXPIRE", members, 10_000),
        ("ZMSCORE", members, "probe"),
        ("ZRANGEBYLEX", members, "-", "+", "LIMIT", 0, 1),
        ("ZRANGEBYSCORE", members, "-inf", "+inf", "LIMIT", 0, 1),
        ("ZREM", members, "probe"),
        ("ZREMRANGEBYRANK", members, 0, 0),
        ("UNLINK", members),
        ("EVALSHA", "0" * 40, 1, string),
        ("EVAL", "return 1", 1, string),
        ("UNLINK", string),  # if DEL and PEXPIREAT are refused
    ]


def _tls(location: StoreLocation) -> Finding:
    if location.tls:
        return _finding("TLS", "the certificate of the server is valid")
    if location.is_loopback:
        return _finding("TLS", "not needed: the server is on this machine")
    return _finding(
        "TLS", "not used: others see the password", "rediss:// or valkeys:// in fleet.url"
    )


def _version(info: Mapping[str, str]) -> Finding:
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "")
    numbers = re.match(r"([0-9]{1,4})\.([0-9]{1,4})", version)
    is_new = numbers is not None and (int(numbers[1]), int(numbers[2])) >= OLDEST
    mend = "" if is_new else "Redis 6.2 or later, or Valkey"
    return _finding("version", f"{name} {printable(version, 20)}", mend)


def _role(info: Mapping[str, str]) -> Finding:
    role = printable(info.get("role", ""), 20)
    mode = printable(info.get("redis_mode") or info.get("server_mode", ""), 20)  # Valkey has this
    mend = "" if role == "master" else "the address of the primary, or redis+sentinel://"
    return _finding("role", {"master": "primary"}.get(role, role) + f", {mode}", mend)


def _memory(info: Mapping[str, str]) -> Finding:
    limit, used = _number(info, "maxmemory"), _number(info, "used_memory")
    policy = printable(info.get("maxmemory_policy", ""), 30)
    if not limit:
        return _finding("memory", f"{used >> 20} MiB used, without a limit")
    found = f"{used >> 20} of {limit >> 20} MiB used, {policy}"
    if policy != "noeviction":
        # Nothing is lost that a relay needs: its own copies and the Policy Hosts are there.
        return _finding("memory", f"{found}: a policy that is evicted costs a fetch")
    mend = "raise maxmemory: a full store takes no policies" if used > limit * _NEARLY_FULL else ""
    return _finding("memory", found, mend)


def _disk(info: Mapping[str, str]) -> Finding:
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        mend = "see the log of the server: it may refuse to write (MISCONF)"
        return _finding("disk", "the last snapshot failed", mend)
    if info.get("aof_enabled") == "1":
        if info.get("aof_last_write_status", "ok") != "ok":
            return _finding("disk", "the last write to the append-only file failed", "free space")
        return _finding("disk", "append-only file")
    changes = _number(info, "rdb_changes_since_last_save")
    # Relays give what they have again when the store is back, so this is no fault.
    return _finding("disk", f"snapshots; {changes} changes since the last one")


def _parsed(reply: bytes) -> dict[str, str]:
    """The lines `name:value` of INFO."""
    lines = reply.decode("ascii", "replace").splitlines()
    return {name: value for name, colon, value in (each.partition(":") for each in lines) if colon}


def _number(info: Mapping[str, str], name: str) -> int:
    value = info.get(name, "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else 0


def _finding(what: str, found: str, mend: str = "") -> Finding:
    return Finding(what, not mend, found, mend)
