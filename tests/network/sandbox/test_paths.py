"""The files of a machine that the rules are about, and those that are replaced."""

import sys
from pathlib import Path

import pytest

from postfix_mta_sts.config.settings import HttpsSettings, Settings
from postfix_mta_sts.network.sandbox import paths
from postfix_mta_sts.network.sandbox.paths import PACKAGE, Watched, find_rules
from postfix_mta_sts.network.sandbox.rules import is_in_any
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.values import replace
from tests.support.tls import Authority


class TestWatched:
    """Single files that are replaced."""

    @pytest.mark.parametrize("before", ["one", None])
    def test_replaced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
    ) -> None:
        """One that another file replaces, or that is new, is told if it may not be read."""
        path = tmp_path / "resolv.conf"
        if before:
            path.write_text(before)
        watched = Watched([str(path), str(tmp_path / "nowhere")])
        assert watched.replaced() is None
        new = tmp_path / "new"
        new.write_text("two")
        new.rename(path)
        assert watched.replaced() is None
        monkeypatch.setattr(paths, "_is_hidden", lambda _: True)
        assert watched.replaced() == str(path)

    def test_a_link_to_another_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What counts is where a link leads to."""
        monkeypatch.setattr(paths, "_is_hidden", lambda _: True)
        (tmp_path / "one").write_text("")
        (tmp_path / "other").write_text("")
        link = tmp_path / "link"
        link.symlink_to("one")
        watched = Watched([str(link)])
        link.unlink()
        link.symlink_to("other")
        assert watched.replaced() == str(link)

    def test_not_replaced(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """One that is written again in its place, or removed, needs no other process."""
        monkeypatch.setattr(paths, "_is_hidden", lambda _: True)
        path = tmp_path / "resolv.conf"
        path.write_text("one")
        watched = Watched([str(path)])
        path.write_text("two")
        assert watched.replaced() is None
        path.unlink()
        assert watched.replaced() is None


class TestRules:
    """What is found on this machine."""

    def test_modules(self) -> None:
        """All that is imported later can be read, and nothing of /etc but some files."""
        rules, _ = find_rules(NetworkSettings.of(Settings()))
        for path in (PACKAGE / "network", Path(pytest.__file__), Path(sys.prefix) / "lib"):
            assert is_in_any(str(path.resolve()), rules.folders), path
        assert not is_in_any("/etc/passwd", (*rules.folders, *rules.files))
        assert "/etc/hosts" in rules.files

    def test_a_module_folder_with_the_store(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not allowed; the package is, wherever it is."""
        (tmp_path / "lib").mkdir()
        monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path), str(tmp_path / "lib")])
        settings = NetworkSettings.of(Settings())
        assert is_in_any(str(tmp_path / "x"), find_rules(settings)[0].folders)
        settings = replace(settings, private=(str(tmp_path / "policies.db"),))
        rules, _ = find_rules(settings)
        assert not is_in_any(str(tmp_path / "policies.db"), rules.folders)
        assert is_in_any(str(tmp_path / "lib"), rules.folders)
        assert is_in_any(str(PACKAGE.resolve()), rules.folders)

    def test_ca_file(self, tmp_path: Path) -> None:
        """The file of `https.ca_file` can be read, and is watched."""
        path = Authority().write(tmp_path)
        settings = NetworkSettings.of(Settings(https=HttpsSettings(ca_file=path)))
        rules, watched = find_rules(settings)
        assert str(path) in rules.files
        assert str(path) in watched._before

    def test_certificates_that_are_links(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A CA elsewhere, to which the folder of the system has a link, can be read."""
        certs, local = tmp_path / "certs", tmp_path / "local.pem"
        certs.mkdir()
        local.write_text("")
        (certs / "0a0b0c0d.0").symlink_to(local)
        (certs / "README").symlink_to("/etc/passwd")
        monkeypatch.setenv("SSL_CERT_DIR", str(certs))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "bundle.pem"))
        rules, _ = find_rules(NetworkSettings.of(Settings()))
        assert str(certs) in rules.folders
        assert {str(local), str(tmp_path / "bundle.pem")} <= set(rules.files)
        assert "/etc/passwd" not in rules.files

    def test_libraries(self, tmp_path: Path) -> None:
        """The folders of the linker are allowed."""
        assert str(tmp_path) in set(paths._module_folders({"LD_LIBRARY_PATH": f":{tmp_path}"}))
