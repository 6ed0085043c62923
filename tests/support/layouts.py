"""Images in the OCI layout, made of the files of their layers."""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def layout(folder: Path, *layers: Mapping[str, str]) -> Path:
    """Write an image into a new folder; each layer is path → content. Return the folder."""
    (folder / "blobs/sha256").mkdir(parents=True)
    config = {"architecture": "amd64", "os": "linux"}
    manifest = {
        "schemaVersion": 2,
        "config": _blob(folder, json.dumps(config).encode()),
        "layers": [_blob(folder, _archive(each)) for each in layers],
    }
    index = {"schemaVersion": 2, "manifests": [_blob(folder, json.dumps(manifest).encode())]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return folder


def _archive(files: Mapping[str, str]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return gzip.compress(made.getvalue(), mtime=0)


def _blob(folder: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs/sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}
