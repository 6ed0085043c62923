"""Two builds of a tag are compared: with a build backend that does what a test wants."""

import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.releases import EPOCH, ROOT, TAG, VERSION, commit, git, small

WHEEL = f"some-{VERSION}-py3-none-any.whl"
PYPROJECT = """\
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "some"
version = "1"
"""
BACKEND = """\
import os, pathlib, time, zipfile
def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(pathlib.Path(folder, {wheel!r}), "w") as made:
        made.writestr(zipfile.ZipInfo("content"), str({content}))
    return {wheel!r}
"""


def release(folder: Path, content: str) -> subprocess.CompletedProcess[str]:
    """Build twice, in a new folder, a wheel with the value of an expression in it."""
    checkout = small(folder / "checkout")
    shutil.copytree(ROOT / "contrib/release", checkout / "contrib/release")
    (checkout / "pyproject.toml").write_text(PYPROJECT)
    (checkout / "backend.py").write_text(BACKEND.format(wheel=WHEEL, content=content))
    (checkout / ".gitignore").write_text("__pycache__/\ndist/\n")
    commit(checkout)
    git(checkout, "tag", "--force", TAG)
    words = [sys.executable, "-m", "contrib.release", "--only=wheel", "--reproduce"]
    return subprocess.run(words, cwd=checkout, capture_output=True, text=True, check=False)


def test_equal(tmp_path: Path) -> None:
    """A backend that uses the time of the tag makes a release."""
    done = release(tmp_path, "os.environ['SOURCE_DATE_EPOCH']")
    assert (done.returncode, done.stderr) == (0, "")
    made = tmp_path / "checkout/dist/release" / VERSION
    assert done.stdout.splitlines() == [
        f"{made}:",
        "  SHA256SUMS",
        f"  {WHEEL}",
        "Two builds were equal.",
        "Not signed: KEY=FILE.",
        "Nothing was published.",
    ]
    with ZipFile(made / WHEEL) as archive:
        assert archive.read("content") == str(EPOCH).encode()


@pytest.mark.parametrize("content", ["time.time_ns()", "os.getcwd()", "os.environ.get('TZ')"])
def test_different(tmp_path: Path, content: str) -> None:
    """A backend that uses anything else makes none, and the first difference is named."""
    done = release(tmp_path, content)
    assert (done.returncode, done.stdout) == (1, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"release: two builds differ: {WHEEL}: content: byte ")
    assert not (tmp_path / "checkout/dist").exists()
