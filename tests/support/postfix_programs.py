"""A Postfix that is not there: scripts in place of its programs, in a folder for PATH.

    postfix = PostfixPrograms(tmp_path / "bin", smtp_tls_security_level="may")
    postfix.queue({"arrival_time": 1, "recipients": [{"address": "a@good.test"}]})
    postfix.use(monkeypatch)

`hide_postfix` lets this process find no Postfix at all.
"""

import json
import os
from pathlib import Path
from typing import Final

import pytest

from postfix_mta_sts.daemon import assembly, preflight
from postfix_mta_sts.postfix import programs
from tests.support.scripts import script

OURS: Final = "socketmap:unix:{folder}/socketmap:postfix"
"""The map of a daemon with the configuration of `Internet.options`."""
_STOCK: Final = {
    "mail_version": "3.10.13",
    "myhostname": "relay.test",
    "smtp_helo_name": "relay.test",
    "smtp_tls_security_level": "may",
    "smtp_dns_support_level": "enabled",
    "inet_interfaces": "loopback-only",
    "compatibility_level": "3.6",
}


class PostfixPrograms:
    """`postconf`, `postmap`, `postqueue` and `sendmail`; `parameters` are those of main.cf."""

    def __init__(self, folder: Path, **parameters: str) -> None:
        folder.mkdir()
        self.folder: Final = folder
        self.log: Final = folder / "mail.log"
        self.log.touch()
        given = {**_STOCK, "queue_directory": str(folder), "maillog_file": str(self.log)}
        lines = [f"{name} = {value}\n" for name, value in (given | parameters).items()]
        (folder / "main").write_text("".join(lines))
        self._files = {"main": folder / "main", "queue": folder / "queue"}
        self._files["queue"].touch()
        chroot = "echo smtp/unix/chroot = n"
        script(folder / "postconf", f'case "$1" in -x) cat {folder}/main;; -F) {chroot};; esac')
        script(folder / "postqueue", f"cat {folder}/queue")
        self.table({})
        script(folder / "sendmail", "exit 75")

    def table(self, entries: dict[str, str], name: str = "texthash:/etc/policy") -> None:
        """Let `postmap -q KEY NAME` print these entries; it fails for any other table."""
        cases = "".join(f'"{key} {name}") echo "{text}";;\n' for key, text in entries.items())
        wrong = 'echo "postmap: fatal: open $3" >&2; exit 1'
        body = f'case "$2 $3" in\n{cases}*" {name}") exit 1;;\n*) {wrong};; esac'
        script(self.folder / "postmap", body)

    def queue(self, *messages: dict[str, object]) -> None:
        """Let `postqueue -j` print these messages."""
        self._files["queue"].write_text("".join(f"{json.dumps(each)}\n" for each in messages))

    def probes(self, status: str) -> None:
        """Let `sendmail -bv` log this for the address that it is given."""
        start = "Nov 27 03:20:00 relay postfix/smtp[77]: 4ZZkq12: to=<$4>, "
        relay = "relay=mx1.good.test[192.0.2.1]:25, delay=0.1, delays=0.01/0.02/0.07/0, "
        line = f"{start}{relay}dsn=4.7.5, status={status}"
        script(self.folder / "sendmail", f'echo "{line}" >> {self.log}')

    @property
    def path(self) -> str:
        """A value of PATH with these programs first, then those of a shell."""
        return os.pathsep.join([str(self.folder), os.defpath])

    def use(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let this process find them."""
        monkeypatch.setenv("PATH", self.path)


def hide_postfix(monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
    """Let this process find no program and no user of Postfix; `empty` has no programs."""
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.setattr(programs, "_SYSTEM_FOLDERS", ())
    for module in (assembly, preflight):
        monkeypatch.setattr(module, "postfix_account", lambda: None)
