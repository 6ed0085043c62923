"""The text that makes the tables; tests/fleet runs it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.store.fleet.postgresql.schema import (
    MIGRATIONS,
    VERSION,
    quoted,
    schema_sql,
)
from postfix_mta_sts.store.fleet.postgresql.statements import statements
from postfix_mta_sts.values import to_plain


@given(st.text(st.characters(exclude_characters="\0")))
def test_an_identifier_stays_one(name: str) -> None:
    """Whatever is in a name, the quotes around it end where it ends."""
    text = quoted(name)
    assert re.fullmatch(r'"(?:[^"]|"")*"', text)
    assert text[1:-1].replace('""', '"') == name


def test_one_transaction() -> None:
    """It begins and ends once, and takes its lock before anything else."""
    lines = [
        line
        for line in schema_sql("mta_sts", None).splitlines()
        if line.isupper() or "lock" in line
    ]
    assert lines[0] == "BEGIN;"
    assert "pg_advisory_xact_lock" in lines[1]
    assert lines[-1] == "COMMIT;"
    assert schema_sql("mta_sts", None).count("BEGIN;") == 1


def test_a_lock_for_each_schema() -> None:
    """Two schemas in one database have locks of their own, which stay the same."""
    locks = {
        re.search(r"lock\((\d+)\)", schema_sql(prefix, None))[1]  # type: ignore[index]
        for prefix in ("a", "b", "a")
    }
    assert len(locks) == 2
    assert all(int(each) < 2**63 for each in locks)


@pytest.mark.parametrize("role", [None, "mta_sts", 'x"; DROP TABLE y; --'])
def test_grants(role: str | None) -> None:
    """Rights are granted to the role that is named, and to nobody without one."""
    text = schema_sql("mta_sts", role)
    assert text.count("GRANT ") == (0 if role is None else 3)
    assert "PUBLIC" not in text.upper()
    if role:
        assert text.count(f"TO {quoted(role)};") == 3


def test_versions() -> None:
    """Each migration makes one version."""
    text = schema_sql("mta_sts", None)
    assert len(MIGRATIONS) == VERSION
    assert [f"VALUES ({n})" in text for n in range(VERSION + 2)] == [
        False,
        *[True] * VERSION,
        False,
    ]


def test_statements_name_their_schema() -> None:
    """No statement finds a table by the search path."""
    for text in to_plain(statements("fleet_9")).values():
        tables = re.findall(
            r"(?:FROM|JOIN|INTO|UPDATE|,) +(\S*(?:records|uses|leases|version)\b)", text
        )
        assert tables
        assert all(each.startswith('"fleet_9".') for each in tables)
