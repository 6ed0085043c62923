"""Asking `postconf`, and programs that behave in unexpected ways in its place."""

import asyncio
import os
from pathlib import Path

import pytest

from postfix_mta_sts.postfix.postconf import Postfix, ask

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


def script(folder: Path, body: str) -> list[str]:
    """A command that runs these lines of shell."""
    path = folder / "postconf"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


def fake_postconf(folder: Path, dns: str, tls: str) -> list[str]:
    """A postconf with these values; it fails unless its arguments are right."""
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
    """Both values are read; smtp_dns_support_level alone decides."""
    postfix = await ask(fake_postconf(tmp_path, dns, tls))
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
    """If postconf fails or prints something else, there is no answer."""
    assert await ask(script(tmp_path, body)) is None


async def test_no_postconf(tmp_path: Path) -> None:
    """If it is not installed, as in a container, there is no answer."""
    assert await ask([str(tmp_path / "postconf")]) is None


async def test_a_postconf_that_hangs(tmp_path: Path) -> None:
    """After the timeout there is no answer."""
    assert await ask(script(tmp_path, "exec sleep 600"), timeout=0.2) is None


async def test_a_cancelled_question_leaves_no_process(tmp_path: Path) -> None:
    """The process is killed when the caller is cancelled."""
    pipe = tmp_path / "pid"
    os.mkfifo(pipe)
    asking = asyncio.create_task(ask(script(tmp_path, f"echo $$ > {pipe}; exec sleep 600")))
    pid = int(await asyncio.to_thread(pipe.read_text))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await wait_until_gone(pid)


async def wait_until_gone(pid: int) -> None:
    """Return when there is no process with this id any more; fails after a minute.

    If `ask` is cancelled while asyncio or uvloop starts the process, the loop kills it and collects
    its exit status a moment later.
    """
    async with asyncio.timeout(60):
        while exists(pid):  # noqa: ASYNC110 (no event to wait for)
            await asyncio.sleep(0.01)


def exists(pid: int) -> bool:
    """Whether there is a process with this id; a zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
