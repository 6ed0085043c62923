"""DANE with the daemon: its reply, and the delivery that follows from it.

main.cf has level `may`, so that DANE applies only because of the daemon's reply; for `answer:
yield` it has level `dane`, as that needs. Almost every domain has a policy in mode enforce, so that
a wrong reply is visible: mail is sent by the policy where DANE forbids it, or the reverse.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.daemon import Daemon, running
from tests.e2e.mta import Mta
from tests.e2e.namespace import Namespace
from tests.e2e.resolving import VALIDATING_DNS, Resolver
from tests.e2e.servers import DAEMON_DNS
from tests.e2e.wires import SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World

pytestmark = pytest.mark.timeout(600)

RULES: Final[Mapping[str, Mapping[str, str]]] = {
    "default": {},
    "dane": {"answer": "dane"},
    "yield": {"answer": "yield"},
    "mta_sts": {"on_failure": "mta_sts"},
    "off": {"mode": "off"},
}
"""Rule → section `dane` of a configuration; `mode: on` is the default here."""
PORTS: Final = {rule: 8471 + n for n, rule in enumerate(RULES)}
NOT_VALIDATING_PORT: Final = 8481
"""The port of a daemon whose name server does not validate."""
UNANSWERED_PORT: Final = 8482
"""The port of a daemon whose name server stops answering."""
POSTCONF_PORT: Final = 8483
"""The port of a daemon that asks a Postfix whether to use DANE."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happens to a message."""

    status: str
    log: str
    """A text in Postfix's log."""
    taken: tuple[str, str | None] | None = None
    """The sink that received it, and the name that Postfix sent as SNI."""


def _by_dane(host: str, base: str | None = None) -> Outcome:
    """Sent to a server that matches the TLSA records at `base`, but not the policy."""
    log = f"Verified TLS connection established to {host}["
    return Outcome("sent", log, ("self-signed", base or host))


def _by_policy(host: str) -> Outcome:
    """Sent to a server that matches the policy."""
    return Outcome("sent", f"Verified TLS connection established to {host}[", ("good", host))


DANE_ONLY: Final = "OK dane-only"
DANE: Final = "OK dane"
NOT_FOUND: Final = "NOTFOUND "
TRY_AGAIN: Final = "TEMP "
POLICY: Final = "OK secure match="

UNVERIFIED: Final = Outcome("deferred", "(Server certificate not verified)")
UNANSWERED: Final = Outcome("deferred", "TLS configuration problem)")
NO_MX: Final = Outcome("deferred", "(Host or domain name not found. Name service error for ")
UNENCRYPTED: Final = Outcome("deferred", "(TLS is required, but was not offered")
ENCRYPTED: Final = Outcome(
    "sent",
    "TLS connection established to mx.short-free.test[",
    ("wrong name", "mx.short-free.test"),
)
NO_TLSA: Final = Outcome("deferred", "(no TLSA records found)")


def _second(domain: str) -> Outcome:
    """Sent to the second host, which nothing authenticates."""
    log = f"Trusted TLS connection established to mx2.{domain}["
    return Outcome("sent", log, ("good", None))


GOOD: Final = _by_dane("mx.good.test")
PARTLY: Final = _by_dane("mx.partly.test")

CASES: Final[Mapping[str, Mapping[str, tuple[str, Outcome]]]] = {
    "default": {
        "good.test": (DANE_ONLY, GOOD),
        "hashed.test": (DANE_ONLY, _by_dane("mx.hashed.test")),
        "implicit.test": (DANE_ONLY, _by_dane("implicit.test")),
        "alias.test": (DANE_ONLY, _by_dane("mx.alias.test", "mx.host.test")),
        "initial.test": (DANE_ONLY, _by_dane("mx.initial.test")),
        "outside.test": (DANE_ONLY, _by_dane("mx.outside.test")),
        "many.test": (DANE_ONLY, _by_dane("mx.many.test")),
        "mixed.test": (DANE_ONLY, _by_dane("mx.mixed.test")),
        "wrong.test": (DANE_ONLY, UNVERIFIED),
        # A policy is enforced, so no host may be used that nothing authenticates.
        "partly.test": (DANE_ONLY, PARTLY),
        "half.test": (DANE_ONLY, NO_TLSA),
        "half-free.test": (DANE, _second("half-free.test")),
        "lame.test": (TRY_AGAIN, UNANSWERED),
        "lame-free.test": (DANE, _second("lame-free.test")),
        "none.test": (POLICY, _by_policy("mx.none.test")),
        "none-wrong.test": (POLICY, UNVERIFIED),
        "none3.test": (POLICY, _by_policy("mx.none3.test")),
        "none3-wrong.test": (POLICY, UNVERIFIED),
        "short.test": (POLICY, _by_policy("mx.short.test")),
        "short-wrong.test": (POLICY, UNVERIFIED),
        "short-free.test": (DANE, ENCRYPTED),
        "short-plain.test": (DANE, UNENCRYPTED),
        "insecure.test": (POLICY, _by_policy("mx.insecure.test")),
        "insecure-wrong.test": (POLICY, UNVERIFIED),
        "bogus-tlsa.test": (TRY_AGAIN, UNANSWERED),
        "stripped.test": (TRY_AGAIN, UNANSWERED),
        # These MX records cannot be validated, so there is no delivery that a policy could weaken.
        "bogus-mx.test": (POLICY, NO_MX),
        "moved.test": (POLICY, NO_MX),
        # The MTA-STS record cannot be validated either.
        "expired.test": (NOT_FOUND, NO_MX),
    },
    "dane": {
        "good.test": (DANE, GOOD),
        "wrong.test": (DANE, UNVERIFIED),
        "partly.test": (DANE, PARTLY),
        "none-wrong.test": (POLICY, UNVERIFIED),
        "stripped.test": (TRY_AGAIN, UNANSWERED),
    },
    "yield": {
        "good.test": (NOT_FOUND, GOOD),
        "wrong.test": (NOT_FOUND, UNVERIFIED),
        "partly.test": (NOT_FOUND, PARTLY),
        "half.test": (NOT_FOUND, _second("half.test")),
        "none.test": (POLICY, _by_policy("mx.none.test")),
        "none-wrong.test": (POLICY, UNVERIFIED),
        "stripped.test": (TRY_AGAIN, UNANSWERED),
    },
    # The administrator prefers the policy to a deferral.
    "mta_sts": {
        "good.test": (DANE_ONLY, GOOD),
        "wrong.test": (DANE_ONLY, UNVERIFIED),
        "bogus-tlsa.test": (POLICY, _by_policy("mx.bogus-tlsa.test")),
        "lame.test": (POLICY, _by_policy("mx2.lame.test")),
        "stripped.test": (POLICY, _by_policy("mx.stripped.test")),
    },
    # Without DANE in the daemon: what RFC 8461 §2 forbids.
    "off": {
        "good.test": (POLICY, UNVERIFIED),
        "wrong.test": (POLICY, _by_policy("mx.wrong.test")),
    },
}
"""Rule → domain → the reply or its beginning, and the outcome.

Grouped by rule, because each change of the rule is a reload.
"""
WITHOUT_POLICY: Final = {"half-free.test", "lame-free.test", "short-free.test", "short-plain.test"}
"""Domains where DANE leaves a host without a name to verify; a policy would require more."""
ROWS: Final = [(r, domain, *case) for r, cases in CASES.items() for domain, case in cases.items()]


@pytest.fixture(scope="module")
def daemons(
    inside: Namespace,
    resolver: Resolver,
    world: World,
    settings: dict[str, object],
    folder: Path,
    logs: Path,
) -> Iterator[dict[str, Daemon]]:
    """Rule → a daemon with this rule; all policies are published."""
    for domain in CASES["default"].keys() - WITHOUT_POLICY:
        world.policy(domain, "enforce", mx=[f"mx.{domain}", f"mx2.{domain}"])

    def daemon(rule: str) -> Daemon:
        changes = {
            "listen": [{"socketmap": f"127.0.0.1:{PORTS[rule]}"}],
            "dns": {"nameservers": [VALIDATING_DNS], "timeout": "2s"},
            "dane": {"mode": "on"} | dict(RULES[rule]),
        }
        name = f"daemon-dane-{rule}"
        return Daemon(inside, folder / name, logs / f"{name}.log", settings | changes)

    with ExitStack() as stack:
        yield {rule: stack.enter_context(running(daemon(rule))) for rule in RULES}


@pytest.fixture(scope="module")
def mta_with(signed_mta: Mta, daemons: dict[str, Daemon]) -> Callable[[str], Mta]:
    """For each version: rule → the Postfix, with the rule's daemon in its main.cf."""
    current = ""

    def switch(rule: str) -> Mta:
        nonlocal current
        if rule != current:
            signed_mta.set(
                f"smtp_tls_policy_maps = {policy_maps(SOCKETMAP_TCP, PORTS[rule])}",
                f"smtp_tls_security_level = {'dane' if rule == 'yield' else 'may'}",
            )
            current = rule
        return signed_mta

    return switch


@pytest.mark.parametrize(("rule", "domain", "reply"), [row[:3] for row in ROWS])
def test_reply(daemons: dict[str, Daemon], rule: str, domain: str, reply: str) -> None:
    """DANE goes first; the policy applies if no DANE is proven; without proof, try again."""
    said = daemons[rule].ask(PORTS[rule], f"postfix {domain}")

    if reply in {POLICY, TRY_AGAIN}:
        assert said.startswith(reply), said
    else:
        assert said == reply


def test_a_dane_reply_has_no_tlsrpt_attributes(daemons: dict[str, Daemon]) -> None:
    """The attributes for TLS reports belong to a policy, not to DANE."""
    port = PORTS["default"]

    assert daemons["default"].ask(port, "QUERYwithTLSRPT good.test") == DANE_ONLY
    assert "policy_type=sts" in daemons["default"].ask(port, "QUERYwithTLSRPT none.test")


@pytest.mark.parametrize(("rule", "domain", "outcome"), [(*row[:2], row[3]) for row in ROWS])
def test_delivery(mta_with: Callable[[str], Mta], rule: str, domain: str, outcome: Outcome) -> None:
    """Delivered as DANE requires, else as the policy requires; deferred if that fails."""
    seen = mta_with(rule).send(domain)

    assert (seen.status, seen.logged(outcome.log)) == (outcome.status, True), seen
    assert [(r.sink, r.sni) for r in seen.receipts] == ([outcome.taken] if outcome.taken else [])


def test_dane_is_off_without_a_validating_resolver(
    inside: Namespace, settings: dict[str, object], world: World, folder: Path, logs: Path
) -> None:
    """DANE on, but a name server that proves nothing: a warning, and the reply by policy."""
    domain = world.fresh("not-validating")
    world.mail_host(domain, "good")
    world.policy(domain, "enforce")
    listen = [{"socketmap": f"127.0.0.1:{NOT_VALIDATING_PORT}"}]
    not_validating = settings | {"listen": listen, "dane": {"mode": "on"}}
    assert not_validating["dns"] == {"nameservers": [DAEMON_DNS], "timeout": "2s"}

    log = logs / "daemon-dane-not-validating.log"
    with running(
        Daemon(inside, folder / "daemon-dane-not-validating", log, not_validating)
    ) as daemon:
        daemon.log.wait(r"(?i)\bdane\b")
        said = daemon.ask(NOT_VALIDATING_PORT, f"postfix {domain}")

    assert said == f"{POLICY}mx.{domain} servername=hostname"


def test_a_verdict_stays_while_the_resolver_does_not_answer(
    daemons: dict[str, Daemon],
    inside: Namespace,
    resolver: Resolver,
    settings: dict[str, object],
    folder: Path,
    logs: Path,
) -> None:
    """In memory, and in the store after a restart; other domains are answered as unknown."""
    own_settings = settings | {
        "listen": [{"socketmap": f"127.0.0.1:{UNANSWERED_PORT}"}],
        "dns": {"nameservers": [VALIDATING_DNS], "timeout": "1s"},
        "dane": {"mode": "on"},
    }
    place, log = folder / "daemon-dane-unanswered", logs / "daemon-dane-unanswered.log"
    with running(Daemon(inside, place, log, own_settings)) as daemon:
        before = daemon.ask(UNANSWERED_PORT, "postfix good.test")
        with resolver.paused():
            in_memory = daemon.ask(UNANSWERED_PORT, "postfix good.test")
            daemon.stop()
            daemon.start()
            on_file = daemon.ask(UNANSWERED_PORT, "postfix good.test")
            unknown = daemon.ask(UNANSWERED_PORT, "postfix hashed.test")

    assert (before, in_memory, on_file, unknown) == (DANE_ONLY, DANE_ONLY, DANE_ONLY, NOT_FOUND)


def test_auto_mode_follows_main_cf(
    daemons: dict[str, Daemon],
    inside: Namespace,
    signed_mta: Mta,
    settings: dict[str, object],
    folder: Path,
    logs: Path,
) -> None:
    """`dane.mode: auto` follows main.cf, through the postconf of this Postfix."""
    bin_ = folder / f"bin-{signed_mta.version}"
    bin_.mkdir()
    postconf = bin_ / "postconf"
    postconf.write_text(f'#!/bin/sh\nexec {shlex.join(signed_mta.command("postconf"))} "$@"\n')
    postconf.chmod(0o755)
    own_settings = settings | {
        "listen": [{"socketmap": f"127.0.0.1:{POSTCONF_PORT}"}],
        "dns": {"nameservers": [VALIDATING_DNS], "timeout": "2s"},
        "dane": {"mode": "auto"},
    }
    name = f"daemon-dane-postconf-{signed_mta.version}"
    made = Daemon(inside, folder / name, logs / f"{name}.log", own_settings, path=bin_)
    said = {}
    for level in ("dnssec", "enabled"):
        signed_mta.set(f"smtp_dns_support_level = {level}")
        with running(made) as daemon:
            said[level] = daemon.ask(POSTCONF_PORT, "postfix good.test")
    signed_mta.set("smtp_dns_support_level = dnssec")

    assert said["dnssec"] == DANE_ONLY
    assert said["enabled"].startswith(POLICY)
