"""A repository with a tag, made of the files of this checkout."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.support.programs import program

ROOT: Final = Path(__file__).parents[2]
VERSION: Final = "9.8.7"
TAG: Final = f"v{VERSION}"
_FOLDERS: Final = ("contrib", "docs", "postfix_mta_sts", "tests/contrib")
_FILES: Final = (
    "*.md",
    "*.toml",
    "*.txt",
    "*.yml",
    ".dockerignore",
    ".gitignore",
    "Dockerfile",
    "LICENSE",
    "Makefile",
)
_WHEN: Final = "2026-03-04T05:06:07+00:00"
EPOCH: Final = 1772600767
"""The same in seconds."""


def tagged(folder: Path) -> Path:
    """Make a new folder a repository of a version that is ready for its release."""
    for name in _FOLDERS:
        shutil.copytree(ROOT / name, folder / name)
    for pattern in _FILES:
        for file in ROOT.glob(pattern):
            shutil.copy(file, folder)
    _replace(
        folder / "postfix_mta_sts/__init__.py",
        r'(?m)^__version__ = ".*"',
        f'__version__ = "{VERSION}"',
    )
    _replace(
        folder / "CHANGELOG.md",
        "(?m)^## Unreleased$",
        f"## Unreleased\n\n## {VERSION} (2026-03-04)",
    )
    git(folder, "init", "--quiet")
    commit(folder)
    git(folder, "tag", TAG)
    return folder


def small(folder: Path) -> Path:
    """Make a new folder such a repository, with no more than a release is refused for."""
    (folder / "postfix_mta_sts").mkdir(parents=True)
    (folder / "postfix_mta_sts/__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    (folder / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## Unreleased\n\n## {VERSION} (2026-03-04)\n"
    )
    git(folder, "init", "--quiet")
    commit(folder)
    git(folder, "tag", TAG)
    return folder


def commit(folder: Path) -> None:
    """Commit all changes, always at the same time."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=A version")


def git(folder: Path, *words: str) -> None:
    """Run git without the settings of this machine."""
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "A Maintainer",
        "GIT_AUTHOR_EMAIL": "maintainer@example.org",
        "GIT_AUTHOR_DATE": _WHEN,
        "GIT_COMMITTER_NAME": "A Maintainer",
        "GIT_COMMITTER_EMAIL": "maintainer@example.org",
        "GIT_COMMITTER_DATE": _WHEN,
    }
    subprocess.run([program("git"), *words], cwd=folder, env=environ, check=True)


def _replace(file: Path, pattern: str, text: str) -> None:
    changed, count = re.subn(pattern, text, file.read_text("utf-8"))
    assert count == 1
    file.write_text(changed, "utf-8")
