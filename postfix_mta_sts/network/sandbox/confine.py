"""Put this process into its sandbox; there is no way out of it.

Nothing here ends the process: a kernel that cannot keep it from something must not keep mail
without policies. What does not hold is said (`Confinement.missing`).
"""

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.network.sandbox import capabilities, kernel, landlock, seccomp
from postfix_mta_sts.network.sandbox.confinement import OFF, Confinement
from postfix_mta_sts.network.sandbox.paths import Watched, find_rules
from postfix_mta_sts.network.sandbox.rules import Rules
from postfix_mta_sts.network.settings import NetworkSettings
from postfix_mta_sts.values import replace

NO_CTYPES = "Python's ctypes cannot be used here"
OLD_KERNEL = "the kernel has no rules for TCP ports; Linux 6.7 has"
ANY_PORT = "a server of Redis may name another one, with another port"
STORE_SOCKET = "fleet.url is one"


class Sandbox:
    """What holds for this process, and whether it needs a successor."""

    def __init__(self, confinement: Confinement, watched: Watched) -> None:
        self.confinement = confinement
        self._watched = watched

    def replaced(self) -> str | None:
        """See `Watched.replaced`; may block for a moment."""
        return self._watched.replaced() if self.confinement.files else None


def confine(settings: NetworkSettings) -> Sandbox:
    """Restrict this thread, and those that it starts from now on, as far as the kernel can."""
    try:
        return _confined(settings)
    except Exception as error:  # noqa: BLE001 (a bug here must not end all look-ups)
        missing = f"internal error: {printable(repr(error))}"
        return Sandbox(Confinement(missing=(missing,)), Watched(()))


def _confined(settings: NetworkSettings) -> Sandbox:
    if not settings.sandbox:
        off = Confinement(is_wanted=False, missing=(OFF,))
        return Sandbox(off, Watched(()))
    rules, watched = find_rules(settings)
    if not kernel.is_usable():
        return Sandbox(Confinement(missing=(NO_CTYPES,)), watched)
    missing = _give_capabilities_up()
    held = _filter(_restrict(rules), rules)
    return Sandbox(replace(held, missing=(*held.missing, *missing)), watched)


def _give_capabilities_up() -> tuple[str, ...]:
    """Before /proc is hidden, which has those that there are. Returns what is missing."""
    try:
        capabilities.drop()
    except OSError as error:
        return (f"capabilities: {printable(error.strerror or str(error))}",)
    return ()


def _restrict(rules: Rules) -> Confinement:
    """Files and ports, by Landlock."""
    try:
        version = landlock.abi()
        _put_in_force(rules, version)
    except landlock.NoLandlockError as error:
        return Confinement(missing=(f"reading files, and ports: {error}",))
    except OSError as error:
        reason = printable(error.strerror or str(error))
        return Confinement(missing=(f"reading files, and ports: Landlock: {reason}",))
    if version < landlock.PORTS_ABI:
        return Confinement(files=True, missing=(f"ports: {OLD_KERNEL}",))
    if rules.ports is None:
        return Confinement(files=True, missing=(f"ports: {ANY_PORT}",))
    return Confinement(files=True, ports=rules.ports)


def _put_in_force(rules: Rules, version: int) -> None:
    with landlock.Ruleset(version, connects=rules.ports is not None) as ruleset:
        for path in (*rules.folders, *rules.files):
            ruleset.allow_reading(path)
        if version >= landlock.PORTS_ABI:
            for port in rules.ports or ():
                ruleset.allow_port(port)
        ruleset.restrict()


def _filter(so_far: Confinement, rules: Rules) -> Confinement:
    """Sockets and processes, by seccomp."""
    has_socket = rules.store_socket is not None
    missing = (f"UNIX sockets: {STORE_SOCKET}",) if has_socket else ()
    try:
        seccomp.install(unix_sockets=has_socket)
    except seccomp.NoFilterError as error:
        missing = (f"modes of files, UNIX sockets and processes: {error}",)
        return replace(so_far, missing=(*so_far.missing, *missing))
    return replace(
        so_far,
        unix_sockets=not has_socket,
        processes=True,
        missing=(*so_far.missing, *missing),
    )
