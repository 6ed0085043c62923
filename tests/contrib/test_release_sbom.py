"""The list of what an image contains, and how an image is read and packed."""

import hashlib
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from contrib.release import ReleaseError, wheels
from contrib.release.layout import pack, read
from contrib.release.sbom import sbom, text
from tests.e2e.trees import WITH_DNS
from tests.e2e.wheels import PYTHONS
from tests.support.layouts import layout
from tests.support.releases import EPOCH, ROOT

SITE = "opt/postfix-mta-sts/lib/python3.13/site-packages"
STATUS = """\
Package: base-files
Status: install ok installed
Maintainer: Debian <root@example.org>
Architecture: amd64
Version: 13.8+deb13u2
Conffiles:
 /etc/debian_version 0123456789abcdef0123456789abcdef
Description: files
 Version: 1 is only a line of the description

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: tzdata
Status: install ok installed
Architecture: all
Version: 1:2026c-0+deb13u1~1
"""
SYSTEM = 'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nVERSION_ID="13"\nID=debian\n'
BASE = {
    "var/lib/dpkg/status": "",
    "usr/lib/os-release": SYSTEM,
    f"{SITE}/pip-1.dist-info/METADATA": "Name: pip\nVersion: 1\n",
}
PYYAML = "Name: PyYAML\nVersion: 6.0.3\nLicense-Expression: MIT\n\nName: text\n"
OURS = {
    "var/lib/dpkg/status": STATUS,
    f"{SITE}/.wh.pip-1.dist-info": "",
    f"{SITE}/postfix_mta_sts-9.8.7.dist-info/METADATA": "Name: postfix-mta-sts\nVersion: 9.8.7\n",
    f"{SITE}/PyYAML-6.0.3.dist-info/METADATA": PYYAML,
    f"{SITE}/attrs-26.1.0.dist-info/METADATA": "Name: attrs\nVersion: 26.1.0\n",
    f"{SITE}/attrs-26.1.0.dist-info/RECORD": "Name: none\nVersion: 1\n",
}
HASHES = {("pyyaml", "6.0.3"): "a" * 64, ("attrs", "26.1.0"): "b" * 64, ("pip", "1"): "c" * 64}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "serialNumber", "version", "metadata", "components"],
    "additionalProperties": False,
    "properties": {
        "$schema": {"const": "http://cyclonedx.org/schema/bom-1.6.schema.json"},
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "version": {"const": 1},
        "metadata": {
            "required": ["timestamp", "component"],
            "properties": {
                "timestamp": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"},
                "component": {"$ref": "#/$defs/component"},
            },
        },
        "components": {"items": {"$ref": "#/$defs/component"}, "uniqueItems": True},
    },
    "$defs": {
        "component": {
            "required": ["type", "bom-ref", "name", "version", "purl"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["container", "library"]},
                "bom-ref": {"type": "string", "minLength": 1},
                "name": {"type": "string", "minLength": 1},
                "version": {"type": "string", "minLength": 1},
                "purl": {"pattern": "^pkg:(oci|pypi|deb/debian)/[^ @]+@[^ @]+$"},
                "hashes": {
                    "items": {
                        "required": ["alg", "content"],
                        "properties": {
                            "alg": {"const": "SHA-256"},
                            "content": {"pattern": "^[0-9a-f]{64}$"},
                        },
                    }
                },
                "licenses": {"items": {"required": ["expression"]}, "minItems": 1},
            },
        }
    },
}
"""The part of https://cyclonedx.org/docs/1.6/json/ that the document uses."""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The layout of an image of two layers."""
    return layout(tmp_path / "layout", BASE, OURS)


def listed(made: Path) -> dict[str, Any]:
    """Return the document for an image."""
    return sbom(read(made), "9.8.7", EPOCH, HASHES)


def test_what_it_lists(made: Path) -> None:
    """Libraries with the sums of their wheels, and installed packages; nothing that was removed."""
    components = {each["purl"]: each for each in listed(made)["components"]}
    assert list(components) == [
        "pkg:deb/debian/base-files@13.8%2Bdeb13u2?arch=amd64&distro=debian-13",
        "pkg:deb/debian/tzdata@1%3A2026c-0%2Bdeb13u1~1?arch=all&distro=debian-13",
        "pkg:pypi/attrs@26.1.0",
        "pkg:pypi/pyyaml@6.0.3",
    ]
    pyyaml = components["pkg:pypi/pyyaml@6.0.3"]
    assert (pyyaml["name"], pyyaml["version"]) == ("pyyaml", "6.0.3")
    assert pyyaml["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert pyyaml["licenses"] == [{"expression": "MIT"}]
    assert "licenses" not in components["pkg:pypi/attrs@26.1.0"]


def test_the_image_that_it_is_about(made: Path) -> None:
    """It names the image by the digest of its manifest, and the time of the tag."""
    metadata = listed(made)["metadata"]
    (entry,) = json.loads((made / "index.json").read_text())["manifests"]
    assert metadata["timestamp"] == "2026-03-04T05:06:07Z"
    assert metadata["component"]["version"] == "9.8.7"
    assert metadata["component"]["hashes"][0]["content"] == entry["digest"].removeprefix("sha256:")


def test_schema(made: Path) -> None:
    """The document is as CycloneDX describes it."""
    jsonschema.validate(json.loads(text(listed(made))), SCHEMA)


def test_the_same_each_time(tmp_path: Path) -> None:
    """The document depends on the image alone; another image has another serial number."""
    one, same, other = (
        listed(layout(tmp_path / name, BASE, {**OURS, "file": content}))
        for name, content in (("1", ""), ("2", ""), ("3", "other"))
    )
    assert text(one) == text(same)
    assert one["serialNumber"] != other["serialNumber"]


def test_a_library_without_a_wheel(made: Path) -> None:
    """A library that came from somewhere else is an error."""
    hashes = {key: value for key, value in HASHES.items() if key[0] != "attrs"}
    with pytest.raises(ReleaseError, match=r"^the image has attrs 26\.1\.0, for which there was"):
        sbom(read(made), "9.8.7", EPOCH, hashes)


def test_an_opaque_folder(tmp_path: Path) -> None:
    """A layer that empties a folder removes what those below it have there."""
    made = layout(tmp_path / "layout", BASE, OURS, {f"{SITE}/.wh..wh..opq": ""})
    assert {each["name"] for each in listed(made)["components"]} == {"base-files", "tzdata"}


def test_hashes(tmp_path: Path) -> None:
    """Wheels are found by normal name and version."""
    (tmp_path / "Prometheus_Client-0.26.0-py3-none-any.whl").write_bytes(b"content")
    (tmp_path / "file.txt").touch()
    expected = hashlib.sha256(b"content").hexdigest()
    assert wheels.hashes(tmp_path) == {("prometheus-client", "0.26.0"): expected}


def test_pack(made: Path, tmp_path: Path) -> None:
    """Two archives of a layout are equal, whatever owner, mode and time its files have."""
    pack(made, tmp_path / "1.tar", EPOCH)
    for number, path in enumerate(made.rglob("*")):
        path.chmod(0o700)
        os.utime(path, (number, number))
    pack(made, tmp_path / "2.tar", EPOCH)
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    with tarfile.open(tmp_path / "1.tar") as archive:
        names = archive.getnames()
        assert {(each.mtime, each.uid, each.uname) for each in archive} == {(EPOCH, 0, "")}
    assert {"oci-layout", "index.json", "blobs/sha256"} < set(names)


def test_python_of_the_containers() -> None:
    """The wheels are those for the Python of the Debian that the Dockerfile builds on."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert dockerfile.count(f"FROM debian:{WITH_DNS.suite}-slim") == 2
    assert PYTHONS[WITH_DNS.suite] == wheels.PYTHON
