"""What `postconf` says, and whatever stands in its place."""

import asyncio
import os
from pathlib import Path

import pytest

from postfix_mta_sts.postfix.postconf import Postfix, ask

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def script(folder: Path, body: str) -> list[str]:
    """The command that runs these lines of shell."""
    path = folder / "postconf"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


def saying(folder: Path, dns: str, tls: str) -> list[str]:
    """A postconf that says these values, and only if it is asked as it must be."""
    return script(
        folder,
        f"""
        [ "$*" = "-x smtp_dns_support_level smtp_tls_security_level" ] || exit 1
        echo "smtp_dns_support_level = {dns}"
        echo "smtp_tls_security_level = {tls}"
        """,
    )


@pytest.mark.parametrize(
    ("dns", "tls", "does_dane"),
    [
        ("dnssec", "dane", True),
        ("dnssec", "", True),
        ("enabled", "dane", False),
        ("", "may", False),
        ("disabled", "", False),
    ],
)
async def test_values(tmp_path: Path, dns: str, tls: str, *, does_dane: bool) -> None:
    """Both values are read, and it is smtp_dns_support_level that decides."""
    postfix = await ask(saying(tmp_path, dns, tls))
    assert postfix == Postfix(dns, tls)
    assert postfix.does_dane == does_dane


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "echo smtp_dns_support_level = dnssec; echo smtp_tls_security_level = dane; exit 1",
        "echo smtp_dns_support_level = dnssec",
        "true",
        r"printf 'smtp_dns_support_level = \033[31m\nsmtp_tls_security_level = x\n'",
        "kill -9 $$",
    ],
)
async def test_no_answer(tmp_path: Path, body: str) -> None:
    """A postconf that fails, or says something else, is as good as none."""
    assert await ask(script(tmp_path, body)) is None


async def test_no_postconf(tmp_path: Path) -> None:
    """Where there is none, as in a container, there is no answer."""
    assert await ask([str(tmp_path / "postconf")]) is None


async def test_one_that_hangs(tmp_path: Path) -> None:
    """One that does not answer in its time is as good as none."""
    assert await ask(script(tmp_path, "exec sleep 600"), timeout=0.2) is None


async def test_given_up(tmp_path: Path) -> None:
    """Who waits no longer leaves no process behind."""
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    asking = asyncio.create_task(ask(script(tmp_path, f"echo $$ > {pipe}; exec sleep 600")))
    pid = int(await asyncio.to_thread(pipe.read_text))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
