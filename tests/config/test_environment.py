"""A variable sets each key; the error for a wrong variable names it."""

import json
from typing import Annotated, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import fields

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.environment import PREFIX, apply_environment
from postfix_mta_sts.config.settings import (
    ConfigError,
    MapSettings,
    Settings,
    load,
    parse,
)
from postfix_mta_sts.config.yaml_document import Errors, Node


def refused(environ: dict[str, str], text: str = "") -> str:
    """Return the error text for variables that are not valid."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "x.yml", environ)
    return str(caught.value)


def paths(kind: type[Struct], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the path of every key that holds a single value."""
    found = []
    for each in fields(kind):
        if isinstance(each.type, type) and issubclass(each.type, Struct):
            found += paths(each.type, (*above, each.name))
        elif get_origin(each.type) is Annotated:
            found.append((*above, each.name))
    return found


LEAVES = paths(Settings)


class TestNames:
    """Names of variables."""

    def test_durations_as_in_the_file(self) -> None:
        """A variable's value is written as in the file."""
        assert parse("", "x", {f"{PREFIX}HTTPS__TIMEOUT": "30s"}).https.timeout == 30

    @pytest.mark.parametrize("path", LEAVES, ids=".".join)
    def test_every_key(self, path: tuple[str, ...]) -> None:
        """Each key has a variable: a wrong value is refused at that key."""
        name = PREFIX + "__".join(path).upper()
        assert refused({name: "{}"}).startswith(f"{name}: {'.'.join(path)}: found a mapping")

    def test_lists(self) -> None:
        """A list is one value, which replaces the list in the file."""
        environ = {
            f"{PREFIX}LISTEN": "[{socketmap: '0.0.0.0:8461'}, {tcp_table: 'unix:/run/t'}]",
            f"{PREFIX}DNS__NAMESERVERS": "[192.0.2.1, '192.0.2.2:53']",
        }
        settings = parse("listen: [{socketmap: 'unix:/file'}]", "x", environ)
        assert [(each.wire, str(each.address)) for each in settings.listen] == [
            ("socketmap", "0.0.0.0:8461"),
            ("tcp_table", "unix:/run/t"),
        ]
        assert settings.dns.nameservers == ("192.0.2.1", "192.0.2.2:53")

    def test_map_names_keep_their_capitals(self) -> None:
        """Below `maps` a map name keeps its case, and the key after it is in capitals."""
        environ = {
            f"{PREFIX}MAPS__strictOnes__ENFORCE_TESTING": "true",
            f"{PREFIX}MAPS__POSTFIX": "{tlsrpt: true}",
        }
        maps = parse("", "x", environ).maps
        assert maps["strictOnes"] == MapSettings(enforce_testing=True)
        assert maps["POSTFIX"] == MapSettings(tlsrpt=True)
        assert maps["postfix"] == MapSettings()

    def test_other_variables(self) -> None:
        """Variables without two underscores after the prefix are ignored."""
        environ = {"POSTFIX_MTA_STS_PORT": "tcp://192.0.2.1:8461", "POSTFIX_MTA_STS": "x"}
        assert parse("", "x", environ) == Settings()


class TestOrder:
    """The order in which the file and the variables apply."""

    FILE = "https: {timeout: 5s, concurrency: 7}\nlog: {level: debug}\n"

    def test_over_the_file(self) -> None:
        """A variable overrides its key in the file, and no other key."""
        settings = parse(self.FILE, "x", {f"{PREFIX}HTTPS__TIMEOUT": "9"})
        assert (settings.https.timeout, settings.https.concurrency) == (9, 7)
        assert settings.log.level == "debug"

    def test_a_whole_section(self) -> None:
        """A variable for a section replaces it; a variable for one of its keys overrides both."""
        environ = {f"{PREFIX}HTTPS__TIMEOUT": "9", f"{PREFIX}HTTPS": "{timeout: 8, concurrency: 2}"}
        settings = parse(self.FILE, "x", environ)
        assert (settings.https.timeout, settings.https.concurrency) == (9, 2)
        environ = {f"{PREFIX}HTTPS": "{timeout: 8}"}
        assert parse(self.FILE, "x", environ).https.concurrency == Settings().https.concurrency

    def test_empty_value(self) -> None:
        """An empty value is null: it restores the default that the file has changed."""
        text = "https: {proxy: 'http://a:1', timeout: 5s}"
        environ = {f"{PREFIX}HTTPS__PROXY": ""}
        assert parse(text, "x", environ).https.proxy is None
        assert parse(text, "x", {f"{PREFIX}HTTPS": ""}).https == Settings().https

    def test_without_a_file(self) -> None:
        """Variables work without a file."""
        environ = {f"{PREFIX}LISTEN": json.dumps([{"socketmap": "unix:/run/s"}])}
        (listener,) = load(None, environ).listen
        assert str(listener.address) == "unix:/run/s"
        assert isinstance(listener.address, UnixAddress)
        assert isinstance(load(None, {}).listen[0].address, TcpAddress)


class TestRefused:
    """Errors in variables."""

    @pytest.mark.parametrize(
        ("name", "value", "error"),
        [
            (
                "HTTPS__TIMOUT",
                "3",
                "https.timout: unknown key, perhaps timeout; allowed: timeout, ",
            ),
            ("HTTP__TIMEOUT", "3", "http: unknown key, perhaps https; allowed: listen, maps,"),
            ("", "3", "'': unknown key; allowed: listen,"),
            ("HTTPS__", "3", "https.'': unknown key; allowed: timeout,"),
            ("https__timeout", "3", "write the keys in the variable's name in capitals"),
            ("MAPS__x__tlsrpt", "true", "write the keys in the variable's name in capitals"),
            ("HTTPS__TIMEOUT", "soon", "https.timeout: found 'soon'; allowed: a number of"),
            ("HTTPS__TIMEOUT", "", "https.timeout: found nothing; allowed: a number of"),
            ("LISTEN", "[{socketmap: x}]", "listen[0].socketmap: found 'x'; allowed: host:port"),
            ("LISTEN__0__SOCKETMAP", "127.0.0.1:1", "listen: found a mapping; allowed: a list"),
            ("LISTEN", "[]", "listen: at least one address is needed"),
            ("LISTEN", "[{socketmap: a", "not YAML: "),
            ("CONTROL__PATH", "\udc80", "not YAML: character U+DC80"),
            ("METRICS__MODE", "0660", "metrics.mode: only for a UNIX socket, unix:/path"),
            ("HTTPS__TIMEOUT__X", "1", "https.timeout: found a mapping; allowed: a number"),
        ],
    )
    def test_by_its_variable(self, name: str, value: str, error: str) -> None:
        """An error names the variable, with the same text as for the file."""
        assert refused({PREFIX + name: value}).startswith(f"{PREFIX}{name}: {error}")

    def test_key_below_a_value(self) -> None:
        """A key below a value of the file cannot be set: the error names both places."""
        name = f"{PREFIX}LOG__LEVEL"
        with pytest.raises(ConfigError) as caught:
            parse("\nlog: 3", "x.yml", {name: "info"})
        of_file, of_variable = caught.value.errors
        assert of_file.startswith("x.yml:2: log: found 3; allowed: the keys level, format")
        expected = f"{name}: level: cannot be set, because line 2 has a value instead of keys"
        assert of_variable == expected

    def test_error_in_the_file(self) -> None:
        """An error in the file names the file, even if variables are set."""
        error = refused({f"{PREFIX}HTTPS__TIMEOUT": "3"}, "https:\n  concurrency: 0\n")
        assert error.startswith("x.yml:2: https.concurrency: found 0")

    def test_unprintable_name(self) -> None:
        """A variable's name cannot control a terminal."""
        assert refused({f"{PREFIX}\x1b[2J": ""}).isprintable()


@given(st.dictionaries(st.text(max_size=12).map(PREFIX.__add__), st.text(max_size=12), max_size=3))
def test_any_variables(environ: dict[str, str]) -> None:
    """Any variables are accepted, or refused with an error of one line."""
    try:
        parse("", "x.yml", environ)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_the_document_is_not_changed() -> None:
    """Applying variables returns a new document."""
    root = Node({"https": Node({"timeout": Node(1, 2)}, 1)}, 1)
    made = apply_environment(root, {f"{PREFIX}HTTPS__TIMEOUT": "2"}, Errors())
    assert made == Node(
        {"https": Node({"timeout": Node(2, 1, f"{PREFIX}HTTPS__TIMEOUT")}, 1)},
        1,
    )
    assert root == Node({"https": Node({"timeout": Node(1, 2)}, 1)}, 1)
