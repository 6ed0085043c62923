"""DANE with the daemon in the way: what it answers, and what becomes of the mail by that.

In main.cf stands level `may`, so that DANE binds by the daemon's answer alone; where the daemon
yields it is level `dane`, as it has to be there. Almost every domain has a policy of mode enforce,
so that a wrong answer shows: in mail that goes by the policy where DANE forbids it, or the reverse.
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

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

RULES: Final[Mapping[str, Mapping[str, str]]] = {
    "default": {},
    "dane": {"answer": "dane"},
    "yield": {"answer": "yield"},
    "mta_sts": {"on_failure": "mta_sts"},
    "off": {"mode": "off"},
}
"""Sections `dane` of a configuration, to which `mode: on` is added where nothing else is said."""
PORTS: Final = {rule: 8471 + n for n, rule in enumerate(RULES)}
NOT_VALIDATING_PORT: Final = 8481
"""Of a daemon whose name server does not validate."""
UNANSWERED_PORT: Final = 8482
"""Of one whose name server falls silent."""
POSTCONF_PORT: Final = 8483
"""Of one that asks a Postfix whether there is to be DANE."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a message."""

    status: str
    log: str
    """What Postfix says of it."""
    taken: tuple[str, str | None] | None = None
    """The sink that took it, and the name that it was asked for by SNI."""


def _by_dane(host: str, base: str | None = None) -> Outcome:
    """Sent to a server that DANE, by TLSA records at `base`, vouches for; the policy does not."""
    log = f"Verified TLS connection established to {host}["
    return Outcome("sent", log, ("self-signed", base or host))


def _by_policy(host: str) -> Outcome:
    """Sent to a server as the policy wants it."""
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
SECOND: Final = Outcome(
    "sent", "Trusted TLS connection established to mx2.half.test[", ("good", None)
)

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
        "partly.test": (DANE, PARTLY),
        "half.test": (DANE, SECOND),
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
        # Nobody can have these MX records; there is no delivery that a policy could weaken.
        "bogus-mx.test": (POLICY, NO_MX),
        "moved.test": (POLICY, NO_MX),
        # Nor is there an MTA-STS record to be had.
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
        "half.test": (NOT_FOUND, SECOND),
        "none.test": (POLICY, _by_policy("mx.none.test")),
        "none-wrong.test": (POLICY, UNVERIFIED),
        "stripped.test": (TRY_AGAIN, UNANSWERED),
    },
    # The administrator's choice: the policy rather than no mail.
    "mta_sts": {
        "good.test": (DANE_ONLY, GOOD),
        "wrong.test": (DANE_ONLY, UNVERIFIED),
        "bogus-tlsa.test": (POLICY, _by_policy("mx.bogus-tlsa.test")),
        "stripped.test": (POLICY, _by_policy("mx.stripped.test")),
    },
    # What RFC 8461 §2 forbids: so it was before.
    "off": {
        "good.test": (POLICY, UNVERIFIED),
        "wrong.test": (POLICY, _by_policy("mx.wrong.test")),
    },
}
"""Rule → domain → the reply, or how it begins, and what becomes of mail. By rule: each change of it
is a reload."""
WITHOUT_POLICY: Final = {"short-free.test", "short-plain.test"}
"""Where DANE makes TLS a must without a name to verify, nothing else asks for more."""
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
    """Rule → a daemon that has it; all policies are published."""
    for domain in CASES["default"].keys() - WITHOUT_POLICY:
        world.policy(domain, "enforce", mx=[f"mx.{domain}", f"mx2.{domain}"])
    with ExitStack() as stack:
        yield {
            rule: stack.enter_context(
                running(
                    Daemon(
                        inside,
                        folder / f"daemon-dane-{rule}",
                        logs / f"daemon-dane-{rule}.log",
                        settings
                        | {
                            "listen": [{"socketmap": f"127.0.0.1:{PORTS[rule]}"}],
                            "dns": {"nameservers": [VALIDATING_DNS], "timeout": "2s"},
                            "dane": {"mode": "on"} | dict(dane),
                        },
                    )
                )
            )
            for rule, dane in RULES.items()
        }


@pytest.fixture(scope="module")
def mta_with(signed_mta: Mta, daemons: dict[str, Daemon]) -> Callable[[str], Mta]:
    """One Postfix after the other: rule → that Postfix, with the rule's daemon in its main.cf."""
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
    """DANE goes before the policy; no DANE, proven, and the policy stands; no proof, try again."""
    said = daemons[rule].ask(PORTS[rule], f"postfix {domain}")

    if reply in {POLICY, TRY_AGAIN}:
        assert said.startswith(reply), said
    else:
        assert said == reply


def test_a_dane_reply_has_no_tlsrpt_attributes(daemons: dict[str, Daemon]) -> None:
    """The attributes for TLSRPT go with a policy, not with DANE."""
    port = PORTS["default"]

    assert daemons["default"].ask(port, "QUERYwithTLSRPT good.test") == DANE_ONLY
    assert "policy_type=sts" in daemons["default"].ask(port, "QUERYwithTLSRPT none.test")


@pytest.mark.parametrize(("rule", "domain", "outcome"), [(*row[:2], row[3]) for row in ROWS])
def test_delivery(mta_with: Callable[[str], Mta], rule: str, domain: str, outcome: Outcome) -> None:
    """Delivered as DANE wants it, else as the policy does; deferred where either fails."""
    seen = mta_with(rule).send(domain)

    assert (seen.status, seen.logged(outcome.log)) == (outcome.status, True), seen
    assert [(r.sink, r.sni) for r in seen.receipts] == ([outcome.taken] if outcome.taken else [])


def test_dane_is_off_without_a_validating_resolver(
    inside: Namespace, settings: dict[str, object], world: World, folder: Path, logs: Path
) -> None:
    """DANE on, a name server that proves nothing: a warning, and the policy as before."""
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
    """In memory, and on file for a daemon that begins then; of other domains nothing is known."""
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
    """`dane.mode: auto`: as main.cf has it, asked of this Postfix's own postconf."""
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
