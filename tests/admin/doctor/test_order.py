"""Findings without their effects, merged and sorted: examples, and for any findings whatever."""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.doctor.ids import IDS
from postfix_mta_sts.admin.doctor.order import HIDDEN_BY, merged, sorted_, without_effects
from postfix_mta_sts.admin.doctor.report import Effect, Finding
from postfix_mta_sts.values import replace

MAIN_CF = "main-cf-broken"
BADNESS = {Effect.HELD: 0, Effect.UNPROTECTED: 1, Effect.NONE: 2}


def finding(id_: str, effect: Effect = Effect.HELD, **fields: object) -> Finding:
    """A finding of this id."""
    return replace(Finding(id_, effect, f"{id_} is found", "it matters", f"mend {id_}"), **fields)


def causes_of(id_: str) -> frozenset[str]:
    """All that may explain a finding, directly or by something that it explains itself."""
    direct = {cause for cause, effects in HIDDEN_BY.items() if id_ in effects}
    every = direct.union(*map(causes_of, direct))
    return frozenset(every | ({MAIN_CF} if id_ != MAIN_CF else set()))


def left(*findings: Finding) -> list[str]:
    """The ids that are not explained by others."""
    return [each.id for each in without_effects(findings)]


def worst(findings: Iterable[Finding]) -> int:
    """The rank of the worst effect."""
    return min((BADNESS[each.effect] for each in findings), default=3)


HIDING = [(cause, effect) for cause, effects in HIDDEN_BY.items() for effect in sorted(effects)]
CHOSEN = sorted({*HIDDEN_BY, *(effect for _, effect in HIDING), MAIN_CF, "relayhost", "new"})
SERVICES = st.sets(st.sampled_from(["smtp/unix", "relay/unix", "out/unix"]))
FINDINGS = st.lists(
    st.builds(
        finding,
        st.sampled_from(CHOSEN),
        st.sampled_from(Effect),
        instance=st.sampled_from(["", "-", "out"]),
        services=SERVICES.map(lambda each: tuple(sorted(each))),
        what=st.sampled_from(["this", "that"]),
        mend=st.sampled_from(["", "run a", "run b"]),
    ),
    max_size=12,
)


@pytest.mark.parametrize(("cause", "effect"), HIDING)
def test_hidden(cause: str, effect: str) -> None:
    """A cause that is as bad as its effect hides it, in whatever order they come."""
    assert left(finding(cause), finding(effect)) == [cause]
    assert left(finding(effect), finding(cause)) == [cause]


def test_names() -> None:
    """Each id of the table is one of the list, and the list has each once."""
    assert {*HIDDEN_BY}.union(*HIDDEN_BY.values()) <= set(IDS)
    assert len(IDS) == len(set(IDS))


def test_no_circle() -> None:
    """Nothing explains itself, so that a cause is always left."""
    assert not [id_ for id_ in IDS if id_ in causes_of(id_)]


def test_no_cause_hides_what_is_worse() -> None:
    """A misspelt parameter that only warns does not hide that no policy is enforced."""
    warning = finding("parameter-unused", Effect.NONE)
    missing = finding("map-missing", Effect.UNPROTECTED)
    assert left(warning, missing) == ["parameter-unused", "map-missing"]
    assert left(replace(warning, effect=Effect.UNPROTECTED), missing) == ["parameter-unused"]


def test_broken_main_cf() -> None:
    """A main.cf that cannot be read hides the rest of its instance, and nothing else."""
    rest = finding("postfix-stopped", instance="out")
    assert left(finding(MAIN_CF, instance="out"), rest) == [MAIN_CF]
    assert len(left(finding(MAIN_CF, instance="-"), rest)) == 2
    assert len(left(finding(MAIN_CF, instance="-"), finding("daemon-stopped"))) == 2
    assert len(left(finding(MAIN_CF, instance="out"), finding(MAIN_CF, instance="out"))) == 2


def test_another_instance() -> None:
    """A cause of one instance explains nothing of another one; the daemon's explain all."""
    effect = finding("map-missing", instance="out")
    assert len(left(finding("map-type", instance="-"), effect)) == 2
    assert left(finding("daemon-stopped"), finding("map-foreign", instance="out")) == [
        "daemon-stopped"
    ]


def test_services() -> None:
    """All services of an effect must have a cause, be it not the same one."""
    effect = finding("map-missing", services=("relay/unix", "smtp/unix"))
    one = finding("map-type", services=("relay/unix",))
    other = finding("map-syntax", services=("smtp/unix",))
    assert left(one, effect) == ["map-type", "map-missing"]
    assert left(one, effect, other) == ["map-type", "map-syntax"]
    assert left(one, replace(effect, services=())) == ["map-type", "map-missing"]
    assert left(replace(one, services=()), effect) == ["map-type"]


def test_hidden_causes_hide() -> None:
    """A chain of causes leaves its first."""
    chain = ("map-name-plain", "map-missing", "map-type")
    assert left(*map(finding, chain)) == ["map-type"]


def test_merged_services() -> None:
    """The same of several services is one finding with the commands of all."""
    one = finding("service-level", services=("smtp/unix",), mend="run s")
    two = finding("service-level", services=("relay/unix",), mend="run r")
    [both] = merged([one, two, one])
    assert both.services == ("relay/unix", "smtp/unix")
    assert both.mend == "run r && run s"


def test_merged_with_all_services() -> None:
    """A finding for all services takes in one for some."""
    one = finding("service-level", services=("smtp/unix",))
    [both] = merged([one, replace(one, services=())])
    assert (both.services, both.mend) == ((), one.mend)


def test_merged_instances() -> None:
    """The same of several instances is one finding that names them."""
    one = finding("ca-none", instance="out", mend="run out")
    two = finding("ca-none", instance="-", mend="run -")
    [both] = merged([one, two])
    assert (both.instance, both.mend) == ("-, out", "run - && run out")
    [all_] = merged([one, replace(two, instance="")])
    assert all_.instance == ""


@pytest.mark.parametrize("change", [{"what": "x"}, {"why": "x"}, {"effect": Effect.NONE}])
def test_not_merged(change: dict[str, Any]) -> None:
    """Findings that say something else stay apart."""
    assert len(merged([finding("ca-none"), finding("ca-none", **change)])) == 2


def test_sorted() -> None:
    """What holds mail comes first; an id that is not known comes last among its like."""
    found = [
        finding("level-none", Effect.NONE),
        finding("zzz", Effect.HELD),
        finding("map-missing", Effect.UNPROTECTED),
        finding("ca-none", Effect.HELD),
        finding("daemon-stopped", Effect.HELD),
    ]
    order = ["daemon-stopped", "ca-none", "zzz", "map-missing", "level-none"]
    assert [each.id for each in sorted_(found)] == order


def covers(cause: Finding, effect: Finding) -> bool:
    """Whether a cause is as bad, and is found for all for which the effect is found."""
    is_there = not cause.instance or effect.instance in {cause.instance, ""}
    services = set(effect.services)
    is_for_all = not cause.services or (services and services <= set(cause.services))
    return bool(is_there and is_for_all and BADNESS[cause.effect] <= BADNESS[effect.effect])


@given(FINDINGS)
def test_never_together(findings: list[Finding]) -> None:
    """No finding is left beside a cause of it for the same instance and services."""
    left = without_effects(findings)
    pairs = [(cause, effect) for cause, effect in product(left, left) if covers(cause, effect)]
    assert not [pair for pair in pairs if pair[1].id in HIDDEN_BY.get(pair[0].id, ())]
    broken = {
        each.instance
        for each in left
        if each.id == MAIN_CF and each.effect is Effect.HELD and not each.services
    }
    assert not [each for each in left if each.instance in broken and each.id != MAIN_CF]


@given(FINDINGS)
def test_never_lost(findings: list[Finding]) -> None:
    """Each finding that is left out has a cause that is shown, and no better than itself."""
    result = without_effects(findings)
    assert worst(result) == worst(findings)
    for lost in (each for each in findings if each not in result):
        assert any(
            cause.id in causes_of(lost.id) and BADNESS[cause.effect] <= BADNESS[lost.effect]
            for cause in result
        )


@given(FINDINGS)
def test_nothing_is_added(findings: list[Finding]) -> None:
    """What is left is as it was, and once for each that was given."""
    result = without_effects(findings)
    assert list(result) == [each for each in findings if each in result]


def shown(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """What the report has of these findings."""
    return sorted_(merged(without_effects(findings)))


@given(st.data())
def test_any_order(data: st.DataObject) -> None:
    """The result does not depend on the order in which rules found it."""
    findings = data.draw(FINDINGS)
    assert shown(data.draw(st.permutations(findings))) == shown(findings)


def covered(findings: Iterable[Finding]) -> Iterator[tuple[str, ...]]:
    """Each pair of an instance and a service, with what is said of it."""
    for each in findings:
        for instance, service in product(each.instance.split(", "), each.services or ("",)):
            yield each.id, each.effect, each.what, instance, service


@given(FINDINGS)
def test_merging_loses_nothing(findings: list[Finding]) -> None:
    """What is said of a service of an instance is said of it, or of all, after merging as well."""
    result = set(covered(merged(findings)))
    for id_, effect, what, instance, service in covered(findings):
        places = product({instance, ""}, {service, ""})
        assert any((id_, effect, what, *place) in result for place in places)


@given(FINDINGS)
def test_merged_once(findings: list[Finding]) -> None:
    """Merging again changes nothing, and every command of the input is in the output."""
    result = merged(findings)
    assert sorted_(merged(result)) == sorted_(result)
    assert {each.mend for each in findings} - {""} <= {
        command for each in result for command in each.mend.split(" && ")
    }
