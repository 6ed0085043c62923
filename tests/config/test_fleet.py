"""The section `fleet`: what goes together, and that no text ever has the password or the key."""

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.config import written
from postfix_mta_sts.config.origins import Origins
from postfix_mta_sts.config.settings import ConfigError, FleetSettings, Settings, parse
from postfix_mta_sts.daemon.reload import changed_keys
from tests.support.config import refused
from tests.support.tls import Authority

KEY = "key_file: /etc/key"


def fleet(section: str) -> FleetSettings:
    """The settings of a section `fleet`."""
    return parse(f"fleet: {{{section}}}", "x.yml").fleet


def test_none() -> None:
    """Without a URL nothing is shared, whatever else is set."""
    assert Settings().fleet.url is None
    assert fleet("name: mx1, unsigned: true, password_file: /p").url is None


def test_all_keys() -> None:
    """Each key is read."""
    found = fleet(
        "url: 'rediss://relay@store.test/1', name: mx1.good.test, prefix: mta_sts_2, budget: 100ms,"
        f" {KEY}, password_file: /etc/pw, exceptions: false"
    )
    assert str(found.url) == "rediss://relay@store.test/1"
    assert (found.name, found.prefix, found.budget) == ("mx1.good.test", "mta_sts_2", 0.1)
    assert (found.key_file, found.password_file) == (Path("/etc/key"), Path("/etc/pw"))
    assert (found.exceptions, found.unsigned) == (False, False)


@pytest.mark.parametrize(
    "section",
    [
        "url: 'redis://localhost', unsigned: true",
        "url: 'unix:///run/x', unsigned: true",
        "url: 'postgresql://u@%2Frun/d', unsigned: true",
        f"url: 'redis://u:p@192.0.2.1', {KEY}",
        f"url: 'redis://u@192.0.2.1', password_file: /p, {KEY}",
        f"url: 'redis+sentinel://127.0.0.1/m', {KEY}",
        f"url: null, {KEY}",
        "name: null, budget: 2s",
        "prefix: a, budget: 0.01",
        "name: 1",
    ],
)
def test_valid(section: str) -> None:
    """What goes together is accepted."""
    fleet(section)


@pytest.mark.parametrize(
    ("section", "reason"),
    [
        ("url: 'redis://h'", "fleet.key_file: missing: records must be signed; make a key: open"),
        ("url: 'redis://127.0.0.1'", "fleet.key_file: missing"),
        ("url: 'redis://192.0.2.1', unsigned: true", "fleet.unsigned: only for a store on"),
        ("url: 'redis+sentinel://127.0.0.1/m', unsigned: true", "fleet.unsigned: only for a store"),
        (f"url: 'redis://localhost', unsigned: true, {KEY}", "fleet.unsigned: key_file is given"),
        (f"url: 'redis://:p@h', {KEY}, password_file: /p", "fleet.password_file: url has a "),
        (f"url: 'redis://h', {KEY}, ca_file: CA", "fleet.ca_file: this url is without TLS; write"),
        ("url: ''", "fleet.url: found a value; allowed: redis://"),
        ("url: 6379", "fleet.url: found a value"),
        ("url: [redis://h]", "fleet.url: found a list"),
        ("url: 'redis://h?db=1'", "fleet.url: found a value: parameter db is not supported"),
        ("name: 'a b'", "fleet.name: found 'a b'; allowed: at most 64 ASCII letters"),
        ("name: '{mx1}'", "fleet.name: found '{mx1}'"),
        (f"name: {'a' * 65}", "fleet.name: found 'aaa"),
        ("prefix: MTA", "fleet.prefix: found 'MTA'; allowed: at most 40 lower-case"),
        ("prefix: 'a:b'", "fleet.prefix: found 'a:b'"),
        ("prefix: 1a", "fleet.prefix: found '1a'"),
        (f"prefix: {'a' * 41}", "fleet.prefix: found"),
        ("prefix: public", "fleet.prefix: found 'public': a schema of PostgreSQL that is not ours"),
        ("prefix: pg_sts", "fleet.prefix: found 'pg_sts': a schema of PostgreSQL"),
        ("prefix: information_schema", "fleet.prefix: found"),
        ("budget: 9ms", "fleet.budget: found '9ms': out of range; allowed: a number of seco"),
        ("budget: 3s", "fleet.budget: found '3s': out of range"),
        ("key_file: key", "fleet.key_file: found a value: write it in a file, and here the whole"),
        ("key_file: abcdef0123456789", "fleet.key_file: found a value: write it in a file"),
        ("password_file: hunter2", "fleet.password_file: found a value: write it in a file"),
        ("password: hunter2", "fleet.password: unknown key; write it in a file, and its path in"),
        ("key: abcdef", "fleet.key: unknown key; write it in a file, and its path in key_file"),
        ("host: h", "fleet.host: unknown key; write url: redis://HOST or postgresql://"),
    ],
)  # fmt: skip
def test_refused(section: str, reason: str, tmp_path: Path) -> None:
    """What does not go together is refused with what to write."""
    text = refused(f"fleet: {{{section.replace('CA', str(Authority().write(tmp_path)))}}}")
    assert text.startswith(f"x.yml:1: {reason}")
    assert not any(secret in text for secret in ("hunter2", "abcdef"))


def test_ca_file(tmp_path: Path) -> None:
    """Certificates are for a store with TLS."""
    path = Authority().write(tmp_path)
    assert fleet(f"url: 'rediss://h', {KEY}, ca_file: {path}").ca_file == path
    assert fleet(f"url: 'postgresql://192.0.2.1/d', {KEY}, ca_file: {path}").ca_file == path


def test_variables() -> None:
    """Secrets can be given by variables, each as its key, and `--show` names the variable."""
    environ = {
        "POSTFIX_MTA_STS__FLEET__URL": "redis://u:hunter2@store.test",
        "POSTFIX_MTA_STS__FLEET__KEY_FILE": "/run/secrets/key",
    }
    settings = parse("fleet: {name: mx1}", "x.yml", environ)
    assert settings.fleet.url is not None
    assert (settings.fleet.url.password, settings.fleet.name) == ("hunter2", "mx1")
    lines = dict(written.lines(settings))
    assert lines["fleet.url"] == "redis://u:...@store.test"
    assert lines["fleet.key_file"] == "/run/secrets/key"
    origins = Origins("fleet: {name: mx1}", "x.yml", environ)
    assert origins.of("fleet.url") == "POSTFIX_MTA_STS__FLEET__URL"


def test_a_reload_names_the_keys_that_changed() -> None:
    """A new URL is one changed key, and its password is not in it."""
    before, after = Settings(), parse(f"fleet: {{url: 'redis://:hunter2@h', {KEY}}}", "x.yml")
    assert changed_keys(before, after) == ["fleet.url", "fleet.key_file"]


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12).map(
    lambda text: f"pa5{text}w0rd"
)
PLACES = (
    "fleet:\n  url: PLACE\n  key_file: /k",
    "fleet: {url: PLACE}",
    "fleet: {url: 'PLACE', unsigned: true, key_file: /k}",
    "fleet:\n  url: 'PLACE'\n  password_file: /p\n  key_file: /k\n  budget: soon",
    "fleet: PLACE",
    "fleet: 'url PLACE'",
    "fleet: url=PLACE",
    "fleet:\n  url=PLACE",
    "fleet:\n  uri: PLACE",
    "fleet:\n  url: PLACE\n  url: PLACE",
    "fleet:\n  - PLACE",
    "fleet:\n  - url: PLACE",
    "fleet: {url: [PLACE]}",
    "fleet: {PLACE}",
    "fleet:\n  url:\n    PLACE: 1",
    "fleet:\n  url PLACE",
    "fleet:\n  name: PLACE",
    "fleet:\n  prefix: PLACE\n  budget: PLACE\n  unsigned: PLACE\n  exceptions: PLACE",
    "fleet:\n  ca_file: PLACE",
    "fleet: {key_file: PLACE, password_file: PLACE}",
    "fleet:\n\turl: PLACE",
    "redis: PLACE",
    "url: PLACE",
    "dns:\n  nameservers: PLACE",
    "listen:\n  - PLACE",
    "listen:\n  - socketmap: PLACE",
    "https: PLACE",
    "log: PLACE",
)
URLS = ("redis://u:PASSWORD@h/0", "redis://u:PASSWORD@h?x=1", "postgresql://u:PASSWORD@h/d?a=b")
SECRETS = (
    "fleet: {password: PASSWORD}",
    "fleet:\n  password: PASSWORD",
    "fleet: password=PASSWORD",
    "fleet: password PASSWORD",
    "fleet:\n  password_file: PASSWORD",
    "fleet:\n  key_file: PASSWORD",
    "fleet: {url: PASSWORD}",
    "fleet:\n  url: redis://h\n  password_file: 'PASSWORD'",
)


def shown(text: str, environ: dict[str, str]) -> str:
    """All that a command, the log or a traceback may show of a configuration."""
    try:
        settings = parse(text, "x.yml", environ)
    except ConfigError as error:
        return "\n".join([*error.errors, str(error), repr(error)])
    return "\n".join([*map(str, written.lines(settings)), repr(settings), str(settings.fleet.url)])


@given(st.sampled_from(PLACES), st.sampled_from(URLS), PASSWORDS, st.booleans())
def test_no_text_has_the_password_of_a_url(
    place: str,
    url: str,
    password: str,
    is_encoded: bool,  # noqa: FBT001 (of hypothesis)
) -> None:
    """Wherever a URL with any password stands, and whatever is wrong with it, it is not shown."""
    secret = quote(password, safe="") if is_encoded else password
    text = shown(place.replace("PLACE", url.replace("PASSWORD", secret)), {})
    assert "pa5" not in text
    assert "w0rd" not in text


@given(st.sampled_from(URLS), PASSWORDS, st.sampled_from(["URL", "PASSWORD_FILE", "NAME", "HOST"]))
def test_no_text_has_the_password_of_a_variable(url: str, password: str, key: str) -> None:
    """The same for variables."""
    value = url.replace("PASSWORD", password)
    text = shown("", {f"POSTFIX_MTA_STS__FLEET__{key}": value, "POSTFIX_MTA_STS__FLEET": value})
    assert "pa5" not in text
    assert "w0rd" not in text


@given(st.sampled_from(SECRETS), PASSWORDS)
def test_no_text_has_a_secret_in_the_place_of_its_file(place: str, password: str) -> None:
    """A password or a key that was written in the place of a path is not shown."""
    text = shown(place.replace("PASSWORD", password), {})
    assert "pa5" not in text
    assert "w0rd" not in text
