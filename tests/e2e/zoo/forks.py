"""Runs `postfix-mta-sts` in forks of one process: the imports of the command are made once.

    python -m tests.e2e.zoo.forks SOCKET

Each connection to the socket sends the arguments as one line of JSON, and gets a JSON object with
the exit code and what was printed. It ends at the end of its input.
"""

import json
import os
import signal
import socket
import sys
import threading
import traceback
from typing import Final

from postfix_mta_sts.cli import exception, query
from postfix_mta_sts.cli.main import main
from postfix_mta_sts.network.smtp import probe, tls

_IMPORTED: Final = (exception, query, probe, tls)


def _serve(path: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(64)
        threading.Thread(target=_end_with_input, daemon=True).start()
        os.write(sys.stdout.fileno(), b"ready\n")
        while True:
            connection, _ = listener.accept()
            with connection:
                if os.fork() == 0:
                    _run(connection)


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def _run(connection: socket.socket) -> None:
    """Run the command in this process, which ends with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    with connection.makefile("rwb") as stream:
        arguments = json.loads(stream.readline())
        printed = [os.memfd_create(name) for name in ("output", "errors")]
        for number, file in enumerate(printed, 1):
            os.dup2(file, number)
        code = _exit_code(arguments)
        output, errors = (os.pread(file, os.fstat(file).st_size, 0).decode() for file in printed)
        stream.write(json.dumps({"code": code, "output": output, "errors": errors}).encode())
    os._exit(0)


def _exit_code(arguments: list[str]) -> int:
    try:
        return main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except Exception:  # noqa: BLE001 (the top of a process)
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
