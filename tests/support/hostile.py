"""A network process that was taken over: it tries what it must not do, and then serves as usual.

`PROGRAM` runs in the place of the network process (`network_processes.Programs`). Once the sandbox
is in force it makes each try in the main thread and in one that starts later, and prints the
outcomes as one line of JSON: `done`, or the name of the error.
"""

import errno
import json
import os
import threading
from collections.abc import Iterator, Mapping
from typing import Final

from postfix_mta_sts.network import child
from postfix_mta_sts.network.sandbox import confine as confine_module
from postfix_mta_sts.network.sandbox import landlock
from postfix_mta_sts.network.sandbox.confine import Sandbox
from postfix_mta_sts.network.settings import NetworkSettings
from tests.support.hostile_tries import Try, tries

TARGETS: Final = "HOSTILE_TARGETS"
"""The environment variable with the targets, as JSON: name → path, port or process id."""
ABI: Final = "HOSTILE_ABI"
"""The variable with the version of Landlock that the kernel is to have; 0: none."""
PROGRAM: Final = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from tests.support.hostile import main; main(int(sys.argv[1]))"
)


def main(descriptor: int) -> None:
    """Run the network process with the tries behind its sandbox."""
    child.confine = _confine_and_try  # type: ignore[attr-defined]
    child.main(descriptor)


def _confine_and_try(settings: NetworkSettings) -> Sandbox:
    _pretend(os.environ.get(ABI))
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208
    descriptors = sorted(_descriptors())
    sandbox = confine_module.confine(settings)
    targets = json.loads(os.environ[TARGETS])
    first = _outcomes(targets)
    later: dict[str, str] = {}
    thread = threading.Thread(target=lambda: later.update(_outcomes(targets)))
    thread.start()
    thread.join()
    said = {"first": first, "later": later, "threads": threads, "descriptors": descriptors}
    os.write(1, json.dumps(said).encode() + b"\n")
    return sandbox


def _pretend(version: str | None) -> None:
    """Make Landlock as old as this version, as far as this process can tell."""
    if version == "0":

        def none() -> int:
            raise landlock.NoLandlockError("none")

        landlock.abi = none
    elif version:
        landlock.KNOWN_ABI = int(version)  # type: ignore[misc]


def _descriptors() -> Iterator[str]:
    """What is open: descriptors of Python itself are not there any more when they are looked at."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        try:
            yield os.readlink(f"/proc/self/fd/{name}")  # noqa: PTH115
        except OSError:
            continue


def _outcomes(targets: Mapping[str, str]) -> dict[str, str]:
    return {name: _outcome(attempt) for name, attempt in tries(targets).items()}


def _outcome(attempt: Try) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, repr(error))
    except Exception as error:  # noqa: BLE001 (it is told)
        return repr(error)
    return "done"
