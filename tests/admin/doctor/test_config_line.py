"""Commands that change one line of the configuration, run by a real sed(1) and sh(1)."""

import subprocess
from pathlib import Path

import pytest

from postfix_mta_sts.admin.doctor.config_line import (
    commented_out,
    places_of,
    renamed,
    with_value,
)

VALUES = [
    ("https:\n  ca_file: /etc/x.pem\n", "https.ca_file", "https:\n  ca_file: null\n"),
    (
        "https: {ca_file: '/a b', timeout: 5s}",
        "https.ca_file",
        "https: {ca_file: null, timeout: 5s}",
    ),
    ('https:\n  ca_file:   "/x" # why\n', "https.ca_file", "https:\n  ca_file:   null # why\n"),
    ("a: {b.c: 1, c: [1, 2]}", "a.c", None),
    ("ca_file: /a&b/[c]*.^$\\d", "ca_file", None),
    ("ca_file: /a&b/*.^$\\d", "ca_file", "ca_file: null"),
    ("ca_file: |\n  /x", "ca_file", None),
    ("ca_file:\n  /x", "ca_file", None),
    ("ca_file: [\n  1]", "ca_file", None),
    ("a: {ca_file: 1}\nb: {a: {ca_file: 1}, ca_file: 2}", "b.ca_file", None),
]


def run(folder: Path, text: str, command: str) -> str:
    """Run a command with the file in its folder, and return the text of the file after it."""
    file = folder / "c.yml"
    file.write_text(text)
    subprocess.run(["sh", "-ec", command], cwd=folder, check=True, timeout=30)
    return file.read_text()


@pytest.mark.parametrize(("text", "key", "expected"), VALUES)
def test_value(tmp_path: Path, text: str, key: str, expected: str | None) -> None:
    """The value is replaced, and nothing else; where that is not sure there is no command."""
    command = with_value(places_of(text, "c.yml", {})[key], key.rpartition(".")[2], "null", "true")
    assert (run(tmp_path, text, command) if command else None) == expected


def test_value_with_special_characters(tmp_path: Path) -> None:
    """A new value is written as it is."""
    place = places_of("a: 1", "c.yml", {})["a"]
    assert run(tmp_path, "a: 1", with_value(place, "a", r"'/x&\y'", "")) == r"a: '/x&\y'"


def test_name(tmp_path: Path) -> None:
    """A key gets its right name."""
    text = "log:\n  lvel: debug\n"
    place = places_of(text, "c.yml", {})["log.lvel"]
    assert run(tmp_path, text, renamed(place, "lvel", "level", "")) == "log:\n  level: debug\n"


def test_name_that_stands_twice() -> None:
    """A line with two of them is not changed."""
    text = "maps: {a: {tral: true}, b: {tral: true}}"
    assert renamed(places_of(text, "c.yml", {})["maps.b.tral"], "tral", "trial", "") == ""


@pytest.mark.parametrize(
    "text", ["x: 1", "x: 1  # why", "x: some words", "x: 'a, b'", "x: [1, 2]", "x: /a:b"]
)
def test_comment(tmp_path: Path, text: str) -> None:
    """A line with nothing but the key becomes a comment, and the lines below keep their numbers."""
    place = places_of(f"a: 1\n{text}\nb: 2\n", "c.yml", {})["x"]
    after = run(tmp_path, f"a: 1\n{text}\nb: 2\n", commented_out(place, "x", "true"))
    assert after == f"a: 1\n# {text}\nb: 2\n"


@pytest.mark.parametrize(
    "text", ["x:\n  y: 1", "x: {y: 1}", "{x: 1, y: 2}", "x: |\n  y", "x: [\n  1]"]
)
def test_no_comment(text: str) -> None:
    """A line that others belong to is left alone."""
    assert commented_out(places_of(text, "c.yml", {})["x"], "x", "") == ""


def test_no_place() -> None:
    """A key that no line sets cannot be changed."""
    assert with_value(None, "a", "1", "") == renamed(None, "a", "b", "") == ""
    assert commented_out(None, "a", "") == ""


def test_places() -> None:
    """A key has the line of the file; one of a variable, and an unknown line, have no place."""
    text = "a: 1\nhttps: {timeout: 5s}\n"
    places = places_of(text, "c.yml", {"POSTFIX_MTA_STS__HTTPS__TIMEOUT": "9s"})
    assert (places["a"].line, places["a"].text) == (1, "a: 1")
    assert (places["https"].file, places["https"].line) == ("c.yml", 2)
    assert "https.timeout" not in places
