"""What is asked of this program over HTTP, what is answered, and by which function.

Border: a function of a `Route` knows no HTTP but the status and the media type that it gives; how
requests and replies are spoken is the matter of `web`.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as far as it concerns who answers."""

    parts: Mapping[str, str]
    """What stood for each `{name}` of the route's path; from the network, as it came."""
    query: Mapping[str, str]
    """The parameters after `?`; of one that is given twice, the first."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    content_type: str
    """With its parameters: `text/plain; charset=utf-8`."""
    body: bytes | AsyncGenerator[bytes]
    """Pieces are sent as they come, each once the one before is taken; a reply that ends by an
    error is seen by the client to be incomplete."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which requests a function answers."""

    method: str
    """GET answers HEAD too."""
    path: str
    """`/policies/{domain}`: a name in braces stands for any one segment that is not empty."""
    answer: Callable[[Asked], Awaitable[Reply]]
    """What it raises is logged, and answered by 500."""

    def match(self, path: str) -> Mapping[str, str] | None:
        """What the names in braces stand for, if this is a path of this route."""
        patterns, segments = self.path.split("/"), path.split("/")
        if len(patterns) != len(segments):
            return None
        parts = {}
        for pattern, segment in zip(patterns, segments, strict=True):
            if pattern.startswith("{") and segment:
                parts[pattern[1:-1]] = unquote(segment)
            elif pattern != segment:
                return None
        return parts
