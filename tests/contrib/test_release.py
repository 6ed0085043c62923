"""What `make release` refuses, before it builds anything; and its sums and signature."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from contrib.release import ReleaseError, containers, parts, signature
from contrib.release.programs import output
from contrib.release.tag import export, tag_of
from tests.contrib.test_makefile import make
from tests.support.programs import program
from tests.support.releases import EPOCH, ROOT, TAG, VERSION, commit, git, small

INIT = "postfix_mta_sts/__init__.py"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose commit can be released."""
    return small(tmp_path / "checkout")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A new key."""
    made = tmp_path / "key"
    words = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(made)]
    subprocess.run(words, check=True)
    return made


def refusal(checkout: Path) -> str:
    """Return why a checkout cannot be released."""
    with pytest.raises(ReleaseError) as caught:
        tag_of(checkout)
    return str(caught.value)


def test_a_tag(checkout: Path) -> None:
    """Version, time and author are those of the commit."""
    tag = tag_of(checkout)
    assert (tag.version, tag.epoch) == (VERSION, EPOCH)
    assert (tag.name, tag.address) == ("A Maintainer", "maintainer@example.org")


def test_a_changed_file(checkout: Path) -> None:
    """Changes that are not committed are refused, and named."""
    (checkout / INIT).write_text("")
    assert refusal(checkout) == f"the checkout has changes that are not committed: {INIT}"


def test_new_files(checkout: Path) -> None:
    """New files are changes; the first five are named."""
    for name in "abcdefg":
        (checkout / name).touch()
    assert refusal(checkout).endswith("not committed: a, b, c, d, e and 2 more")


def test_no_tag(checkout: Path) -> None:
    """A commit without a tag is refused, with the command that sets it."""
    git(checkout, "tag", "--delete", TAG)
    assert refusal(checkout) == f"the commit has no tag; for this version: git tag {TAG}"


def test_a_commit_after_the_tag(checkout: Path) -> None:
    """The tag of an earlier commit does not count."""
    (checkout / "file").touch()
    commit(checkout)
    assert refusal(checkout).startswith("the commit has no tag;")


def test_the_tag_of_another_version(checkout: Path) -> None:
    """The tag must be that of the version in the code."""
    git(checkout, "tag", "--delete", TAG)
    git(checkout, "tag", "v9.8.8")
    assert refusal(checkout) == f"the tag is v9.8.8, but __version__ is {VERSION}"


def test_a_version_that_is_none(checkout: Path) -> None:
    """A version has three numbers."""
    (checkout / INIT).write_text('__version__ = "9.8"\n')
    commit(checkout)
    git(checkout, "tag", "v9.8")
    assert refusal(checkout) == f"__version__ in {INIT} is no version: X.Y.Z"


def test_a_changelog_without_the_version(checkout: Path) -> None:
    """The changelog says what the version changes, and when it appeared."""
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n## {VERSION}\n")
    commit(checkout)
    git(checkout, "tag", "--force", TAG)
    assert refusal(checkout) == f"CHANGELOG.md has no line '## {VERSION} (YYYY-MM-DD)'"


def test_the_files_of_the_tag(checkout: Path, tmp_path: Path) -> None:
    """The files come from the tag, whatever the checkout has meanwhile."""
    tag = tag_of(checkout)
    (checkout / INIT).write_text("")
    (checkout / "file").touch()
    export(tag, tmp_path / "source")
    assert (tmp_path / "source" / INIT).read_text() == f'__version__ = "{VERSION}"\n'
    assert sorted(each.name for each in (tmp_path / "source").iterdir()) == [
        "CHANGELOG.md",
        "postfix_mta_sts",
    ]


def test_settings_of_git(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attributes and settings that are not in the tag leave no file out, and change none."""
    (checkout / "a").write_bytes(b"#!/bin/sh\n")
    (checkout / "a").chmod(0o755)
    commit(checkout)
    git(checkout, "tag", "--force", TAG)
    tag = tag_of(checkout)
    home = tmp_path / "home"
    (home / ".config/git").mkdir(parents=True)
    (home / ".config/git/attributes").write_text("* text eol=crlf\n")
    (home / ".gitconfig").write_text("[core]\nautocrlf = true\n[tar]\numask = 0777\n")
    (checkout / ".git/info").mkdir(exist_ok=True)
    (checkout / ".git/info/attributes").write_text("CHANGELOG.md export-ignore\n")
    git(checkout, "config", "core.autocrlf", "true")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name, value in (("COUNT", "1"), ("KEY_0", "core.eol"), ("VALUE_0", "crlf")):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", value)
    for name in ("GLOBAL", "NOSYSTEM"):
        monkeypatch.delenv(f"GIT_CONFIG_{name}", raising=False)
    export(tag, tmp_path / "source")
    assert (tmp_path / "source/CHANGELOG.md").exists()
    assert (tmp_path / "source/a").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "source/a").stat().st_mode & 0o700 == 0o700


def test_a_worktree(checkout: Path, tmp_path: Path) -> None:
    """A further worktree of a repository can be released, too."""
    git(checkout, "worktree", "add", "--quiet", "--detach", str(tmp_path / "w"), TAG)
    export(tag_of(tmp_path / "w"), tmp_path / "source")
    assert (tmp_path / "source" / INIT).exists()


def test_parts() -> None:
    """Without a choice everything is built; the order is always the same."""
    assert parts.chosen("") == ("wheel", "sdist", "deb", "image")
    assert parts.chosen("deb wheel") == ("wheel", "deb")
    assert parts.chosen("image,sdist") == ("sdist", "image")


def test_an_unknown_part() -> None:
    """A part that does not exist is an error that names those that do."""
    expected = r"ONLY: there is no part 'rpm', only wheel, sdist, deb, image$"
    with pytest.raises(ReleaseError, match=expected):
        parts.chosen("wheel rpm")


def test_without_buildah(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that cannot be built here is an error that says what to install, or to leave out."""
    monkeypatch.setenv("PATH", "/nonexistent")
    parts.check(("wheel", "sdist"))
    with pytest.raises(ReleaseError) as caught:
        parts.check(("wheel", "deb", "image"))
    why = "deb and image (ONLY='wheel sdist' leaves them out) needs buildah: apt install buildah"
    assert str(caught.value) == why


def test_without_a_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An image that is not on this machine is an error that says how to get it."""
    (tmp_path / "buildah").write_text("#!/bin/sh\necho image not known >&2; exit 125\n")
    (tmp_path / "buildah").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ReleaseError, match=r"^no image debian:trixie-slim: buildah pull debian:"):
        containers.check(containers.BASE)


def test_make(tmp_path: Path) -> None:
    """The options of `make release` reach the command, and only if they are given."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    for name in ("pyproject.toml", "constraints.txt", ".venv/bin/pip", ".venv/.ready-dev"):
        (tmp_path / name).touch()

    def words(*options: str) -> list[str]:
        return shlex.split(
            make(tmp_path, "--dry-run", "release", *options).stdout.replace("\\\n", "")
        )

    command = [".venv/bin/python", "-m", "contrib.release"]
    assert words() == command
    given = words("KEY=a key", "ONLY=wheel deb", "WHEELS=w", "REPRODUCE=1")
    options = ["--only", "wheel deb", "--key", "a key", "--wheels", "w", "--reproduce"]
    assert given == command + options


def test_a_wrong_key(tmp_path: Path) -> None:
    """A key that cannot sign is refused before anything is built."""
    program("ssh-keygen")
    with pytest.raises(ReleaseError, match=f"^KEY: there is no file {tmp_path}/none$"):
        signature.check(tmp_path / "none")
    (tmp_path / "text").write_text("no key\n")
    (tmp_path / "text").chmod(0o600)
    with pytest.raises(ReleaseError, match=f"^KEY: {tmp_path}/text cannot sign: "):
        signature.check(tmp_path / "text")


@pytest.fixture
def signed(tmp_path: Path, key: Path) -> Path:
    """A folder with two files, their sums and a signature."""
    made = tmp_path / "made"
    made.mkdir()
    (made / "b").write_bytes(b"\0\1")
    (made / "a").write_text("content\n")
    signature.check(key)
    signature.sign(signature.write_sums(made), key)
    return made


def test_sums(signed: Path) -> None:
    """sha256sum(1) finds all files of the release, and a byte that changed."""
    check = [program("sha256sum"), "--check", "--strict", "SHA256SUMS"]
    done = subprocess.run(check, cwd=signed, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "a: OK\nb: OK\n")
    (signed / "b").write_bytes(b"\0\0")
    done = subprocess.run(check, cwd=signed, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "a: OK\nb: FAILED\n")


def test_signature(signed: Path, key: Path, tmp_path: Path) -> None:
    """The signature is that of the key, of this file, and the same each time."""
    public = key.with_suffix(".pub").read_text()
    (tmp_path / "signers").write_text(f"me@example.org {public}")
    sums, made = signed / "SHA256SUMS", signed / "SHA256SUMS.sig"
    how = f"-Y verify -f {tmp_path}/signers -I me@example.org -n file -s {made}"
    verify = ["ssh-keygen", *how.split()]
    assert b'Good "file" signature for me@example.org' in output(*verify, given=sums.read_bytes())
    with pytest.raises(ReleaseError, match="Could not verify signature"):
        output(*verify, given=sums.read_bytes().replace(b"a", b"b"))
    assert signature.signed(sums.read_bytes(), key) == made.read_bytes()
