"""The URL of a shared store: what it names, what is refused, and no text has the password."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config.address import TcpAddress
from postfix_mta_sts.config.store_location import EngineName, StoreLocation
from postfix_mta_sts.config.store_url import parse_store_url
from postfix_mta_sts.values import msgpack_decoder, to_msgpack

REDIS, POSTGRESQL = EngineName.REDIS, EngineName.POSTGRESQL


@pytest.mark.parametrize("scheme", ["valkey", "redis", "VALKEY", "Redis"])
def test_redis(scheme: str) -> None:
    """Valkey and Redis are the same; port and database have defaults."""
    found = parse_store_url(f"{scheme}://127.0.0.1")
    assert found == StoreLocation(
        engine=REDIS,
        addresses=(TcpAddress("127.0.0.1", 6379),),
        database="0",
        shown=f"{scheme.lower()}://127.0.0.1",
    )


@pytest.mark.parametrize(
    ("url", "addresses", "database"),
    [
        ("redis://store.example.com:6380/3", [("store.example.com", 6380)], "3"),
        ("redis://STORE/", [("store", 6379)], "0"),
        ("redis://redis_1:1/15", [("redis_1", 1)], "15"),
        ("valkey://[::1]", [("::1", 6379)], "0"),
        ("valkey://[2001:db8:0::1]:65535/0", [("2001:db8::1", 65535)], "0"),
        ("redis+sentinel://s1/mymaster", [("s1", 26379)], "0"),
        ("redis+sentinel://s1,s2:5,[::1]:6,192.0.2.1/m-1/4",
         [("s1", 26379), ("s2", 5), ("::1", 6), ("192.0.2.1", 26379)], "4"),
        ("postgresql://db.example.com/mail", [("db.example.com", 5432)], "mail"),
        ("postgres://[::1]:6432/m%C3%A4il", [("::1", 6432)], "m\xe4il"),
    ],
)  # fmt: skip
def test_places(url: str, addresses: list[tuple[str, int]], database: str) -> None:
    """Names, both kinds of IP addresses, ports, databases and several Sentinels are read."""
    found = parse_store_url(url)
    assert found.addresses == tuple(TcpAddress(*each) for each in addresses)
    assert (found.database, found.path, found.shown) == (database, None, url)
    assert found.sentinel == (url.split("/")[3] if "sentinel" in url else None)


@pytest.mark.parametrize(
    ("url", "path", "database"),
    [
        ("redis+unix:///run/redis/redis.sock", "/run/redis/redis.sock", "0"),
        ("valkey+unix://:pw@/run/v.sock?db=2", "/run/v.sock", "2"),
        ("unix:///run/a%20b.sock", "/run/a b.sock", "0"),
        ("postgresql://u@%2Frun%2Fpostgresql/mail", "/run/postgresql/.s.PGSQL.5432", "mail"),
        ("postgresql://%2frun%2fpg%2f:6432/mail", "/run/pg/.s.PGSQL.6432", "mail"),
    ],
)
def test_sockets(url: str, path: str, database: str) -> None:
    """A UNIX socket has a path in place of addresses, and is on this machine."""
    found = parse_store_url(url)
    assert (found.path, found.addresses, found.database) == (path, (), database)
    assert found.is_loopback
    assert not found.tls


@pytest.mark.parametrize(
    ("url", "tls"),
    [
        ("redis://192.0.2.1", False),
        ("rediss://192.0.2.1", True),
        ("valkeys://localhost", True),
        ("rediss+sentinel://192.0.2.1/m", True),
        ("valkey+sentinel://192.0.2.1/m", False),
        ("postgresql://192.0.2.1/m", True),
        ("postgresql://localhost/m", False),
        ("postgresql://127.0.0.2/m", False),
        ("postgresql://[::1]/m", False),
        ("postgresql://192.0.2.1/m?sslmode=disable", False),
        ("postgresql://127.0.0.1/m?sslmode=verify-full", True),
    ],
)
def test_tls(url: str, *, tls: bool) -> None:
    """The scheme says whether a Redis has TLS; PostgreSQL has it unless it is on this machine."""
    assert parse_store_url(url).tls is tls


@pytest.mark.parametrize(
    ("url", "is_loopback"),
    [
        ("redis://127.0.0.1", True),
        ("redis://127.9.9.9", True),
        ("redis://[::1]", True),
        ("redis://localhost", True),
        ("redis://localhost.example.com", False),
        ("redis://0.0.0.0", False),
        ("redis://192.0.2.1", False),
        ("redis://127.0.0.1.example.com", False),
        ("redis+sentinel://127.0.0.1/m", False),
        ("postgresql://127.0.0.1/m", True),
    ],
)
def test_loopback(url: str, *, is_loopback: bool) -> None:
    """An address of this machine is recognised; Sentinels may name a primary on any other."""
    assert parse_store_url(url).is_loopback is is_loopback


@pytest.mark.parametrize(
    ("userinfo", "user", "password", "shown"),
    [
        ("", None, None, ""),
        ("relay@", "relay", None, "relay@"),
        ("relay:secret@", "relay", "secret", "relay:...@"),
        (":secret@", None, "secret", ":...@"),
        (":@", None, None, ""),
        ("relay:@", "relay", None, "relay@"),
        ("relay:a:b@c@", "relay", "a:b@c", "relay:...@"),
        ("re%40lay:%2F%3F%23%25%C3%A9@", "re@lay", "/?#%\xe9", "re%40lay:...@"),
    ],
)
def test_user(userinfo: str, user: str | None, password: str | None, shown: str) -> None:
    """User and password are decoded, and only the user is shown."""
    for scheme, rest in (("redis", "h/1"), ("redis+sentinel", "h/m"), ("postgresql", "h/d")):
        found = parse_store_url(f"{scheme}://{userinfo}{rest}")
        assert (found.user, found.password) == (user, password)
        assert found.shown == f"{scheme}://{shown}{rest}"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "it is no URL of printable"),
        ("redis://h \n", "it is no URL of printable"),
        ("redis://\xe9", "percent-encode"),
        ("redis://" + "h" * 2000, "it is no URL of printable"),
        ("127.0.0.1:6379", "write one that begins with valkey://"),
        ("redis:h", "it is no URL"),
        ("mysql://h/d", "begins with none of valkey://, valkeys://"),
        ("http://h", "begins with none of"),
        ("redis://", "the host is missing or is none; write HOST"),
        ("redis://:6379", "the host is missing"),
        ("redis://a b", "it is no URL of printable"),
        ("redis://h:", "the host is missing or is none"),
        ("redis://h:0", "a port is a number from 1 to 65535"),
        ("redis://h:65536", "a port is a number"),
        ("redis://[::1", "the host is missing or is none"),
        ("redis://[1.2.3.4]", "what is in brackets is no IPv6 address"),
        ("redis://[fe80::1%25eth0]", "the host is missing or is none"),
        ("redis://h/db", "a number, mostly 0"),
        ("redis://h/0/1", "a number, mostly 0"),
        ("redis://h/-1", "a number, mostly 0"),
        ("redis://h/007", "a number, mostly 0"),
        ("redis://h1,h2", r"several hosts are for Sentinels only; write redis\+sentinel://"),
        ("redis://%2Frun%2Fredis.sock", "the host is missing or is none"),
        ("redis://h?db=1", "parameter db is not supported; leave it out"),
        ("redis://h?password=secret", "parameter password is not supported; write user and"),
        ("rediss://h?ssl_cert_reqs=none", "parameter ssl_cert_reqs is not supported; write redi"),
        ("redis://h?a=1&a=2", "a parameter is given twice"),
        ("redis://h?%00=", r"what follows the \? is not supported"),
        ("redis://h#x", "it is no URL"),
        ("redis+unix://h/run/x", "a socket has no host; write redis"),
        ("redis+unix:///", "a socket has no host"),
        ("redis+unix:///run/x?db=a", "a number, mostly 0"),
        ("redis+unix:///" + "x" * 107, "at most 107 bytes"),
        ("redis+unix:///run/%00", "an escape is a control character"),
        ("redis+sentinel://h", "the name of the primary is missing"),
        ("redis+sentinel://h/", "the name of the primary is missing"),
        ("redis+sentinel://h/a b", "it is no URL"),
        ("redis+sentinel://h/%41", "the name of the primary is missing, or is none"),
        ("redis+sentinel://h/m/x", "a number, mostly 0"),
        ("redis+sentinel://h,/m", "the host is missing"),
        ("redis+sentinel://" + ",".join(["h"] * 17) + "/m", "names 17 Sentinels; at most 16"),
        ("postgresql://h", "the database is missing; write postgresql://"),
        ("postgresql://h/", "the database is missing"),
        ("postgresql://h/a/b", "the database is missing"),
        ("postgresql://h/" + "d" * 64, "the database is missing"),
        ("postgresql:///d", "the host is missing; for a UNIX socket, write its folder"),
        ("postgresql:///d?host=/run/postgresql", "parameter host is not supported; write its fol"),
        ("postgresql://a,b/d", "several hosts are for Sentinels only"),
        ("postgresql://h/d?sslmode=require", "sslmode is verify-full or disable"),
        ("postgresql://%2Frun/d?sslmode=verify-full", "a UNIX socket has no TLS"),
        ("postgresql://h/d?connect_timeout=1", "is not supported; the only one is sslmode"),
        ("redis://u:%zz@h", "a % is not followed by two hexadecimal digits"),
        ("redis://u:50%@h", "a % is not followed by two hexadecimal digits"),
        ("redis://u:%ff@h", "its escapes are not UTF-8"),
        ("redis://u:%0a@h", "an escape is a control character"),
        ("redis://u:se/cret@h", "it is no URL; in a user or a password write / as %2F"),
        ("redis://u:se?cret@h", "in a user or a password write / as %2F"),
        ("redis://u:se#cret@h", "in a user or a password write / as %2F"),
    ],
)
def test_refused(url: str, reason: str) -> None:
    """What is no URL of a store is refused, and the reason says what to write."""
    with pytest.raises(ValueError, match=reason) as caught:
        parse_store_url(url)
    assert "cret" not in str(caught.value)


_SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1).map(
    lambda text: f"pa5\N{SNOWMAN}{text}w0rd"
)
_FORMS = st.sampled_from(
    ["redis://{}h/1", "rediss+sentinel://{}h,i/m/2", "unix://{}/run/x", "postgresql://{}h/d"]
)


@given(_FORMS, _SECRETS, st.sampled_from(["", "relay"]))
def test_any_password(form: str, password: str, user: str) -> None:
    """Any password that is percent-encoded is read, and is in no text that is shown."""
    found = parse_store_url(form.format(f"{user}:{quote(password, safe='')}@"))
    assert (found.password, found.user) == (password, user or None)
    for text in (found.shown, repr(found), str(found), ascii(found)):
        assert "pa5" not in text
        assert "w0rd" not in text


_RAW = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(
    lambda text: f"pa5{text}w0rd"
)


@given(_FORMS, _RAW, st.sampled_from(["", "?x=1", "/x", "#x"]))
def test_a_password_that_is_not_encoded(form: str, password: str, rest: str) -> None:
    """A password with any characters is read or refused, and is in no text that is shown."""
    try:
        text = repr(parse_store_url(form.format(f"u:{password}@") + rest))
    except ValueError as error:
        text = str(error)
    assert "pa5" not in text
    assert "w0rd" not in text


@given(st.text(max_size=60) | st.from_regex(r"(redis|postgresql|unix)://[!-~]{0,30}"))
def test_any_text(text: str) -> None:
    """Any text is read or refused with one printable line."""
    try:
        found = parse_store_url(text)
    except ValueError as error:
        assert str(error).isascii()
        assert str(error).isprintable()
    else:
        assert found.addresses or found.path


def test_it_crosses_to_another_process() -> None:
    """A location is the same after it was sent to the network process."""
    decode = msgpack_decoder(StoreLocation)
    for url in ("rediss+sentinel://u:p@a,b/m/1", "postgresql://u:p@%2Frun/d", "redis://[::1]"):
        found = parse_store_url(url)
        assert decode(to_msgpack(found)) == found
