"""Keys that this program does not have, but others have or people expect: what to write instead."""

import re
from collections.abc import Collection, Mapping
from typing import Final

_LISTEN: Final = "write listen: [{socketmap: 127.0.0.1:8461}]"
_UNIT: Final = "remove it; the unit of systemd has User= and Group="
_RENEWAL: Final = "remove it; policies in use are always renewed, see refresh.idle_after"
_FILE: Final = "remove it; policies are always stored in the file cache.path"
_STORE: Final = "write url: redis://HOST or postgresql://USER@HOST/DATABASE"
_DEBUG: Final = "write log: {level: debug}"

_INSTEAD: Final[Mapping[str, str]] = {
    # postfix-mta-sts-resolver 1.5; docs/migrating.md has the whole table.
    "host": _LISTEN, "port": _LISTEN, "path": "write listen: [{socketmap: unix:/path}]",
    "mode": "write it beside the address in listen",
    "reuse_port": "remove it", "shutdown_timeout": "remove it", "cache_grace": "remove it",
    "cache_size": "write cache: {memory_entries: 100000}",
    "cache.type": _FILE, "cache.options": _FILE,
    "proactive_policy_fetching": _RENEWAL,
    "default_zone": "write maps: {postfix: {}}", "zones": "write maps: {NAME: {}}",
    # postfix-tlspol 1.11; the same.
    "server": _LISTEN, "dns.address": "write nameservers: [192.0.2.1:53]",
    # What people expect.
    "address": _LISTEN, "socketmap": _LISTEN,
    "tcp_table": "write listen: [{tcp_table: 127.0.0.1:8461}]",
    "listen.address": "write socketmap: host:port", "listen.host": "write socketmap: host:port",
    "listen.port": "write socketmap: host:port", "listen.path": "write socketmap: unix:/path",
    "listen.map": "remove it; every map name is answered, see maps",
    "user": _UNIT, "group": f"write it in listen, metrics or control, or {_UNIT}",
    "workers": "remove it; one process serves",
    "debug": _DEBUG, "verbose": _DEBUG,
    "log.file": "remove it; the log is written to standard error, and so to the journal",
    "metrics.port": "write listen: host:port", "metrics.address": "write listen: host:port",
    "metrics.enabled": "remove it; metrics.listen opens the server",
    "cache.file": "write path", "cache.filename": "write path", "cache.redis": _FILE,
    "redis": "write fleet: {url: redis://HOST}", "valkey": "write fleet: {url: valkey://HOST}",
    "fleet.host": _STORE, "fleet.address": _STORE,
    "fleet.redis": _STORE, "fleet.postgresql": _STORE,
    "fleet.password": "write it in a file, and its path in password_file",
    "fleet.key": "write it in a file, and its path in key_file",
    "fleet.timeout": "write budget: 250ms", "fleet.user": "write it in url: redis://USER@HOST",
    "control.socket": "write path",
    "refresh.interval": _RENEWAL, "refresh.enabled": _RENEWAL,
    "https.verify": "remove it; certificates are always verified, see https.ca_file",
    "domains": "write exceptions: {example.com: {use: may, reason: why, until: 2026-12-31}}",
}  # fmt: skip
_SIGNS: Final[Mapping[str, frozenset[str]]] = {
    "postfix-mta-sts-resolver": frozenset({"default_zone", "zones", "proactive_policy_fetching"}),
    "postfix-tlspol": frozenset({"server"}),
}


def instead(path: str) -> str:
    """Return what to write instead of an unknown key such as `listen[0].map`, or an empty text."""
    return _INSTEAD.get(re.sub(r"\[[0-9]+\]", "", path).lower(), "")


def program(keys: Collection[str]) -> str:
    """Return the program that a file with these sections belongs to, or an empty text."""
    return next((name for name, signs in _SIGNS.items() if not signs.isdisjoint(keys)), "")
