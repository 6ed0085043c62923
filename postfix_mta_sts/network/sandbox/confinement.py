"""What holds for a network process, as `status` shows it."""

from postfix_mta_sts.values import Value

OFF = "network.sandbox is off"


class Confinement(Value, frozen=True, kw_only=True):
    """What the kernel keeps the process from; by default nothing."""

    is_wanted: bool = True
    """False: `network.sandbox` is off."""
    files: bool = False
    """It reads what the rules allow, and writes, makes and runs no file."""
    ports: tuple[int, ...] | None = None
    """The TCP ports that it may connect to, of any host; it listens on none. None: all."""
    unix_sockets: bool = False
    """It connects to no socket of another program on this machine, such as the control socket."""
    processes: bool = False
    """It starts no program, and cannot signal, read or slow down another process."""
    missing: tuple[str, ...] = ()
    """What does not hold, and why."""
