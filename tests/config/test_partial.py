"""What is valid in a configuration with errors."""

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.partial import Partial, parse
from postfix_mta_sts.config.settings import Settings


def valid(text: str, variable: str = "{}") -> Partial:
    """Return what is valid of a text, and of a variable for `refresh`."""
    found = parse(text, {"POSTFIX_MTA_STS__REFRESH": variable})
    assert found
    return found


def test_the_rest_is_kept() -> None:
    """A key with an error is left out alone; what is set twice counts once."""
    text = "cache: {path: /c, memory: 1}\nhtps: {}\nlog: {level: x}\nlog: {format: json}\n"
    found = valid(text, "{idle_after: soon}")
    assert str(found.settings.cache.path) == "/c"
    assert found.settings.log.format == "json"
    assert found.left_out == {"cache.memory", "htps", "log.level", "refresh"}
    keys = ["cache", "cache.memory", "cache.memory_entries", "log.level", "refresh.idle_after"]
    assert [found.has(key) for key in keys] == [True, False, True, False, False]


def test_listen() -> None:
    """Bad listeners are not replaced by the default address, which may be in use."""
    found = valid("listen: [{socketmap: 1}]\nmetrics: {listen: '127.0.0.1:8461'}\n")
    assert found.settings.listen[0].address == TcpAddress("127.0.0.1", 0)
    assert (found.has("listen[0].socketmap"), found.has("metrics.listen")) == (False, True)


def test_conflict() -> None:
    """Sections that are valid alone, but not together, are not checked further."""
    assert parse("metrics: {listen: '127.0.0.1:8461'}", {}) is None


def test_nothing_to_check() -> None:
    """A text that is not YAML, or no mapping, has nothing to check; an empty one has defaults."""
    assert parse("a: 'b", {}) is None
    assert parse("[a]", {}) is None
    assert valid("{}").settings == Settings()
