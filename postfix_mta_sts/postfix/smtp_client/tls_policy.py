"""Read an entry of smtp_tls_policy_maps as one version of smtp(8) does (smtp_tls_policy.c).

An attribute that this version does not know, that is malformed, or that is repeated where it may
not be, makes the entry invalid, and mail is deferred. A file named by `tafile` is not read.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.network.smtp.host_names import is_host_name
from postfix_mta_sts.postfix.smtp_client.values import (
    InvalidTlsPolicy,
    Level,
    MainCf,
    TlsPolicy,
)

NO_NAME: Final = "."
"""A name in `match=` that Postfix ignores: with no other one, no certificate fits."""

_SEPARATORS: Final = ", \t\r\n"
_BRACES_SINCE: Final = (3, 10)
_PATTERNS_SINCE: Final = (3, 10, 5)
"""smtp_tls_enforce_sts_mx_patterns."""

_SINCE: Final[Mapping[str, tuple[int, ...]]] = {
    "ciphers": (),
    "protocols": (),
    "match": (),
    "exclude": (),
    "tafile": (),
    "servername": (3, 4),
    "connection_reuse": (3, 4),
    "enable_rpk": (3, 9),
    "policy_ttl": (3, 10),
    "policy_type": (3, 10),
    "policy_domain": (3, 10),
    "policy_string": (3, 10),
    "mx_host_pattern": (3, 10),
    "policy_failure": (3, 10),
}
"""The attributes, and the first version of Postfix that knows each."""
_REPEATABLE: Final = {
    "match",
    "tafile",
    "connection_reuse",
    "enable_rpk",
    "policy_string",
    "mx_host_pattern",
}
_OF_EXTERNAL_POLICIES: Final = {
    "policy_ttl",
    "policy_domain",
    "policy_string",
    "mx_host_pattern",
    "policy_failure",
}
"""Attributes that need a policy_type."""

_PKIX: Final = {Level.VERIFY, Level.SECURE}
_STS: Final = "sts"
_FAILURES: Final = {
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
    "validation-failure",
}


def _is_word(*words: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in words


_VALUES: Final[Mapping[str, Callable[[str], bool]]] = {
    "ciphers": bool,
    "match": bool,
    "tafile": bool,
    "servername": is_host_name,
    "connection_reuse": _is_word("yes", "no"),
    "enable_rpk": _is_word("yes", "no"),
    "policy_ttl": lambda value: re.fullmatch("[0-9]+", value) is not None,
    "policy_type": _is_word(_STS, "no-policy-found"),
    "policy_domain": is_host_name,
    "policy_failure": _is_word(*_FAILURES),
}
"""Which values an attribute may have; without an entry, all."""


def parse_tls_policy(text: str, main_cf: MainCf) -> TlsPolicy | InvalidTlsPolicy:
    """Read an entry; an unknown version of Postfix is taken for the newest.

    With `policy_type=sts`, `match` and `mx_host_pattern`, Postfix 3.10.5 and later use the patterns
    for the names of MX hosts, and compare each certificate with the host's own name.
    """
    try:
        return _parse(text.partition("\0")[0], main_cf)
    except ValueError as error:
        return InvalidTlsPolicy(str(error))


def is_since(version: tuple[int, ...], first: tuple[int, ...]) -> bool:
    """Whether this version of Postfix is `first` or later; an unknown one is the newest."""
    return not version or version >= first


def _parse(text: str, main_cf: MainCf) -> TlsPolicy:
    tokens = _tokens(text, braces=is_since(main_cf.version, _BRACES_SINCE))
    level = _level(next(tokens, ""))
    if level is Level.NONE:  # Postfix warns, and ignores the attributes
        return TlsPolicy(level)
    return _policy(level, _attributes(tokens, level, main_cf.version), main_cf)


def _level(word: str) -> Level:
    if not word:
        raise ValueError("an empty policy")
    try:
        return Level(word.lower())
    except ValueError:
        raise ValueError(f"not a security level: '{printable(word)}'") from None


def _policy(level: Level, found: Mapping[str, list[str]], main_cf: MainCf) -> TlsPolicy:
    policy_type = "".join(found.get("policy_type", ())).lower()
    patterns = tuple(found.get("mx_host_pattern", ()))
    match = _names(found.get("match", []), "|" if level is Level.FINGERPRINT else ":")
    has_patterns = (
        policy_type == _STS
        and bool(match and patterns)
        and main_cf.smtp_tls_enforce_sts_mx_patterns
        and is_since(main_cf.version, _PATTERNS_SINCE)
    )
    return TlsPolicy(
        level,
        match=("hostname",) if has_patterns else match,
        servername="".join(found.get("servername", ())),
        patterns=patterns if has_patterns else (),
    )


def _names(values: list[str], separator: str) -> tuple[str, ...]:
    names = tuple(name for value in values for name in value.split(separator) if name)
    return names or ((NO_NAME,) if values else ())


def _attributes(
    tokens: Iterator[str], level: Level, version: tuple[int, ...]
) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for token in tokens:
        name, value = _name_and_value(token, braces=is_since(version, _BRACES_SINCE))
        _check(name, value, level, version)
        if name in found and name not in _REPEATABLE:
            raise ValueError(f"{name} is repeated")
        found.setdefault(name, []).append(value)
    if "policy_type" not in found and (lonely := found.keys() & _OF_EXTERNAL_POLICIES):
        raise ValueError(f"{min(lonely)} without policy_type")
    return found


def _check(name: str, value: str, level: Level, version: tuple[int, ...]) -> None:
    first = _SINCE.get(name)
    if first is None or not is_since(version, first):
        raise ValueError(f"this version of Postfix has no attribute '{printable(name)}'")
    if not _VALUES.get(name, _any)(value):
        raise ValueError(f"{name} has a wrong value: '{printable(value)}'")
    if name == "tafile" and level not in _PKIX:
        raise ValueError(f"{name} at level {level}")
    if name == "match" and level not in _PKIX | {Level.FINGERPRINT}:
        raise ValueError(f"{name} at level {level}")


def _any(_: str) -> bool:
    return True


def _tokens(text: str, *, braces: bool) -> Iterator[str]:
    """Split at separators; with `braces`, not inside of these."""
    start, depth = 0, 0
    for index, letter in enumerate(text):
        if braces and letter == "{":
            depth += 1
        elif depth and letter == "}":
            depth -= 1
        elif not depth and letter in _SEPARATORS:
            if index > start:
                yield text[start:index]
            start = index + 1
    if start < len(text):
        yield text[start:]


# C's isspace(): the tokens may have VT and FF inside, those in braces all of them.
_SPACE: Final = " \t\n\v\f\r"
_PAIR: Final = re.compile(rf"(?P<name>[^{_SPACE}=]+)[{_SPACE}]*=(?P<value>.*)", re.DOTALL)


def _name_and_value(token: str, *, braces: bool) -> tuple[str, str]:
    if braces and token.startswith("{"):
        token = _in_braces(token)
    pair = _PAIR.fullmatch(token.strip(_SPACE))
    if not pair:
        raise ValueError(f"no attribute: '{printable(token)}'")
    return pair["name"].lower(), pair["value"].strip(_SPACE)


def _in_braces(token: str) -> str:
    """The text in braces, each white space of which becomes a space."""
    depth = 0
    for index, letter in enumerate(token):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            if index + 1 < len(token):
                raise ValueError(f"text after a brace: '{printable(token)}'")
            return re.sub(f"[{_SPACE}]", " ", token[1:index])
    raise ValueError(f"a missing brace: '{printable(token)}'")
