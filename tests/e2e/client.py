"""Postfix's part, on a machine with the daemon at its usual port: one question, or many.

Border: the wire as a client sees it, without Postfix; in the network namespace of the test.
"""

import contextlib
import threading
from collections.abc import Iterator

from tests.e2e.namespace import Namespace
from tests.e2e.transcript import TIMEOUT

PORT = 8461


def ask(inside: Namespace, key: str) -> str:
    """What the daemon replies over TCP; a connection that is closed is tried again, once."""
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
    """All replies to a question that is asked without a pause, and once more at the end.

    An error, such as a connection that is refused, is a reply too.
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
