"""Wheel and sdist: their build, their contents, and the wheel in a new virtual environment."""

import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

from postfix_mta_sts import __version__

ROOT = Path(__file__).parents[2]
BUILT = f"postfix_mta_sts-{__version__}"


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with both, built as by `make build`."""
    folder = tmp_path_factory.mktemp("dist")
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--no-isolation",
        "--outdir",
        folder,
        ROOT,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_sdist(dist: Path) -> None:
    """The sdist has all sources of tests, documents and packages, and no generated files."""
    with tarfile.open(dist / f"{BUILT}.tar.gz") as archive:
        names = {name.removeprefix(f"{BUILT}/") for name in archive.getnames()}
    assert names > {
        "CHANGELOG.md",
        "LICENSE",
        "Makefile",
        "README.md",
        "config.example.yml",
        "constraints.txt",
        "contrib/completion/scripts.py",
        "contrib/man/pages.py",
        "contrib/man/postfix-mta-sts.1.in",
        "contrib/systemd/postfix-mta-sts.service",
        "docs/architecture.md",
        "postfix_mta_sts/cli/main.py",
        "tests/contrib/test_packages.py",
    }
    generated = (".venv", "build/", "dist/", ".git/")
    assert not [name for name in names if name.startswith(generated) or "__pycache__" in name]


def test_wheel(dist: Path) -> None:
    """The wheel has the package, its type marker and its licence, and nothing else."""
    with ZipFile(dist / f"{BUILT}-py3-none-any.whl") as archive:
        names = archive.namelist()
    assert {name.partition("/")[0] for name in names} == {"postfix_mta_sts", f"{BUILT}.dist-info"}
    assert {"postfix_mta_sts/py.typed", f"{BUILT}.dist-info/licenses/LICENSE"} < set(names)
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "postfix_mta_sts").rglob("*.py")}
    assert ours <= set(names)


def test_installed(dist: Path, tmp_path: Path) -> None:
    """Installed in a virtual environment, without a network, the command prints its version."""
    venv.create(tmp_path / "venv", with_pip=True)
    binaries = tmp_path / "venv/bin"
    wheel = dist / f"{BUILT}-py3-none-any.whl"
    pip: list[str | Path] = [
        binaries / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-index",
        "--no-deps",
        wheel,
    ]
    subprocess.run(pip, check=True)
    # The dependencies come from this environment. Python does not process its .pth files, so the
    # package itself comes from the wheel.
    dependencies = next((tmp_path / "venv/lib").glob("python*/site-packages")) / "dependencies.pth"
    dependencies.write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    words: list[str | Path] = [binaries / "postfix-mta-sts", "version"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"postfix-mta-sts {__version__}\n"
    where: list[str | Path] = [
        binaries / "python",
        "-c",
        "import postfix_mta_sts; print(postfix_mta_sts.__file__)",
    ]
    found = subprocess.run(where, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert found.stdout.startswith(str(dependencies.parent))
