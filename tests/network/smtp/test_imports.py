"""The daemon and the network process import nothing that only `query` needs."""

import subprocess
import sys

SCRIPT = """
import sys
import postfix_mta_sts.cli.serve
import postfix_mta_sts.network.child
import postfix_mta_sts.network.smtp.names
import postfix_mta_sts.network.smtp.values
unwanted = {"OpenSSL", "cryptography", "postfix_mta_sts.network.smtp.probe"}
print(*unwanted & set(sys.modules))
"""


def test_no_probe() -> None:
    """Neither the probe nor OpenSSL and cryptography, which take long to import, are imported."""
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"
