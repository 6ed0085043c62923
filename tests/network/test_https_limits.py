"""Responses without end, cut off or malformed: limits of size and time."""

import asyncio
import contextlib
import gzip
import zlib
from collections.abc import Mapping, Sequence
from typing import Final

import pytest

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.errors import (
    DeadlineError,
    FetchError,
    IncompleteError,
    MediaTypeError,
    TooLargeError,
    UnreachableError,
)
from postfix_mta_sts.mtasts.response import MAX_BODY_SIZE
from postfix_mta_sts.network.https import PolicyFetcher
from tests.support.fetchers import (
    GOOD,
    HOST,
    POLICY,
    Fetchers,
    failure,
)
from tests.support.policy_host import (
    PolicyHost,
    Script,
    black_hole,
    chunked,
    drip,
    endless,
    ok,
    silence,
    then_abort,
    then_silence,
)

pytestmark = pytest.mark.asyncio(loop_factories=["asyncio", "uvloop"])


class TestDecompression:
    """What is decompressed is limited, so a decompression bomb has no effect."""

    @pytest.mark.parametrize("coding", ["gzip", "X-GZIP", "utf-8, gzip"])
    async def test_gzip(self, fetcher: PolicyFetcher, host: PolicyHost, coding: str) -> None:
        """A body in gzip is read, though it was not asked for: some hosts store nothing else."""
        host.answers[HOST] = ok(gzip.compress(POLICY), content_encoding=coding)
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_deflate(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A body in deflate is read: the format of zlib (RFC 9110 §8.4.1.2)."""
        host.answers[HOST] = ok(zlib.compress(POLICY), content_encoding="deflate")
        assert await fetcher.fetch_body(GOOD) == POLICY

    @pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "br, gzip"])
    async def test_other_codings(
        self, fetcher: PolicyFetcher, host: PolicyHost, coding: str
    ) -> None:
        """Other content codings are refused: the request did not offer any."""
        host.answers[HOST] = ok(gzip.compress(POLICY), content_encoding=coding)
        reason = await failure(fetcher, MediaTypeError)
        assert reason == f"unsupported Content-Encoding '{coding}'"

    @pytest.mark.parametrize("coding", ["Identity", "utf-8", "none", ","])
    async def test_no_coding(self, fetcher: PolicyFetcher, host: PolicyHost, coding: str) -> None:
        """A name that is no content coding changes nothing."""
        host.answers[HOST] = ok(POLICY, content_encoding=coding)
        assert await fetcher.fetch_body(GOOD) == POLICY

    async def test_gzip_as_transfer_coding(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A transfer coding besides chunked is refused."""
        body = gzip.compress(POLICY)
        answer = chunked(body).replace(b"chunked", b"gzip, chunked")
        host.answers[HOST] = answer
        assert "gzip" in await failure(fetcher, MediaTypeError)

    async def test_bomb(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """Of 64 MiB of spaces in 64 KiB of gzip, no more than the limit is decompressed."""
        bomb = gzip.compress(b" " * 2**26)
        host.answers[HOST] = ok(bomb[:MAX_BODY_SIZE], content_encoding="gzip")
        assert await failure(fetcher, TooLargeError) == "more than 65536 bytes"

    @pytest.mark.parametrize(
        ("body", "error", "reason"),
        [
            (gzip.compress(POLICY)[:-1], IncompleteError, "the gzip data broke off"),
            (b"", IncompleteError, "the gzip data broke off"),
            (POLICY, MediaTypeError, "the body is not gzip, which Content-Encoding says"),
        ],
        ids=["cut", "empty", "no gzip"],
    )
    async def test_bad_gzip(
        self,
        fetcher: PolicyFetcher,
        host: PolicyHost,
        body: bytes,
        error: type[FetchError],
        reason: str,
    ) -> None:
        """Compressed data must be complete and valid."""
        host.answers[HOST] = ok(body, content_encoding="gzip")
        assert await failure(fetcher, error) == reason


class TestEndlessBodies:
    """Size and time are limited, whatever the server sends."""

    async def test_too_large_content_length(self, fetcher: PolicyFetcher, host: PolicyHost) -> None:
        """A Content-Length above the limit is an error; the body is not read."""
        head = ok(b"", content_length=str(MAX_BODY_SIZE + 1))
        host.answers[HOST] = then_silence(head)
        assert await failure(fetcher, TooLargeError) == "more than 65536 bytes"
        await host.closed.reached(HOST)

    @pytest.mark.parametrize(
        "answer",
        [
            endless(chunked(end=b""), b"400\r\n" + b"x" * 1024 + b"\r\n"),
            chunked(b"x" * MAX_BODY_SIZE, b"x"),
            endless(chunked(end=b""), b"8\r\n12345678\r\n" * 1000),
        ],
        ids=["endless", "one too many", "8 bytes a chunk"],
    )
    async def test_too_large_chunked_body(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """A chunked body above the limit is an error and never truncated."""
        host.answers[HOST] = answer
        assert await failure(fetcher, TooLargeError) == "more than 65536 bytes"

    async def test_the_connection_is_aborted(
        self, fetcher: PolicyFetcher, host: PolicyHost
    ) -> None:
        """The connection of an endless body is aborted; a TLS shutdown would read on."""
        host.answers[HOST] = endless(chunked(end=b""), b"400\r\n" + b"x" * 1024 + b"\r\n")
        await failure(fetcher, TooLargeError)
        await host.closed.reached(HOST)

    @pytest.mark.parametrize(
        "flood",
        [b"X-Filler: " + b"x" * 100 + b"\r\n", b"x" * 1000],
        ids=["fields", "one field"],
    )
    async def test_endless_head(
        self, fetcher: PolicyFetcher, host: PolicyHost, flood: bytes
    ) -> None:
        """An endless head is malformed."""
        host.answers[HOST] = endless(b"HTTP/1.1 200 OK\r\nX-First: 1", flood)
        assert (await failure(fetcher, IncompleteError)).startswith("malformed HTTP: ")

    SLOW: Final[Mapping[str, tuple[Script, str]]] = {
        "silence": (silence, "no response"),
        "head": (then_silence(b"HTTP/1.1 200 OK\r\n"), "no response"),
        "body": (then_silence(ok(POLICY[:3], content_length="10")), "3 bytes of the body received"),
        "chunk": (then_silence(chunked(POLICY[:3], end=b"")), "3 bytes of the body received"),
        "none": (then_silence(ok(b"", content_length="10")), "0 bytes of the body received"),
        "head-drips": (drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n", 0.05), "no response"),
        "body-drips": (drip(chunked(end=b""), b"1\r\nx\r\n", 0.02), "bytes of the body received"),
    }

    async def test_one_deadline_for_the_whole_get(
        self, host: PolicyHost, fetchers: Fetchers
    ) -> None:
        """A slow response cannot extend the deadline of the GET; the reason says how far it got.

        All at once, because a busy machine needs some of these seconds to reach the phase.
        """
        host.answers |= {f"mta-sts.{name}.test": answer for name, (answer, _) in self.SLOW.items()}
        fetcher = fetchers(timeout=5)
        domains = [Domain(f"{name}.test") for name in self.SLOW]
        gets = [fetcher.fetch(domain) for domain in domains]
        reasons = await asyncio.gather(*gets, return_exceptions=True)
        for (_, phase), reason in zip(self.SLOW.values(), reasons, strict=True):
            assert type(reason) is DeadlineError
            assert str(reason).startswith("timed out after 5 s: ")
            assert str(reason).endswith(phase)
        for domain in domains:
            await host.closed.reached(f"mta-sts.{domain}")

    async def test_deadline_in_the_handshake(self, fetchers: Fetchers) -> None:
        """A server that accepts the connection and sends nothing times out."""
        with black_hole() as port:
            reason = await failure(fetchers(port=port, timeout=1), DeadlineError)
        assert reason == "timed out after 1 s: no TLS connection to 127.0.0.1"

    async def test_deadline_in_the_look_up(self, fetchers: Fetchers) -> None:
        """The look-up of the address counts towards the same deadline."""

        async def never(_: str) -> Sequence[str]:
            return await asyncio.Future()

        reason = await failure(fetchers(addresses=never, timeout=0.1), DeadlineError)
        assert reason == "timed out after 0.1 s: host name not resolved"


class TestIncomplete:
    """An incomplete message is an error, never a shorter policy."""

    @pytest.mark.parametrize(
        "answer",
        [
            ok(POLICY[:-20], content_length=str(len(POLICY))),
            then_abort(ok(POLICY[:-20], content_length=str(len(POLICY)))),
            chunked(POLICY, end=b""),
            chunked(POLICY, end=b"0\r\n"),
            then_abort(chunked(POLICY, end=b"")),
            chunked(POLICY, end=b"5\r\nmx"),
            chunked(POLICY, end=b"nonsense\r\n"),
            chunked(POLICY, end=b"-1\r\n\r\n"),
        ],
        ids=[
            "short",
            "short, reset",
            "no last chunk",
            "no end of the last chunk",
            "chunks, reset",
            "half a chunk",
            "no chunk size",
            "negative chunk size",
        ],
    )
    async def test_incomplete_body(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """Bodies shorter than announced and broken chunks are errors (RFC 9112 §8)."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason.startswith(("the body broke off after ", "malformed HTTP: "))
        assert host.gets.total == 1

    @pytest.mark.parametrize(
        "answer",
        [b"", then_abort(b""), b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"],
        ids=["closed", "reset", "half a head"],
    )
    async def test_a_lost_connection_is_not_retried(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes | Script
    ) -> None:
        """Exactly one GET is sent; the session of the HTTP library would send a second one."""
        host.answers[HOST] = answer
        with pytest.raises((IncompleteError, UnreachableError)):
            await fetcher.fetch(GOOD)
        assert (host.gets.total, host.connections.total) == (1, 1)

    @pytest.mark.parametrize(
        "answer",
        [
            b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
            b"HTTP/2 200 OK\r\n\r\n",
            ok(POLICY, content_length="-5"),
            ok(POLICY, content_length="+5"),
            ok(POLICY, content_length="5, 6"),
            ok(POLICY).replace(b"Content-Type", b"Content-Length: 5\r\nContent-Type"),
            ok(POLICY, transfer_encoding="chunked"),
            ok(POLICY).replace(b"Content-Type:", b"Content Type:"),
        ],
        ids=[
            "ssh",
            "http/2",
            "negative length",
            "signed length",
            "two lengths in one",
            "two lengths",
            "length and chunked",
            "space in a name",
        ],
    )
    async def test_malformed_response(
        self, fetcher: PolicyFetcher, host: PolicyHost, answer: bytes
    ) -> None:
        """Responses that are not HTTP or have contradictory lengths are refused (RFC 9112 §6.3)."""
        host.answers[HOST] = answer
        reason = await failure(fetcher, IncompleteError)
        assert reason.isprintable()
        assert host.gets.total == 1

    @pytest.mark.parametrize("more", [b"mx: evil.test\r\n", b"\r\n", ok(b"mx: evil.test\r\n")])
    async def test_bytes_after_the_body(
        self, fetcher: PolicyFetcher, host: PolicyHost, more: bytes
    ) -> None:
        """Bytes after the announced end are ignored or an error, never part of the policy."""
        host.answers[HOST] = ok(POLICY) + more
        with contextlib.suppress(IncompleteError):
            assert await fetcher.fetch_body(GOOD) == POLICY
