"""Rules for the other tables: they fail, always answer, or have entries that are not right."""

import shlex
from dataclasses import replace as replace_field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postfix_mta_sts.admin.doctor.report import Effect
from postfix_mta_sts.values import replace
from tests.support.findings import findings, only
from tests.support.snapshots import (
    VERSIONS,
    changed,
    good,
    other_table,
    our_table,
    server_table,
    with_tables,
)
from tests.support.stock_postfix import SERVER, TYPES

NAMES = dict(zip(VERSIONS, ("postfix", "QUERYwithTLSRPT"), strict=True))
FILE = "/etc/postfix/tls"
GONE = f"open {FILE}: No such file or directory"
SED = rf"sed -i -e '/^broken\.test[[:space:]]/Id' {FILE}"

every_version = pytest.mark.parametrize("version", VERSIONS)


@every_version
@pytest.mark.parametrize(
    ("name", "error", "mend"),
    [
        (f"texthash:{FILE}", GONE, f"touch {FILE} && postfix reload"),
        (f"regexp:{FILE}", GONE, f"touch {FILE} && postfix reload"),
        (f"hash:{FILE}", GONE, f"touch {FILE} && postmap hash:{FILE} && postfix reload"),
        (f"proxy:hash:{FILE}", GONE, f"touch {FILE} && postmap hash:{FILE} && postfix reload"),
        (f"hash:{FILE}", "unexpected end", f"postmap hash:{FILE} && postfix reload"),
        (f"hash:{FILE}", f"open {FILE}.db: Permission denied", ""),
        (f"texthash:{FILE}", "is a directory", ""),
        ("nis:tls", "no NIS domain", ""),
    ],
)
def test_fails(version: str, name: str, error: str, mend: str) -> None:
    """`table-before-fails`: an empty file, or a new index, is made where that helps."""
    table = other_table(name, error=error, file=FILE if FILE in name else "")
    ours = our_table(NAMES[version])
    for tables in ([table, ours], [ours, table]):
        found = only(with_tables(good(version), *tables))
        assert (found.id, found.effect) == ("table-before-fails", Effect.HELD)
        assert found.what == f"the table {name} cannot be read: {error}"
        assert found.mend == mend


@every_version
def test_answers(version: str) -> None:
    """`table-before-answers`: the daemon is asked first."""
    ours = our_table(NAMES[version])
    snapshot = with_tables(good(version), other_table("static:may", answer="may"), ours)
    found = only(snapshot)
    assert (found.id, found.effect) == ("table-before-answers", Effect.UNPROTECTED)
    assert found.what == (
        "the table static:may, before that of the daemon, answers may for every domain"
    )
    assert found.why == "Postfix never asks the daemon, and no policy is enforced"
    assert found.mend == (
        f"postconf -e 'smtp_tls_policy_maps = {SERVER}{NAMES[version]}, static:may' && "
        "postfix reload"
    )


def test_answers_after() -> None:
    """A table for all other domains comes after the daemon, as it should."""
    snapshot = with_tables(good(), our_table(), other_table("static:encrypt", answer="encrypt"))
    assert findings(snapshot) == []


def test_answers_alone() -> None:
    """Without a table of the daemon this is the smaller fault, and one command mends both."""
    found = only(with_tables(good(), other_table("static:may", answer="may")))
    assert found.id == "map-missing"
    assert f"{SERVER}QUERYwithTLSRPT, static:may" in found.mend


@every_version
@pytest.mark.parametrize(
    ("name", "file", "mend"),
    [
        (
            f"texthash:{FILE}",
            FILE,
            f"{SED} && postfix reload",
        ),
        (
            f"hash:{FILE}",
            FILE,
            f"{SED} && postmap hash:{FILE} && postfix reload",
        ),
        ("inline:{broken.test=mai}", "", ""),
    ],
)
def test_entries(version: str, name: str, file: str, mend: str) -> None:
    """`table-entry-bad`: the entry is removed from the file."""
    bad = (("broken.test", "not a security level: 'mai'"),)
    table = other_table(name, bad_entries=bad, file=file)
    found = only(with_tables(good(version), table, our_table(NAMES[version])))
    assert (found.id, found.effect) == ("table-entry-bad", Effect.HELD)
    assert found.what == (
        f"the table {name} has entries that Postfix cannot use: broken.test (not a security level: "
        "'mai')"
    )
    assert found.why == "Postfix holds mail to these domains"
    assert found.mend == mend


def test_many_entries() -> None:
    """Three are shown, and all removed."""
    bad = tuple((f"d{n}.test", "no") for n in range(5))
    table = other_table(f"texthash:{FILE}", bad_entries=bad, file=FILE)
    found = only(with_tables(good(), table, our_table()))
    assert found.what.endswith("d0.test (no), d1.test (no), d2.test (no), and 2 more")
    assert found.mend.count("[[:space:]]") == 5


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_hostile_entries(key: str) -> None:
    """A key is quoted for sed(1) and the shell: nothing of it is special."""
    table = other_table(f"texthash:{FILE}", bad_entries=((key, "no"),), file=FILE)
    words = shlex.split(only(with_tables(good(), table, our_table())).mend)
    assert words[:3] == ["sed", "-i", "-e"]
    pattern = words[3].removeprefix("/^").removesuffix("[[:space:]]/Id")
    escaped = iter(pattern)
    assert "".join(next(escaped) if each == "\\" else each for each in escaped) == key
    assert "/" not in pattern.replace(r"\\", "").replace(r"\/", "")


def test_other_rules_have_them() -> None:
    """A table of an unknown type, or without a form, is not one that cannot be read."""
    tables = (other_table("x:y", error="unsupported"), our_table())
    assert [each.id for each in findings(with_tables(good(), *tables))] == ["map-type"]
    known = with_tables(good(), other_table("x:y"), our_table())
    assert findings(changed(known, table_types=(*TYPES, "x"))) == []


@every_version
@pytest.mark.parametrize(
    "group", ["unionmap:{static:may,*}", "unionmap:{*, pipemap:{hash:/a, hash:/b}}"]
)
def test_in_unionmap(version: str, group: str) -> None:
    """`map-in-unionmap`: mail to domains with two answers is held."""
    ours = our_table(NAMES[version])
    name = group.replace("*", ours.name)
    found = only(with_tables(good(version), replace(ours, name=name)))
    assert (found.id, found.effect) == ("map-in-unionmap", Effect.HELD)
    assert found.what == (
        f"smtp_tls_policy_maps has {name}, where the table of the daemon is not alone in a unionmap"
    )
    assert found.mend.startswith("postconf -e 'smtp_tls_policy_maps = socketmap:")


@every_version
@pytest.mark.parametrize(
    "group",
    [
        "pipemap:{inline:{a.test=may},*}",
        "pipemap:{*, hash:/a}",
        "unionmap:{pipemap:{*, hash:/a}, static:may}",
        "pipemap:{unionmap:{*, hash:/a}, hash:/b}",
        "proxy:pipemap:{*, hash:/a}",
    ],
)
def test_in_pipemap(version: str, group: str) -> None:
    """`map-in-pipemap`: no policy is enforced, whatever map it is."""
    for map_name in NAMES.values():
        ours = our_table(map_name)
        name = group.replace("*", ours.name)
        found = only(with_tables(good(version), replace(ours, name=name)))
        assert (found.id, found.effect) == ("map-in-pipemap", Effect.UNPROTECTED)
        assert found.what == (
            f"smtp_tls_policy_maps has {name}, where the table of the daemon is not alone in a "
            "pipemap"
        )
        assert f"{SERVER}{NAMES[version]}" in found.mend


@pytest.mark.parametrize(
    "group", ["unionmap:{*}", "pipemap:{*}", "unionmap:{pipemap:{*}}", "proxy:pipemap:{*}"]
)
def test_group_of_one(group: str) -> None:
    """A group of the daemon's table alone answers as that."""
    ours = our_table()
    name = group.replace("*", ours.name)
    assert findings(with_tables(good(), replace(ours, name=name))) == []


def test_group_elsewhere() -> None:
    """With `--main-cf` the port tells which member is the daemon's."""
    table = server_table("socketmap:inet:mta-sts:8461:QUERYwithTLSRPT")
    group = replace(table, name=f"unionmap:{{static:may, {table.name}}}")
    found = only(replace_field(with_tables(good(), group), main_cf_file="main.cf"))
    assert found.id == "map-in-unionmap"
    assert f"smtp_tls_policy_maps = {table.name}, static:may'" in found.mend


def test_group_of_others() -> None:
    """Groups without the daemon are what they are."""
    group = other_table("unionmap:{hash:/a, pipemap:{hash:/b, hash:/c}}")
    assert findings(with_tables(good(), group, our_table())) == []
