"""A release: everything built twice from a tag, verified, listed, and tried."""

import gzip
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from contrib.release.layout import files, read
from contrib.release.wheels import normal
from tests.docs.blocks import blocks
from tests.e2e.packages import PACKAGES
from tests.e2e.releases import TOOLS, Store
from tests.e2e.trees import WITH_DNS, NoTreeError, extended
from tests.e2e.wheels import PYTHONS, ROOT
from tests.support.obstacles import cannot
from tests.support.programs import program
from tests.support.releases import VERSION, tagged

pytestmark = pytest.mark.timeout(1800)  # the first test of a run builds

PAGE = ROOT / "docs/releasing.md"
VERIFY, COMPARE, INSTALL, LOAD = (each.text for each in blocks(PAGE) if each.kind == "run by")
"""The commands of the page."""
STEM = f"postfix-mta-sts-{VERSION}-amd64"
WHEEL = f"postfix_mta_sts-{VERSION}-py3-none-any.whl"
DEB = f"postfix-mta-sts_{VERSION}-1~debian13_amd64.deb"
FILES = {
    "SHA256SUMS",
    "SHA256SUMS.sig",
    WHEEL,
    f"postfix_mta_sts-{VERSION}.tar.gz",
    DEB,
    f"{STEM}.oci.tar",
    f"{STEM}.cdx.json",
}


@pytest.fixture(scope="module")
def store(trees: dict[str, Path], folder: Path) -> Store:
    """A store with the images that a release needs."""
    tree = trees[WITH_DNS.postfix]
    try:
        made = Store(folder / "store")
        made.add(tree, "debian:trixie-slim")
        made.add(extended(tree, "debhelper", PACKAGES), TOOLS)
    except NoTreeError as error:
        cannot(str(error))
    return made


@pytest.fixture(scope="module")
def key(folder: Path) -> Path:
    """The key of the maintainer."""
    made = folder / "key"
    words = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(made)]
    subprocess.run(words, check=True)
    return made


@pytest.fixture(scope="module")
def checkout(folder: Path) -> Path:
    """A checkout of a tag."""
    return tagged(folder / "release")


@pytest.fixture(scope="module")
def said(store: Store, stock: Callable[[str], Path], checkout: Path, key: Path) -> str:
    """What the release says at its end."""
    command = (sys.executable, "-m", "contrib.release", "--reproduce", f"--tools={TOOLS}")
    options = (f"--wheels={stock(WITH_DNS.suite)}", f"--key={key}")
    try:
        return store.run(*command, *options, cwd=checkout)
    except NoTreeError as error:
        pytest.fail(str(error))


@pytest.fixture(scope="module")
def released(said: str, checkout: Path) -> Path:
    """The folder of the release."""
    return checkout / "dist/release" / VERSION


@pytest.fixture(scope="module")
def sbom(released: Path) -> Any:  # noqa: ANN401 - JSON has any shape
    """What the release says is in the image."""
    return json.loads((released / f"{STEM}.cdx.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def container(released: Path, store: Store) -> str:
    """A container of the image, which the command of the page has loaded."""
    store.run(*LOAD.replace("X.Y.Z", VERSION).split(), cwd=released)
    return store.buildah("from", "--pull=never", f"localhost/postfix-mta-sts:{VERSION}")


def test_two_builds_are_equal(said: str, released: Path, key: Path) -> None:
    """Both builds had the same bytes; each file is there, and nothing is published."""
    lines = said.splitlines()
    assert lines[-3:] == ["Two builds were equal.", f"Signed with {key}.", "Nothing was published."]
    assert {file.name for file in released.iterdir()} == FILES


def test_not_over_another(said: str, checkout: Path, store: Store) -> None:
    """A release that exists is not overwritten."""
    with pytest.raises(NoTreeError, match=f"{VERSION} exists: move it away first"):
        store.run(sys.executable, "-m", "contrib.release", "--only=wheel", cwd=checkout)


def test_verify(released: Path, key: Path, tmp_path: Path) -> None:
    """The commands of the page succeed, and fail after one byte has changed."""
    for file in released.iterdir():
        os.link(file, tmp_path / file.name)
    signers = f'postfix-mta-sts-releases namespaces="file" {key.with_suffix(".pub").read_text()}'
    (tmp_path / "allowed_signers").write_text(signers)
    signature, sums = VERIFY.replace("\\\n", "").splitlines()

    def run(command: str) -> subprocess.CompletedProcess[str]:
        shell = ["sh", "-ec", command]
        return subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert run(signature).stdout.startswith(
        'Good "file" signature for postfix-mta-sts-releases with ED25519'
    )
    done = run(sums)
    assert done.returncode == 0
    assert {line.removesuffix(": OK") for line in done.stdout.splitlines()} == {
        name for name in FILES if not name.startswith("SHA256SUMS")
    }
    _change(tmp_path / WHEEL)
    assert f"{WHEEL}: FAILED\n" in run(sums).stdout
    _change(tmp_path / "SHA256SUMS")
    assert run(signature).returncode == 255


def _change(file: Path) -> None:
    """Change the last byte but one of a file, which is a link to another."""
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.unlink()
    file.write_bytes(content)


def test_compare(released: Path, checkout: Path, tmp_path: Path) -> None:
    """The command of the page finds no difference between equal folders, or where it is."""
    for file in released.iterdir():
        if not file.name.startswith("SHA256SUMS"):
            os.link(file, tmp_path / file.name)
    words = COMPARE.replace("X.Y.Z", VERSION).replace("DOWNLOADED", str(tmp_path)).split()
    words[0] = sys.executable

    def run() -> str:
        done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)
        return done.stdout

    assert run() == "equal\n"
    code = gzip.compress(b"another", mtime=0)
    (tmp_path / f"postfix_mta_sts-{VERSION}.tar.gz").unlink()
    (tmp_path / f"postfix_mta_sts-{VERSION}.tar.gz").write_bytes(code)
    assert run().startswith(f"postfix_mta_sts-{VERSION}.tar.gz: byte 0")


def names(components: Iterable[Mapping[str, str]], kind: str) -> set[tuple[str, str]]:
    """Return name and version of all components of a kind: `pypi` or `deb`."""
    found = [each for each in components if each["purl"].startswith(f"pkg:{kind}/")]
    return {(each["name"], each["version"]) for each in found}


def test_sbom_lists_the_libraries(released: Path, sbom: Any, tmp_path: Path) -> None:  # noqa: ANN401 - JSON has any shape
    """Its libraries are those of the package for Debian, in the versions of constraints.txt."""
    subprocess.run(["dpkg-deb", "--extract", released / DEB, tmp_path], check=True)
    place = tmp_path / "usr/lib/postfix-mta-sts"
    installed = {each.name.removesuffix(".dist-info") for each in place.glob("*.dist-info")}
    pairs = {
        (normal(name), version) for name, _, version in (each.partition("-") for each in installed)
    }
    listed = names(sbom["components"], "pypi")
    assert listed == pairs - {("postfix-mta-sts", VERSION)}
    pinned = (ROOT / "constraints.txt").read_text().split()
    assert listed <= {
        (normal(name), version) for name, version in (each.split("==") for each in pinned)
    }
    assert all(each["hashes"] for each in sbom["components"] if "pypi" in each["purl"])


def test_sbom_lists_the_packages(sbom: Any, store: Store, container: str) -> None:  # noqa: ANN401 - JSON has any shape
    """Its packages are those that dpkg knows in the image."""
    query = ("dpkg-query", "--show", "--showformat", "${Package} ${Version}\n")
    known = store.buildah("run", "--user=0:0", container, "--", *query)
    assert names(sbom["components"], "deb") == {
        (line.split()[0], line.split()[1]) for line in known.splitlines()
    }


def test_image(store: Store, container: str) -> None:
    """The image runs as its own user, and is of this version."""
    assert store.buildah("run", container, "--", "id", "-u") == "8461"
    said = store.buildah("run", container, "--", "postfix-mta-sts", "version")
    assert said == f"postfix-mta-sts {VERSION}"


def test_compiled_modules(released: Path, tmp_path: Path) -> None:
    """No compiled module of the daemon depends on the time of its source, which a release sets."""
    with tarfile.open(released / f"{STEM}.oci.tar") as archive:
        archive.extractall(tmp_path, filter="data")
    compiled = files(read(tmp_path), lambda path: path.suffix == ".pyc")
    # In usr/share are those of py3compile(1), which nothing runs after the installation.
    used = {path: each for path, each in compiled.items() if not path.is_relative_to("usr/share")}
    assert PurePosixPath("usr/lib/python3.13/__pycache__/ast.cpython-313.pyc") in used
    assert any(path.is_relative_to("opt/postfix-mta-sts") for path in used)
    # PEP 552: a bit field after the magic number; bit 0 means that a hash of the source follows.
    assert [str(path) for path, content in used.items() if content[4] & 1 == 0] == []


def test_uv(released: Path, stock: Callable[[str], Path], tmp_path: Path) -> None:
    """The command of the page installs the wheel, and uvx runs it; libraries are in a folder."""
    version = "{}.{}".format(*sys.version_info)
    suites = [suite for suite, python in PYTHONS.items() if python == version]
    if not suites:
        cannot(f"there are no wheels for Python {version}")
    folders = [str(released), str(stock(suites[0]))]
    (tmp_path / "uv.toml").write_text(f"no-index = true\nfind-links = {json.dumps(folders)}\n")
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "UV_CONFIG_FILE": str(tmp_path / "uv.toml"),
        "UV_PYTHON": sys.executable,
        "UV_CONSTRAINT": str(ROOT / "constraints.txt"),
    }

    def run(program: str | Path, *words: str) -> str:
        command = [program, *words]
        done = subprocess.run(
            command, cwd=released, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    binaries = Path(sys.executable).parent
    uv, *install = INSTALL.replace("X.Y.Z", VERSION).split()
    run(binaries / uv, *install)
    expected = f"postfix-mta-sts {VERSION}\n"
    assert run(tmp_path / ".local/bin/postfix-mta-sts", "version") == expected
    assert run(binaries / "uvx", f"postfix-mta-sts=={VERSION}", "version") == expected
