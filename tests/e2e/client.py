"""A socketmap client for a daemon at its default port, in the network namespace of the test."""

import contextlib
import threading
from collections.abc import Iterator

from tests.e2e.namespace import Namespace
from tests.e2e.transcript import TIMEOUT

PORT = 8461


def ask(inside: Namespace, key: str) -> str:
    """Return the reply over TCP; retry once if the connection is closed, as Postfix does."""
    data = f"postfix {key}".encode()
    for last in (False, True):
        with inside.connect("127.0.0.1", PORT) as connection:
            connection.settimeout(TIMEOUT)
            with contextlib.suppress(ConnectionError):
                connection.sendall(b"%d:%b," % (len(data), data))
                if reply := connection.recv(4096):
                    return reply.split(b":", 1)[1].rstrip(b",").decode()
        assert not last
    raise AssertionError


def secure(domain: str) -> str:
    """The reply for a domain with a policy."""
    return f"OK secure match=mx.{domain} servername=hostname"


@contextlib.contextmanager
def ask_repeatedly(inside: Namespace, key: str) -> Iterator[list[str]]:
    """Ask without a pause, and again at the end; yield the list of replies.

    An error, such as a refused connection, counts as a reply.
    """
    replies: list[str] = []
    over = threading.Event()

    def once() -> None:
        try:
            replies.append(ask(inside, key))
        except (OSError, AssertionError) as error:
            replies.append(repr(error))

    def keep() -> None:
        while not over.is_set():
            once()
        once()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield replies
    finally:
        over.set()
        thread.join()
