"""Commands that mend: what they are, and that sh(1) gets each value unchanged."""

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.doctor.commands import (
    ADMIT_POSTFIX,
    LIMIT,
    RELOAD,
    RESTART,
    START,
    also_reload,
    delete_entry,
    leave_chroot,
    open_folder,
    pasteable,
    postconf_set,
    postconf_unset,
    service_unset,
    set_command,
    then_run,
)
from postfix_mta_sts.postfix.installed.values import Instance

FIRST = Instance("-", "/etc/postfix")
SECOND = Instance("postfix-out", "/etc/postfix-out")
SPACED = Instance("postfix-out", "/etc/post fix")
REST, MORE = "/^[^[:space:]]/", "/^[[:space:]]/"
HOSTILE = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1)
"""All that is printable: quotes, `$`, backslashes, backquotes."""


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            postconf_set(FIRST, "smtp_tls_loglevel", "1"),
            "postconf -e 'smtp_tls_loglevel = 1' && postfix reload",
        ),
        (postconf_set(FIRST, "relayhost", ""), "postconf -e 'relayhost =' && postfix reload"),
        (
            postconf_set(SECOND, "a", "$b"),
            "postconf -c /etc/postfix-out -e 'a = $b' && postfix -c /etc/postfix-out reload",
        ),
        (postconf_unset(FIRST, "a", "b"), "postconf -X a b"),
        (postconf_unset(SPACED, "a"), "postconf -c '/etc/post fix' -X a"),
        (
            service_unset(FIRST, "relay/unix", "smtp_tls_policy_maps"),
            "postconf -PX relay/unix/smtp_tls_policy_maps",
        ),
        (
            leave_chroot(FIRST, "smtp/unix", "relay/unix"),
            "postconf -Fe smtp/unix/chroot=n relay/unix/chroot=n && postfix reload",
        ),
        (
            delete_entry("/etc/a b", 3, RESTART),
            f"sed -i '3,{REST}{{3d;{MORE}d;}}' '/etc/a b' && {RESTART}",
        ),
        (delete_entry("/etc/a", 3, ""), f"sed -i '3,{REST}{{3d;{MORE}d;}}' /etc/a"),
        (open_folder("/run/mta sts"), "chmod o+x '/run/mta sts'"),
        (also_reload(SECOND, "true"), "true && postfix -c /etc/postfix-out reload"),
        (also_reload(FIRST, ""), "postfix reload"),
        (then_run("", "a", "", "b"), "a && b"),
    ],
)
def test_commands(command: str, expected: str) -> None:
    """Each is one line, for the folder of its instance."""
    assert command == expected


@pytest.mark.parametrize("command", [RESTART, RELOAD, START, ADMIT_POSTFIX])
def test_constants(command: str) -> None:
    """They are one line that a shell can read, too."""
    assert command.isprintable()
    assert "postfix-mta-sts" in " ".join(shlex.split(command))


@given(HOSTILE)
def test_set_hostile(value: str) -> None:
    """A value comes back as it is, but for space at its end, which Postfix ignores."""
    command = postconf_set(FIRST, "a", value)
    expected = ["postconf", "-e", f"a = {value}".rstrip(), "&&", "postfix", "reload"]
    assert shlex.split(command) == expected
    assert command.isprintable()


@given(HOSTILE)
def test_unset_hostile(name: str) -> None:
    """Names of parameters and services, which come from files, are quoted, and no options."""
    end = ["--"] if name.startswith("-") else []
    assert shlex.split(postconf_unset(FIRST, name)) == ["postconf", "-X", *end, name]
    service = shlex.split(service_unset(FIRST, name, name))
    assert service == ["postconf", "-PX", *end, f"{name}/{name}"]
    command = shlex.split(set_command(FIRST, name, "smtp"))
    assert command[:-3] == ["postconf", "-Fe", *end, f"{name}/command=smtp"]
    columns = shlex.split(leave_chroot(FIRST, "smtp/unix", name))[:-3]
    assert columns == ["postconf", "-Fe", *end, "smtp/unix/chroot=n", f"{name}/chroot=n"]


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("postfix reload", "postfix reload"),
        ("x" * LIMIT, "x" * LIMIT),
        ("x" * (LIMIT + 1), ""),
        ("rm '/etc/b\xfccher'", ""),
        ("true '\n' id", ""),
        ("true '\x1b[2J'", ""),
        ("true '\u202e'", ""),
    ],
)
def test_pasteable(command: str, shown: str) -> None:
    """A command that a terminal would show in another form, or not whole, is not given."""
    assert pasteable(command) == shown


@given(HOSTILE, HOSTILE)
def test_paths_hostile(folder: str, file: str) -> None:
    """So are folders and files."""
    instance = Instance("x", folder)
    assert shlex.split(postconf_unset(instance, "a")) == ["postconf", "-c", folder, "-X", "a"]
    assert shlex.split(delete_entry(file, 1, "")) == ["sed", "-i", f"1,{REST}{{1d;{MORE}d;}}", file]
    assert shlex.split(open_folder(file)) == ["chmod", "o+x", file]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = b\n c\nfoo bar\n x\n\n y\nd = e\n f\n", "a = b\n c\n\nd = e\n f\n"),
        ("a = b\n c\nfoo bar\n# d\ne = f\n", "a = b\n c\n# d\ne = f\n"),
        ("a = b\n c\nfoo bar\n", "a = b\n c\n"),
    ],
)
def test_delete_entry(tmp_path: Path, before: str, after: str) -> None:
    """The lines that continue an entry go with it, and no other ones."""
    file = tmp_path / "main.cf"
    file.write_text(before)
    subprocess.run(["sh", "-ec", delete_entry(str(file), 3, "")], check=True, timeout=10)
    assert file.read_text() == after
