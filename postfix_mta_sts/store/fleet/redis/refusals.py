"""What the errors of Redis and Valkey mean, by the first word of their text."""

from typing import Final

from postfix_mta_sts.mtasts.errors import printable
from postfix_mta_sts.store.fleet.errors import (
    CHECK_NAMES_THEM,
    CannotServeError,
    DeniedError,
    FleetError,
)
from postfix_mta_sts.values import Value

_WHO: Final = (
    "compare the user in fleet.url, and the password in fleet.password_file, with the ACL of the "
    "store; ACL LOG there names the user that it has refused"
)
_ROOM: Final = "raise maxmemory, or remove what else is in this store"
_DISK: Final = "the log of the store says why it cannot save; until then it refuses to write"
_REPLICAS: Final = "bring its replicas back, or lower min-replicas-to-write"
_PRIMARY: Final = "name the primary in fleet.url, or its Sentinels: redis+sentinel://"
_MEANINGS: Final[dict[str, tuple[type[FleetError], str]]] = {
    "WRONGPASS": (DeniedError, "refuses the user or the password"),
    "NOAUTH": (DeniedError, "wants a password"),
    "NOPERM": (
        DeniedError,
        f"gives this user too few rights{CHECK_NAMES_THEM}",
    ),
    "DENIED": (DeniedError, "is in protected mode, and admits only its own machine"),
    "LOADING": (CannotServeError, "is loading its data"),
    "READONLY": (CannotServeError, "is a replica, which is read-only"),
    "MASTERDOWN": (CannotServeError, "is a replica that has lost its primary"),
    "OOM": (CannotServeError, "is out of memory (maxmemory)"),
    "MISCONF": (CannotServeError, "cannot save to its disk, and refuses to write"),
    "NOREPLICAS": (CannotServeError, "has too few replicas, and refuses to write"),
    "CLUSTERDOWN": (CannotServeError, "is a node of a Cluster that is down"),
    "TRYAGAIN": (CannotServeError, "is a node of a Cluster that moves its keys"),
    "MOVED": (CannotServeError, "is a node of a Cluster, and names no other that has the key"),
    "ASK": (CannotServeError, "is a node of a Cluster that moves its keys"),
    "BUSY": (CannotServeError, "is busy with a script"),
    "WRONGTYPE": (CannotServeError, "has something of another program under a key of the fleet"),
}
_MENDS: Final = {
    "WRONGPASS": _WHO,
    "NOAUTH": _WHO,
    "NOPERM": "give the user all rights of the ACL line in docs/fleet.md",
    "DENIED": "give the store a user and a password, as in docs/fleet.md",
    "LOADING": "wait until it has read its data",
    "READONLY": _PRIMARY,
    "MASTERDOWN": _PRIMARY,
    "OOM": _ROOM,
    "MISCONF": _DISK,
    "NOREPLICAS": _REPLICAS,
    "WRONGTYPE": "write another fleet.prefix, the same for all relays, and into the ACL",
}
"""What ends it, where the kind of error does not say enough."""
_NO_LONGER_PRIMARY: Final = ("READONLY", "MASTERDOWN")
_NO_RIGHT_IN_SCRIPT: Final = ("The user executing the script", "ACL failure in script")
"""Of these errors the first word is ERR."""


class Refusal(Value, frozen=True):
    """The server has not carried out a command; the connection stays."""

    text: str
    """From the server, of any length: show what `meaning` makes of it."""

    @property
    def code(self) -> str:
        """The first word of the error, such as `NOSCRIPT`."""
        code = self.text[:40].partition(" ")[0]
        if code == "ERR" and any(each in self.text for each in _NO_RIGHT_IN_SCRIPT):
            return "NOPERM"
        return code

    @property
    def is_of_no_sentinel(self) -> bool:
        """Whether a server does not know the command SENTINEL."""
        return self.code == "ERR" and "unknown command" in self.text[:40]

    @property
    def is_of_former_primary(self) -> bool:
        """Whether another server is the primary now, so that it is to be looked for."""
        return self.code in _NO_LONGER_PRIMARY

    def meaning(self, address: str) -> FleetError:
        """Return the error to raise."""
        if known := _MEANINGS.get(self.code):
            kind, text = known
            return kind(f"{address}: it {text}", _MENDS.get(self.code, ""))
        return CannotServeError(f"{address}: it answers '{printable(self.text, 120)}'")


def login_refused(address: str, text: str) -> FleetError:
    """Return what the refusal of a connection means.

    Nothing of the text is shown, as it may contain the password: Redis writes the arguments of a
    command that it does not know.
    """
    refusal = Refusal(text)
    if "max number of clients" in text[:80]:
        return CannotServeError(f"{address}: it has too many clients")
    if "without any password configured" in text[:200]:
        said = "it has no password for this user, and we have one"
        return DeniedError(f"{address}: {said}", _WHO)
    if refusal.code == "NOPERM":  # a login is AUTH, which needs no right, and SELECT
        mend = "give the user +select, or write database 0 into fleet.url"
        return DeniedError(f"{address}: it does not let this user choose a database", mend)
    if "DB index" in text[:80] or "SELECT is not allowed" in text[:80]:
        mend = "write database 0 into fleet.url"
        return DeniedError(f"{address}: it has no database of this number", mend)
    if refusal.code in _MEANINGS:
        return refusal.meaning(address)
    said = "it refuses the user, the password or the database"
    return DeniedError(f"{address}: {said}", _WHO)
