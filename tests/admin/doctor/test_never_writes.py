"""`doctor` changes nothing: no part of it calls what writes.

tests/e2e compares what is on disk before and after.
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.docs.blocks import ROOT

PACKAGE: Final = ROOT / "postfix_mta_sts"
SOURCES: Final = [
    *sorted((PACKAGE / "admin/doctor").rglob("*.py")),
    *sorted((PACKAGE / "postfix/installed").rglob("*.py")),
    *sorted((PACKAGE / "cli").glob("doctor*.py")),
]
WRITES: Final = frozenset(
    (
        *("chmod", "chown", "fchmod", "fchown", "ftruncate", "hardlink_to", "lchown", "link"),
        *("makedirs", "mkdir", "mkfifo", "mknod", "mkstemp", "remove", "removedirs", "rename"),
        *("renames", "rmdir", "rmtree", "setxattr", "symlink", "symlink_to", "touch", "truncate"),
        *("unlink", "utime", "write_bytes", "write_text", "writelines", "copyfile", "move"),
        *("NamedTemporaryFile", "TemporaryDirectory", "TemporaryFile", "system", "kill", "killpg"),
    )
)
"""Functions and methods that write."""
FLAGS: Final = frozenset(("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND"))


def faults(source: str) -> Iterator[str]:
    """What in a module writes."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="open") | ast.Attribute(attr="open")):
                yield from _opened(node)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in WRITES:
                yield name
            case ast.Attribute(attr=name) if name in FLAGS:
                yield name


def _opened(call: ast.Call) -> Iterator[str]:
    """The mode of a file that is opened to write; a path is no mode."""
    words = [*call.args, *(each.value for each in call.keywords if each.arg == "mode")]
    for word in words:
        text = word.value if isinstance(word, ast.Constant) else ""
        if isinstance(text, str) and len(text) < 4 and set(text) & set("wax+"):
            yield f"open({text})"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_part_writes(path: Path) -> None:
    """No module has a call that writes."""
    assert list(faults(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        'open("/a", "w")',
        'path.open("rb+")',
        'path.open(mode="a")',
        "path.write_text(x)",
        "os.unlink(path)",
        "path.chmod(0o755)",
        "os.open(path, os.O_RDONLY | os.O_CREAT)",
    ],
)
def test_a_call_that_writes_is_found(source: str) -> None:
    """Each of these is reported."""
    assert list(faults(source))


@pytest.mark.parametrize("source", ['open("/was")', 'path.open("rb")', "os.open(p, os.O_RDONLY)"])
def test_a_call_that_reads_is_not(source: str) -> None:
    """These are not."""
    assert list(faults(source)) == []


def test_every_part_is_looked_at() -> None:
    """The folders are where they were when this test was written."""
    assert len(SOURCES) > 25
