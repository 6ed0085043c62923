"""The daemon and the network process import nothing that only `query --smtp` needs."""

import subprocess
import sys

SCRIPT = """
import sys
import postfix_mta_sts.cli.serve
import postfix_mta_sts.daemon.checker
import postfix_mta_sts.network.child
import postfix_mta_sts.cli.query
import postfix_mta_sts.network.smtp.names
import postfix_mta_sts.network.smtp.values
unwanted = {"OpenSSL", "cryptography", "postfix_mta_sts.network.smtp.probe"}
print(*unwanted & set(sys.modules))
"""
WITHOUT_OPENSSL = """
import sys
sys.modules["OpenSSL"] = None
from postfix_mta_sts.cli.main import main
sys.exit(main(["query", "x.test", "--smtp"]))
"""


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_no_probe() -> None:
    """Neither the probe nor OpenSSL and cryptography, which take long to import, are imported."""
    done = run(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_machine_without_the_libraries() -> None:
    """On a machine without pyOpenSSL, `--smtp` says so, and the exit code is "cannot tell"."""
    done = run(WITHOUT_OPENSSL)
    reason = "--smtp needs pyOpenSSL and cryptography; there is no module OpenSSL"
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"postfix-mta-sts: {reason}\n"
