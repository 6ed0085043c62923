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
from postfix_mta_sts.cli.completion import script
from postfix_mta_sts.cli.man.pages import source

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
        "contrib/systemd/postfix-mta-sts.service",
        "docs/architecture.md",
        "postfix_mta_sts/cli/completion.py",
        "postfix_mta_sts/cli/main.py",
        "postfix_mta_sts/cli/man/pages.py",
        "postfix_mta_sts/cli/man/postfix-mta-sts.1.in",
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


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_example(dist: Path, tmp_path: Path, kind: str) -> None:
    """The man pages' link to the example configuration is a copy in the wheel; the sdist has it."""
    if kind == "wheel":
        with ZipFile(dist / f"{BUILT}-py3-none-any.whl") as archive:
            archive.extract("postfix_mta_sts/cli/man/config.example.yml", tmp_path / BUILT)
    else:
        with tarfile.open(dist / f"{BUILT}.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")  # as pip does
    example = tmp_path / BUILT / "postfix_mta_sts/cli/man/config.example.yml"
    assert example.is_symlink() is (kind == "sdist")
    assert example.read_bytes() == (ROOT / "config.example.yml").read_bytes()


@pytest.fixture(scope="module")
def binaries(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel in a virtual environment, without a network; return its programs."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place / "venv", with_pip=True)
    binaries = place / "venv/bin"
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
    dependencies = next((place / "venv/lib").glob("python*/site-packages")) / "dependencies.pth"
    dependencies.write_text(
        "\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    )
    return binaries


def output(binaries: Path, *words: str | Path) -> str:
    """Run one of these programs outside of the checkout; return what it prints."""
    program, *arguments = words
    command: list[str | Path] = [binaries / program, *arguments]
    environ = {"SOURCE_DATE_EPOCH": "1790000000", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=binaries, env=environ
    )
    return done.stdout


def test_installed(binaries: Path) -> None:
    """The command prints its version, and is the one of the wheel."""
    assert output(binaries, "postfix-mta-sts", "version") == f"postfix-mta-sts {__version__}\n"
    where = "import postfix_mta_sts; print(postfix_mta_sts.__file__)"
    assert output(binaries, "python", "-c", where).startswith(str(binaries.parent))


@pytest.mark.parametrize("page", ["postfix-mta-sts", "postfix-mta-sts.yml"])
def test_man_page(binaries: Path, page: str) -> None:
    """An installed program has its man pages."""
    header, _, rest = output(binaries, "postfix-mta-sts", "man", page, "--roff").partition("\n")
    assert header.endswith(f'"2026-09-21" "postfix\\-mta\\-sts {__version__}"')
    assert rest == source(page).partition("\n")[2]


def test_completion(binaries: Path) -> None:
    """An installed program prints its scripts for shells."""
    assert output(binaries, "postfix-mta-sts", "completion", "bash") == f"{script('bash')}\n"
