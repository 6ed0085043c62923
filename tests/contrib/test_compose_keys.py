"""Every compose file in contrib/ has only keys of the Compose Specification, with their types.

The schema here has the keys that the files use, as the specification describes them. docker-compose
itself, which has all of it, reads the files in `tests/e2e/test_compose_files.py`.
"""

from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
FILES: Final = sorted(
    file
    for pattern in ("compose*.y*ml", "docker-compose*.y*ml")
    for file in (ROOT / "contrib").glob(f"**/{pattern}")
)

_TEXT: Final = {"type": "string", "minLength": 1}
_TEXTS: Final = {"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True}
_NAME: Final = {"pattern": "^[a-zA-Z0-9._-]+$"}


def _exactly(**properties: object) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _named(value: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "propertyNames": _NAME, "additionalProperties": value}


_CONDITION: Final = {
    "enum": ["service_started", "service_healthy", "service_completed_successfully"]
}
_DURATION: Final = {"type": "string", "pattern": r"^\d+(us|ms|s|m|h)$"}
_SERVICE: Final = _exactly(
    image=_TEXT,
    build=_TEXT,
    healthcheck=_exactly(
        test={"type": "array", "items": _TEXT, "minItems": 2},
        interval=_DURATION,
        timeout=_DURATION,
        start_period=_DURATION,
    ),
    pull_policy={"enum": ["always", "never", "missing", "if_not_present", "build"]},
    restart={"type": "string", "pattern": r"^(no|always|unless-stopped|on-failure(:\d+)?)$"},
    read_only={"type": "boolean"},
    cap_drop=_TEXTS,
    security_opt=_TEXTS,
    # A value that is not in quotes may be a boolean of YAML, which compose refuses.
    environment={"type": "object", "additionalProperties": _TEXT},
    volumes={"type": "array", "items": {"type": "string", "pattern": r"^[\w.-]+:/\S+$"}},
    networks={"anyOf": [_TEXTS, _named(_exactly(aliases=_TEXTS))]},
    depends_on=_named(
        _exactly(condition=_CONDITION) | {"required": ["condition"]},
    ),
)
SCHEMA: Final = _exactly(
    services=_named(_SERVICE), networks=_named(_exactly()), volumes=_named(_exactly())
) | {"required": ["services"]}


def test_all_files_are_found() -> None:
    """The example with an MTA, and one file for each suite."""
    suites = [folder.name for folder in (ROOT / "contrib/wiring").iterdir()]
    assert sorted(file.parent.name for file in FILES) == sorted(["docker", *suites])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_keys(file: Path) -> None:
    """The file has these keys only, with values of the right type."""
    jsonschema.validate(yaml.safe_load(file.read_text("utf-8")), SCHEMA)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_volumes_are_declared(file: Path) -> None:
    """Every volume that a service mounts is declared, and every declared one is mounted."""
    said = yaml.safe_load(file.read_text("utf-8"))
    mounted = {
        volume.split(":")[0]
        for service in said["services"].values()
        for volume in service.get("volumes", ())
    }
    assert mounted == set(said["volumes"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"services": {"a": {"read-only": True}}},
        {"services": {"a": {"read_only": "true"}}},
        {"services": {"a": {"environment": {"A": True}}}},
        {"services": {"a": {"restart": "sometimes"}}},
        {"services": {"a": {"depends_on": {"b": {}}}}},
        {"service": {}},
    ],
)
def test_a_wrong_key_is_found(wrong: dict[str, Any]) -> None:
    """The schema refuses a key that is mistyped, and a value of another type."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SCHEMA)
