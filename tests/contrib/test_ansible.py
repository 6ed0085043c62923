"""The Ansible role fits itself, the units, the configuration and its page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from postfix_mta_sts.config.settings import Settings, parse

ROOT = Path(__file__).parents[2]
ROLE = ROOT / "contrib/ansible/roles/postfix_mta_sts"
PAGE = (ROOT / "docs/wiring/ansible.md").read_text("utf-8")
PREFIX = "postfix_mta_sts_"
FILES = sorted(ROLE.rglob("*.yml"))
KEYWORDS = {
    "become",
    "block",
    "changed_when",
    "check_mode",
    "delay",
    "delegate_to",
    "failed_when",
    "listen",
    "loop",
    "loop_control",
    "name",
    "notify",
    "register",
    "retries",
    "until",
    "vars",
    "when",
}
"""Of a task; what is not one of them is its module."""


def read(path: str) -> Any:  # noqa: ANN401 - a YAML document
    """Read a file of the role."""
    return yaml.safe_load((ROLE / path).read_text("utf-8"))


def tasks(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the tasks of a file, with those in its blocks."""
    left = list(yaml.safe_load(path.read_text("utf-8")))
    while left:
        task = left.pop(0)
        yield task
        left += task.get("block", [])


TASKS = {
    f"{path.parent.name}/{path.stem}: {task['name']}": task
    for folder in ("tasks", "handlers")
    for path in sorted((ROLE / folder).glob("*.yml"))
    for task in tasks(path)
}


def options() -> dict[str, Any]:
    """The options of the role, as meta/argument_specs.yml describes them."""
    found: dict[str, Any] = read("meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return found


def test_defaults() -> None:
    """Each variable has its default in both files, and is explained; there is no other one."""
    assert len(options()) > 10
    assert read("defaults/main.yml") == {name: each["default"] for name, each in options().items()}
    assert all(each["description"] for each in options().values())
    assert all(name.startswith(PREFIX) for name in options())


def test_page_has_all_variables() -> None:
    """The table of the page has each variable with its default."""
    rows = re.findall(rf"^\| `({PREFIX}\w+)` \|(.*?)\|", PAGE, re.MULTILINE)
    shown = {name: yaml.safe_load(default.strip(" `")) for name, default in rows}
    defaults = read("defaults/main.yml")
    assert shown.keys() == defaults.keys()
    for name, default in shown.items():
        assert (default or "") == (defaults[name] or ""), name


def test_variables_exist() -> None:
    """Each variable that a file of the role names is one of its variables."""
    own = {*options(), *read("vars/main.yml")}
    for path in FILES:
        registered = re.findall(r"register: (\w+)", path.read_text("utf-8"))
        own |= {*registered}
    named = {
        name
        for path in (*FILES, *ROLE.rglob("*.j2"))
        for name in re.findall(rf"\b(?:__)?{PREFIX}\w+", path.read_text("utf-8"))
    }
    assert len(named) > 30
    assert named - own == set()
    assert {*options(), *read("vars/main.yml")} - named == set()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_task(task: dict[str, Any]) -> None:
    """A task names its module in full, uses no old form, and a command says what it changes."""
    (module,) = task.keys() - KEYWORDS if "block" not in task else ("ansible.builtin.block",)
    assert module.startswith("ansible.builtin.")
    assert module not in {"ansible.builtin.include", "ansible.builtin.shell"}
    assert not [key for key in task if key.startswith("with_")]
    if module == "ansible.builtin.command":
        assert "changed_when" in task or "creates" in task[module]
    if module in {"ansible.builtin.copy", "ansible.builtin.template"}:
        assert "mode" in task[module]


def test_notified_handlers_exist() -> None:
    """Each handler that a task notifies is there, and each handler is notified."""
    handlers = [task for name, task in TASKS.items() if name.startswith("handlers/")]
    names = {each.get("listen", each["name"]) for each in handlers}
    notified: set[str] = set()
    for task in TASKS.values():
        wanted = task.get("notify", [])
        notified |= {wanted} if isinstance(wanted, str) else {*wanted}
    assert len(names) > 3
    assert notified == names


def test_included_files_exist() -> None:
    """Each file of tasks is included, and each that is included by its name exists."""
    texts = [path.read_text("utf-8") for path in (ROLE / "tasks").glob("*.yml")]
    included = {name for text in texts for name in re.findall(r"include_tasks: (\w+\.yml)", text)}
    chosen = {"absent.yml", "present.yml", "deb.yml", "venv.yml", "main.yml"}
    assert included | chosen == {path.name for path in (ROLE / "tasks").glob("*.yml")}
    assert options()[f"{PREFIX}state"]["choices"] == ["present", "absent"]


def test_what_it_takes_of_the_checkout_exists() -> None:
    """The units and the versions of the libraries are where the role looks for them."""
    own = read("vars/main.yml")
    checkout = ROLE / own["__postfix_mta_sts_checkout"].removeprefix("{{ role_path }}/")
    assert (checkout / "constraints.txt").is_file()
    folder = own["__postfix_mta_sts_systemd"].rpartition("}}/")[2]
    text = "".join(path.read_text("utf-8") for path in (ROLE / "tasks").glob("*.yml"))
    names = re.findall(r'"\{\{ __postfix_mta_sts_systemd \}\}/(.*?)"', text)
    assert len(names) == 3
    assert all((checkout / folder / name).is_file() for name in names)


def test_address() -> None:
    """Postfix is told to ask the default listener, in the table and when the table is removed."""
    own = read("vars/main.yml")
    (address,) = (str(each.address) for each in Settings().listen)
    assert own["__postfix_mta_sts_address"] == address
    pattern = re.compile(own["__postfix_mta_sts_own_map"])
    ours = f"socketmap:inet:{address}:QUERYwithTLSRPT"
    others = "hash:/etc/postfix/tls_policy, socketmap:inet:127.0.0.1:8642:QUERY"
    for tables in (f"{others}, {ours}", f"{others} {ours}", f"{others},{ours}"):
        assert pattern.sub("", tables) == others
    assert pattern.sub("", f"{ours}, {others}").lstrip(", ") == others
    assert pattern.sub("", ours) == ""


def test_settings_of_the_page() -> None:
    """The settings that the page shows are ones that the daemon knows."""
    (block,) = re.findall(
        r"^```yaml\n(postfix_mta_sts_settings:\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
    settings = yaml.safe_load(block)[f"{PREFIX}settings"]
    found = parse(json.dumps(settings, default=str), "page")  # JSON is YAML
    assert [str(name) for name in found.exceptions] == ["example.com"]
    assert parse("trial: {enabled: true}", "role").trial.enabled  # what the role adds


@pytest.mark.parametrize(
    ("package", "is_requirement"),
    [
        ("postfix-mta-sts==0.1.0", True),
        ("postfix-mta-sts[valkey]==0.1.0", True),
        ("postfix-mta-sts", True),
        ("postfix-mta-sts_0.1.0-1_amd64.deb", False),
        ("postfix-mta-sts/dist/postfix_mta_sts-0.1.0-py3-none-any.whl", False),
        ("postfix-mta-sts-wheels", False),
        ("dist/*.whl", False),
    ],
)
def test_what_pip_finds(package: str, *, is_requirement: bool) -> None:
    """What is for pip's index is told from a path."""
    kind = read("vars/main.yml")["__postfix_mta_sts_kind"]
    (pattern,) = re.findall(r"match\('(postfix-mta-sts.*?)'\)", kind)
    assert bool(re.match(pattern, package)) is is_requirement
