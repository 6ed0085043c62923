"""A filter of system calls: a program of the kernel's classic BPF (seccomp(2)).

It looks at each call of this thread, and of those that it starts from now on; `refusals` says what
it refuses. Calls that it allows whatever their arguments are cost nothing since Linux 5.11.
"""

import os
import struct
from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

from postfix_mta_sts.network.sandbox import kernel
from postfix_mta_sts.network.sandbox.calls import Machine, this_machine
from postfix_mta_sts.network.sandbox.refusals import Argument, Refusal, refusals

Instruction: TypeAlias = tuple[int, int, int, int]
"""The kernel's struct sock_filter: what to do, how many to skip if so and if not, a number."""
Code: TypeAlias = list[Instruction]

LOAD, AND, EQUAL, AT_LEAST, RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Where each is in the kernel's struct seccomp_data; an argument has 8 bytes, the lower first."""
ALLOW: Final = 0x7FFF0000
FAIL: Final = 0x00050000
"""With the number of an error in its lower bits."""
EPERM: Final = 1


class NoFilterError(Exception):
    """This process cannot have a filter; `str()` says why."""


def install(*, unix_sockets: bool) -> None:
    """Refuse what `refusals` lists, for good; raises `NoFilterError`."""
    machine = this_machine()
    if machine is None:
        raise NoFilterError(f"no filter of system calls is known for {os.uname().machine}")
    code = assemble(refusals(os.getpid(), unix_sockets=unix_sockets), machine)
    try:
        kernel.forbid_new_privileges()
        kernel.set_filter(to_bytes(code))
    except OSError as error:
        raise NoFilterError(f"seccomp: {error.strerror}") from None


def assemble(refused: Collection[Refusal], machine: Machine) -> Code:
    """The filter for a machine; a call that it does not have is left out."""
    code = [(LOAD, 0, 0, ARCHITECTURE), (EQUAL, 1, 0, machine.architecture), _fail(EPERM)]
    code += [(LOAD, 0, 0, NUMBER)]
    if machine.highest is not None:
        code += [(AT_LEAST, 0, 1, machine.highest), _fail(EPERM)]
    for each in refused:
        if each.call in machine.numbers:
            decided = _decided(each)
            code += [(EQUAL, 0, len(decided), machine.numbers[each.call]), *decided]
    return [*code, (RETURN, 0, 0, ALLOW)]


def to_bytes(code: Code) -> bytes:
    """The filter as the kernel takes it."""
    return b"".join(struct.pack("=HBBI", *each) for each in code)


def _decided(refusal: Refusal) -> Code:
    """What follows once the number is known; ends in each case."""
    allowed, failed = (RETURN, 0, 0, ALLOW), _fail(refusal.error)
    if_so, if_not = (failed, allowed) if refusal.only_if else (allowed, failed)
    return [*(each for all_of in refusal.unless for each in _all(all_of, if_so)), if_not]


def _all(conditions: Sequence[Argument], result: Instruction) -> Code:
    """The result if all conditions hold; else what comes after this."""
    code = [result]
    for condition in reversed(conditions):
        code = [*_one(condition, len(code)), *code]
    return code


def _one(condition: Argument, rest: int) -> Code:
    """Go on if a condition holds, else skip `rest` instructions."""
    code = [(LOAD, 0, 0, FIRST_ARGUMENT + 8 * condition.index), (AND, 0, 0, condition.mask)]
    after = len(condition.values)
    for value in condition.values:
        after -= 1
        code += [(EQUAL, after, 0 if after else rest, value)]
    return code


def _fail(error: int) -> Instruction:
    return RETURN, 0, 0, FAIL | error
