"""`doctor` on a booted Debian 13, with Postfix 3.10: see `doctor_checks`."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import doctor_checks as checks
from tests.e2e.doctor_case import Case
from tests.e2e.doctor_cases import chosen
from tests.e2e.doctor_stage import Stage
from tests.e2e.doctor_stage import stage as running_stage
from tests.e2e.namespace import Namespace
from tests.e2e.trees import WITH_DNS, NoTreeError
from tests.e2e.world import World
from tests.support.obstacles import cannot

pytestmark = pytest.mark.timeout(600)  # the first test of a run builds

RELEASE = WITH_DNS


@pytest.fixture(scope="module")
def stage(
    trees: dict[str, Path],
    stock: Callable[[str], Path],
    own_namespace: Namespace,
    own_world: World,
    folder: Path,
    logs: Path,
) -> Iterator[Stage]:
    """The machine, on which nothing is wrong between two tests."""
    around = (own_namespace, own_world)
    try:
        with running_stage(RELEASE, trees, stock, around, folder / "doctor-3.10", logs) as made:
            yield made
    except NoTreeError as error:
        cannot(str(error))


def test_good(stage: Stage) -> None:
    """On a machine that is set up as in README.md it finds nothing, and mail is verified."""
    checks.check_good(stage)


def test_plain_user(stage: Stage) -> None:
    """A plain user is told what was not seen."""
    checks.check_plain_user(stage)


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
def test_fault(stage: Stage, case: Case) -> None:
    """It names the fault, and what it prints mends it."""
    checks.check_case(stage, case)


@pytest.mark.parametrize("check", checks.CHECKS)
def test_check(stage: Stage, check: str) -> None:
    """It says what is doubtful or out of reach, and changes nothing."""
    checks.CHECKS[check](stage)
