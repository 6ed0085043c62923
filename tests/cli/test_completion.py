"""Shell completion for bash, zsh and fish, run in each shell."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.programs import program

ROOT = Path(__file__).parents[2]
NAMES = {"bash": "postfix-mta-sts", "zsh": "_postfix-mta-sts", "fish": "postfix-mta-sts.fish"}
"""The file name that each shell expects in its completion folder."""

ASK_BASH = """
source "$1"
COMP_WORDS=("${@:2}") COMP_CWORD=$(($# - 2)) COMPREPLY=()
complete -p postfix-mta-sts | grep -q -- '-F ' || exit
eval "$(complete -p postfix-mta-sts | sed 's/.*-F \\([^ ]*\\) .*/\\1/')" \\
    postfix-mta-sts "'${!#}'" "'${COMP_WORDS[-2]}'"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write what the command prints for each shell; return the folder."""
    folder = tmp_path_factory.mktemp("completion")
    for shell, name in NAMES.items():
        words = [sys.executable, "-m", "postfix_mta_sts", "completion", shell]
        done = subprocess.run(words, check=True, stdout=subprocess.PIPE)
        (folder / name).write_bytes(done.stdout)
    return folder


def bash(scripts: Path, *words: str) -> set[str]:
    """Return the completions of bash for the last word."""
    command: list[str | Path] = [
        program("bash"),
        "-c",
        ASK_BASH,
        "bash",
        scripts / "postfix-mta-sts",
        *words,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stderr == ""
    return set(done.stdout.split())


def fish(scripts: Path, *words: str) -> set[str]:
    """Return the completions of fish for the last word."""
    line = shlex.quote(" ".join(words))
    script = f"source {scripts / 'postfix-mta-sts.fish'}; complete -C {line}"
    done = subprocess.run(
        [program("fish"), "--no-config", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


@pytest.mark.parametrize("shell", [bash, fish])
@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        ("postfix-mta-sts ser", {"serve"}),
        ("postfix-mta-sts se", {"serve", "seed"}),
        ("postfix-mta-sts seed --ra", {"--rate"}),
        ("postfix-mta-sts query --c", {"--config"}),
        ("postfix-mta-sts completion z", {"zsh"}),
        ("postfix-mta-sts policy li", {"list"}),
    ],
)
def test_commands_and_options(
    scripts: Path, shell: object, typed: str, completions: set[str]
) -> None:
    """Commands are completed, and the options of each command."""
    assert callable(shell)
    assert shell(scripts, *typed.split(" ")) == completions


def test_files(scripts: Path) -> None:
    """An argument that is a file is completed with file names."""
    words = ("postfix-mta-sts", "check-config", "config.exam")
    assert bash(scripts, *words) == {"config.example.yml"}


def test_zsh(scripts: Path) -> None:
    """The syntax of the script for zsh is valid, and it names its command."""
    script = scripts / "_postfix-mta-sts"
    done = subprocess.run(
        [program("zsh"), "-n", script], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    assert script.read_text("utf-8").startswith("#compdef postfix-mta-sts")
