"""The example configuration: every key, with its default."""

import re
from datetime import datetime
from pathlib import Path

from postfix_mta_sts.config.address import TcpAddress, UnixAddress
from postfix_mta_sts.config.settings import (
    ExceptionSettings,
    ListenerSettings,
    MapSettings,
    Settings,
    load,
    parse,
)
from tests.support.config import keys

EXAMPLE = Path(__file__).parents[2] / "config.example.yml"


def test_equals_the_defaults() -> None:
    """The example file, unchanged, sets every key to its default."""
    assert load(EXAMPLE) == Settings()


def test_names_every_key() -> None:
    """The example file contains every key, if only in a comment."""
    text = EXAMPLE.read_text("utf-8")
    assert {k for k in keys(Settings) if not re.search(rf"\b{k}:", text)} == set()


def test_commented_examples_are_valid() -> None:
    """The examples in comments are valid once the comment sign is removed."""
    text = EXAMPLE.read_text("utf-8")
    shown = re.sub(r"^  # (?=[ -] |[\w.*\"]+:)", "  ", text, flags=re.MULTILINE)
    settings = parse(shown, "example")
    assert settings.listen[1:] == (
        ListenerSettings(
            socketmap=UnixAddress(Path("/run/postfix-mta-sts/socketmap.sock")),
            mode=0o660,
            group="postfix",
        ),
        ListenerSettings(tcp_table=TcpAddress("127.0.0.1", 8462)),
    )
    assert settings.maps["strict"] == MapSettings(enforce_testing=True)
    assert settings.maps["old"] == MapSettings(servername=False)
    assert settings.maps["try"] == MapSettings(trial=True)
    assert settings.exceptions == {
        "example.com": ExceptionSettings(
            use="ignore",
            reason="ticket 4711: their certificate has expired",
            until=datetime(2027, 1, 1).astimezone().timestamp(),
        ),
        "*.example.com": ExceptionSettings(
            use="pin",
            reason="they asked for it",
            forever=True,
            mx=("mx1.example.com", "*.mx.example.com"),
        ),
    }
