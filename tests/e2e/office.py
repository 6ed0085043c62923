"""An administrator's place: a Postfix, a daemon, and the commands of both."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import Daemon
from tests.e2e.mta import Delivery, Mta
from tests.e2e.namespace import Namespace
from tests.e2e.wires import SOCKETMAP_TCP, policy_maps
from tests.e2e.world import World
from tests.e2e.zoo.asking import Oracle, oracle


@dataclass(frozen=True, slots=True)
class Office:
    """The place; made by `office`."""

    mta: Mta
    daemon: Daemon
    port: int
    """Of the daemon."""
    commands: Oracle
    world: World

    def broken(self, label: str, sink: str = "expired", mode: str = "enforce") -> str:
        """Publish a fresh domain, whose only MX host is the sink of that name."""
        domain = self.world.fresh(label)
        self.world.mail_host(domain, sink)
        self.world.policy(domain, mode)
        return domain

    def run(self, *words: str) -> str:
        """Run a command of the daemon, and return what it printed."""
        done = self.commands.run(*words)
        assert done.code == 0, done
        return done.output

    def add(self, scope: str, use: str, *words: str, lasting: str = "1h") -> str:
        """Add an exception, and return what the command printed."""
        reason = ("--reason", "ticket 4711")
        return self.run("exception", "add", scope, "--use", use, "--for", lasting, *reason, *words)

    def held(self, domain: str, dsn: str = "4.7.5") -> Delivery:
        """Send a message, which is held."""
        seen = self.mta.send(domain)
        assert (seen.status, seen.dsn) == ("deferred", dsn), seen
        assert not seen.receipts
        return seen

    def queue_run(self, held: Delivery) -> Delivery:
        """Start a queue run, as an administrator does, and return what becomes of a message."""
        mark = self.mta.log.mark
        self.mta.run("postqueue", "-f")
        return self.mta.outcome(held.recipient, mark)

    def reply(self, domain: str) -> str:
        """Ask the daemon as Postfix does."""
        return self.daemon.ask(self.port, f"postfix {domain}")


@contextmanager
def office(
    inside: Namespace, mta: Mta, daemon: Daemon, port: int, programs: Path, world: World
) -> Iterator[Office]:
    """Put a running daemon in main.cf; `programs` are those of this Postfix."""
    mta.use(policy_maps(SOCKETMAP_TCP, port))
    with oracle(inside, daemon.config, mta, programs) as commands:
        yield Office(mta, daemon, port, commands, world)
