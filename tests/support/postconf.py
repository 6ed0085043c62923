"""A `postconf` in place of that of Postfix, with the texts that one instance has for it.

    command = Postconf(tmp_path, main="mail_version = 3.10.13").command

It fails, as Postfix does, if it is asked for what a test has not given.
"""

from pathlib import Path
from typing import Final

from postfix_mta_sts.postfix.installed.parameters import NAMES
from tests.support.scripts import script

DIRECTORY: Final = "/etc/postfix"

MAIN: Final = """\
mail_version = 3.10.13
compatibility_level = 3.9
smtp_tls_security_level = may
smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8461:QUERYwithTLSRPT
smtp_tls_CAfile =
smtp_tls_loglevel = 1
lmtp_tls_policy_maps =
lmtp_tls_security_level =
"""
COLUMNS: Final = """\
cleanup/unix/command = cleanup
smtp/unix/command = smtp
relay/unix/command = smtp -o syslog_name=postfix/$service_name
lmtp/unix/command = lmtp
cleanup/unix/chroot = y
smtp/unix/chroot = y
relay/unix/chroot = -
lmtp/unix/chroot = n
"""
OPTIONS: Final = "relay/unix/syslog_name = postfix/relay\n"
TYPES: Final = "hash\ninline\nsocketmap\n"
REASON: Final = "postconf failed: fatal: open main.cf: nothing here"
"""Why it fails, as `ProgramError` says it."""


class Postconf:
    """The program of one instance; without a text it ends with an error, which has a reason."""

    def __init__(
        self,
        folder: Path,
        *,
        main: str | None = MAIN,
        errors: str = "",
        columns: str | None = COLUMNS,
        options: str | None = OPTIONS,
        types: str | None = TYPES,
        directory: str = DIRECTORY,
    ) -> None:
        texts = {
            f"-x {' '.join(NAMES)}": main,
            "-F */unix/command */unix/chroot": columns,
            "-Px": options,
            "-m": types,
        }
        given = [(arguments, text) for arguments, text in texts.items() if text is not None]
        for number, (_, text) in enumerate(given):
            (folder / f"text{number}").write_text(text)
        (folder / "errors").write_text(errors)
        cases = (
            f'"-c {directory} {arguments}") cat {folder}/text{number};;\n'
            for number, (arguments, _) in enumerate(given)
        )
        fails = "*) echo 'postconf: fatal: open main.cf: nothing here' >&2; exit 1;;"
        body = f'cat {folder}/errors >&2\ncase "$*" in\n{"".join(cases)}{fails}\nesac'
        self.command: Final = [script(folder / "postconf", body)]
