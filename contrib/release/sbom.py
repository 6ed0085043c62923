"""The list of all that an image contains, as CycloneDX 1.6 in JSON.

Serial number and time depend on the image and its tag alone. https://cyclonedx.org/docs/1.6/json/
"""

import email.parser
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

from contrib.release import ReleaseError
from contrib.release.layout import Image, files
from contrib.release.wheels import normal

NAME: Final = "postfix-mta-sts"
_PACKAGES: Final = PurePosixPath("var/lib/dpkg/status")
_SYSTEM: Final = PurePosixPath("usr/lib/os-release")
_INSTALLED: Final = "install ok installed"

Component = dict[str, Any]


def sbom(
    image: Image, version: str, epoch: int, hashes: Mapping[tuple[str, str], str]
) -> dict[str, Any]:
    """Return the document for an image of a version; `hashes` are those of the wheels.

    Raises `ReleaseError` if a library was not installed from one of the wheels.
    """
    found = files(image, _is_wanted)
    libraries = [_headers(each) for path, each in found.items() if path.name == "METADATA"]
    components = [
        *(_library(each, hashes) for each in libraries if normal(each["Name"]) != NAME),
        *_packages(found[_PACKAGES].decode(), _system(found[_SYSTEM].decode())),
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, image.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": _subject(image, version),
        },
        "components": sorted(components, key=lambda each: str(each["bom-ref"])),
    }


def text(document: Mapping[str, Any]) -> str:
    """Return the document as it is written into a file."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _is_wanted(path: PurePosixPath) -> bool:
    is_metadata = path.name == "METADATA" and path.parent.suffix == ".dist-info"
    return is_metadata or path in (_PACKAGES, _SYSTEM)


def _headers(metadata: bytes) -> Mapping[str, str]:
    return dict(email.parser.BytesHeaderParser().parsebytes(metadata))


def _subject(image: Image, version: str) -> Component:
    purl = f"pkg:oci/{NAME}@{image.digest.replace(':', '%3A')}?arch={image.architecture}"
    return {
        "type": "container",
        "bom-ref": purl,
        "name": NAME,
        "version": version,
        "hashes": [_sum(image.digest.removeprefix("sha256:"))],
        "licenses": [{"expression": "MIT"}],
        "purl": purl,
    }


def _library(metadata: Mapping[str, str], hashes: Mapping[tuple[str, str], str]) -> Component:
    name, version = normal(metadata["Name"]), metadata["Version"]
    if (name, version) not in hashes:
        raise ReleaseError(f"the image has {name} {version}, for which there was no wheel")
    purl = f"pkg:pypi/{name}@{version}"
    made: Component = {"type": "library", "bom-ref": purl, "name": name, "version": version}
    made["hashes"] = [_sum(hashes[name, version])]
    if "License-Expression" in metadata:
        made["licenses"] = [{"expression": metadata["License-Expression"]}]
    return {**made, "purl": purl}


def _packages(status: str, system: tuple[str, str]) -> Iterator[Component]:
    """The packages that dpkg-query(1) would list."""
    kind, release = system
    for fields in map(_fields, status.strip().split("\n\n")):
        if fields["Status"] != _INSTALLED:
            continue
        name, version, architecture = (
            fields[key] for key in ("Package", "Version", "Architecture")
        )
        quoted = version.replace("+", "%2B").replace(":", "%3A")
        purl = f"pkg:deb/{kind}/{name}@{quoted}?arch={architecture}&distro={kind}-{release}"
        yield {
            "type": "library",
            "bom-ref": purl,
            "name": name,
            "version": version,
            "purl": purl,
        }


def _fields(paragraph: str) -> Mapping[str, str]:
    """The fields of a paragraph in a control file that have one line, see deb822(5)."""
    return dict(re.findall(r"(?m)^([A-Z][\w-]*): (.*)$", paragraph))


def _system(os_release: str) -> tuple[str, str]:
    """ID and VERSION_ID of os-release(5)."""
    values = dict(re.findall(r'(?m)^(\w+)="?([^"\n]*)"?$', os_release))
    return values["ID"], values["VERSION_ID"]


def _sum(value: str) -> Mapping[str, str]:
    return {"alg": "SHA-256", "content": value}
