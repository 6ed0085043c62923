"""The NixOS module and the package fit the units, the project and the configuration."""

import json
import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from postfix_mta_sts.config.settings import Settings, parse
from tests.support.nix import value_of

ROOT = Path(__file__).parents[2]
MODULE = (ROOT / "contrib/nixos/module.nix").read_text("utf-8")
PACKAGE = (ROOT / "contrib/nixos/package.nix").read_text("utf-8")
UNITS = ROOT / "contrib/systemd"
COMMANDS = {"ExecStart", "ExecReload"}
"""Lines that name programs, which have other paths on NixOS."""
YES = {"yes": True, "no": False}


def section(unit: str, name: str) -> dict[str, list[str]]:
    """Key → values of a section of one of our units."""
    found: dict[str, list[str]] = defaultdict(list)
    text = (UNITS / unit).read_text("utf-8").partition(f"[{name}]\n")[2].partition("\n[")[0]
    for key, value in re.findall(r"^(\w+)=(.*)$", text, re.MULTILINE):
        found[key].append(value)
    return dict(found)


def written(value: Any) -> list[str]:  # noqa: ANN401 - of a setting, from Nix
    """The values that NixOS writes for a setting, with our words for true and false."""
    if isinstance(value, list):
        return [written(each)[0] for each in value]
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    return [str(value)]


@pytest.mark.parametrize(
    ("unit", "name", "attribute"),
    [
        ("postfix-mta-sts.service", "Service", "serviceConfig"),
        ("postfix-mta-sts.socket", "Socket", "socketConfig"),
    ],
)
def test_settings_of_the_units(unit: str, name: str, attribute: str) -> None:
    """The module has each setting of our unit, with the same values, and no other."""
    ours = section(unit, name)
    theirs = {key: written(value) for key, value in value_of(MODULE, attribute).items()}
    assert theirs.keys() == ours.keys()
    assert len(ours) > 2
    address = value_of(MODULE, "address")
    for key in ours.keys() - COMMANDS:
        assert [address if each == "address" else each for each in theirs[key]] == ours[key], key


def test_order_of_the_units() -> None:
    """The service waits for the same, and starts before the same as ours."""
    ours = section("postfix-mta-sts.service", "Unit")
    for key in ("Wants", "After"):
        assert value_of(MODULE, key.lower()) == ours[key][0].split()
    (before,) = ours["Before"]
    assert set(re.findall(r"before = \[ \"(.*)\" \]", MODULE)) == {before.split()[0]}
    assert value_of(MODULE, "unitConfig.StartLimitIntervalSec") == int(
        ours["StartLimitIntervalSec"][0]
    )


def test_address() -> None:
    """Systemd opens, and Postfix asks, the address of the default listener."""
    assert [str(each.address) for each in Settings().listen] == [value_of(MODULE, "address")]


def test_libraries() -> None:
    """The package has all libraries of the project, and those for shared stores."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = [each for extra in project["optional-dependencies"].values() for each in extra]
    names = {re.split(r"[<>=;]", each)[0] for each in project["dependencies"] + extras}
    block = re.search(r"dependencies = with python3Packages; (\[.*?\]);", PACKAGE, re.DOTALL)
    assert block
    assert set(value_of(f"x = {block[1]}", "x")) == names


def test_settings_are_valid() -> None:
    """The settings that the module sets itself, and its example, are ones that the daemon knows."""
    (ca_file,) = re.findall(r'settings\.https\.ca_file =\s+lib\.mkDefault "(.*)";', MODULE)
    example = value_of(MODULE, "example")
    listen = example.pop("metrics.listen")
    document = {"https": {"ca_file": ca_file}, "metrics": {"listen": listen}} | example
    settings = parse(json.dumps(document), "module")  # JSON is YAML
    assert str(settings.https.ca_file) == ca_file
    assert (str(settings.metrics.listen), settings.trial.enabled) == (listen, True)
