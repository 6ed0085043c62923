"""Exceptions, the trial and alerts: what a configuration means."""

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from postfix_mta_sts.config import partial
from postfix_mta_sts.config.origins import Origins
from postfix_mta_sts.config.settings import ConfigError, TrialSettings, load, parse
from postfix_mta_sts.mtasts.exceptions import PolicyException, Scope, Use


def exceptions(text: str) -> dict[Scope, PolicyException]:
    """Return the exceptions of a configuration that has only these."""
    return dict(parse(f"exceptions: {text}", "x").policy_exceptions)


class TestExceptions:
    """The section `exceptions`."""

    def test_all_keys(self) -> None:
        """An entry gives the exception that a command would give, by its scope in normal form."""
        text = (
            "{EXAMPLE.com.: {use: may, reason: ' a  b ', until: 2026-12-31T00:00Z, dane: ignore}}"
        )
        scope = Scope("example.com")
        expected = PolicyException(scope, Use.MAY, "a b", 1798675200.0, (), ignores_dane=True)
        assert exceptions(text) == {scope: expected}

    def test_pin(self) -> None:
        """A pin has mx patterns, and a wildcard is a scope of its own."""
        entry = "{use: pin, mx: [MX.a.test., '*.a.test'], reason: 4711, forever: true}"
        found = exceptions(f"{{'*.A.test': {entry}, a.test: {entry}}}")
        assert list(found) == ["*.a.test", "a.test"]
        assert found[Scope("a.test")].mx == ("mx.a.test", "*.a.test")
        assert found[Scope("a.test")].reason == "4711"
        assert found[Scope("a.test")].until is None

    def test_international(self) -> None:
        """A name may be written in its own script."""
        assert list(exceptions("{bücher.test: {use: may, reason: ü, forever: true}}")) == [
            "xn--bcher-kva.test"
        ]

    def test_anyway(self) -> None:
        """All domains of a top-level domain need a word that this is meant."""
        assert list(
            exceptions("{'*.test': {use: may, reason: x, forever: true, anyway: true}}")
        ) == ["*.test"]

    def test_variables(self) -> None:
        """A variable has all exceptions, or one key of one of them; its name has a dot then."""
        start, text = (
            "POSTFIX_MTA_STS__EXCEPTIONS",
            "{a.test: {use: may, reason: x, forever: true}}",
        )
        environ = {start: text, f"{start}__*.B.TEST__USE": "ignore"}
        more = {f"{start}__*.B.TEST__REASON": "y", f"{start}__*.B.TEST__UNTIL": "2026-12-31"}
        found = load(None, environ | more).policy_exceptions
        assert [(each.scope, each.use) for each in found.values()] == [
            ("a.test", Use.MAY),
            ("*.b.test", Use.IGNORE),
        ]

    def test_ended(self) -> None:
        """An exception that has ended is valid, so that the daemon starts."""
        found = exceptions("{a.test: {use: may, reason: x, until: 2020-01-01}}")
        assert not found[Scope("a.test")].is_in_force(1.6e9)

    def test_all_duplicates(self) -> None:
        """Each name that is there already is refused with the line of it, and the first one."""
        entry = "{use: may, reason: x, forever: true}"
        text = f"exceptions:\n  a.test: {entry}\n  A.test: {entry}\n  a.test.: {entry}\n"
        with pytest.raises(ConfigError) as caught:
            parse(text, "x.yml")
        assert caught.value.errors == (
            "x.yml:3: exceptions.'A.test': the same domain as 'a.test'; keep one of them",
            "x.yml:4: exceptions.'a.test.': the same domain as 'a.test'; keep one of them",
        )

    def test_every_error(self) -> None:
        """Errors of several entries are named together, each with its line."""
        text = "exceptions:\n  a.test: {use: may}\n  b.test:\n    reason: x\n    until: soon\n"
        with pytest.raises(ConfigError) as caught:
            parse(text, "x.yml")
        places = [error.partition(": ")[0] for error in caught.value.errors]
        assert places == ["x.yml:2", "x.yml:3", "x.yml:5"]

    def test_one_is_wrong(self) -> None:
        """A check goes on with the others."""
        entry = "{use: may, reason: x, forever: true}"
        found = partial.parse(f"exceptions: {{a.test: {entry}, b.test: {{use: may}}}}", {})
        assert found
        assert list(found.settings.exceptions) == ["a.test"]
        assert found.left_out == {"exceptions.b.test"}

    @given(st.text(max_size=300))
    @example("\x1b#\0")
    def test_any_reason(self, reason: str) -> None:
        """Any reason is refused, or one line that can be printed."""
        document = {"exceptions": {"a.test": {"use": "may", "reason": reason, "forever": True}}}
        try:
            settings = parse(_yaml(document), "x.yml")
        except ConfigError as error:
            assert str(error).isprintable()
            return
        [exception] = settings.policy_exceptions.values()
        assert exception.reason.isprintable()
        assert exception.reason

    def test_reason_that_would_be_cut(self) -> None:
        """A reason counts as it is shown, with escapes; one that would be cut is an error."""
        assert exceptions("{a.test: {use: may, forever: true, reason: %s}}" % (50 * "\xe9"))
        with pytest.raises(ConfigError, match=r"204 characters, escapes like .xe9 included"):
            exceptions("{a.test: {use: may, forever: true, reason: %s}}" % (51 * "\xe9"))

    @given(st.text(max_size=40))
    def test_any_scope(self, scope: str) -> None:
        """Any key is refused, or a scope."""
        document = {"exceptions": {scope: {"use": "may", "reason": "x", "forever": True}}}
        try:
            settings = parse(_yaml(document), "x.yml")
        except ConfigError as error:
            assert str(error).startswith("x.yml:")
            assert "\n" not in str(error)
            return
        [found] = settings.policy_exceptions
        assert found.isascii()


class TestTrial:
    """The section `trial`, and maps."""

    @pytest.mark.parametrize(
        ("text", "trial"),
        [
            ("trial:", TrialSettings()),
            ("trial: false", TrialSettings(enabled=False)),
            ("trial: true", TrialSettings(enabled=True)),
            ("trial: {enabled: true}", TrialSettings(enabled=True)),
            ("trial: {every: 1h}", TrialSettings(enabled=False, every=3600.0)),
            ("trial: {dane: true}", TrialSettings(enabled=True, dane=True)),
            ("trial: {dane: false}", TrialSettings(enabled=False)),
            ("trial: {dane: true, every: 1m}", TrialSettings(enabled=True, dane=True, every=60.0)),
            ("trial: {enabled: false, dane: true}", TrialSettings(enabled=False, dane=True)),
        ],
    )
    def test_shorthand(self, text: str, trial: TrialSettings) -> None:
        """`true` stands for the section, and to put DANE on trial includes policies."""
        assert parse(text, "x").trial == trial

    @pytest.mark.parametrize(
        ("text", "environ", "trial"),
        [
            ("", {"TRIAL": "true"}, TrialSettings(enabled=True)),
            ("trial: true", {"TRIAL": "false"}, TrialSettings(enabled=False)),
            ("trial: true", {"TRIAL__DANE": "true"}, TrialSettings(enabled=True, dane=True)),
            ("trial: false", {"TRIAL__EVERY": "60"}, TrialSettings(every=60.0)),
            ("trial: {dane: true}", {"TRIAL__DANE": "false"}, TrialSettings()),
            ("", {"TRIAL": "true", "TRIAL__EVERY": "60"}, TrialSettings(enabled=True, every=60.0)),
        ],
    )
    def test_variables(self, text: str, environ: dict[str, str], trial: TrialSettings) -> None:
        """A variable sets a key beside the shorthand of the file, or of another variable."""
        variables = {f"POSTFIX_MTA_STS__{name}": value for name, value in environ.items()}
        assert parse(text, "x", variables).trial == trial

    def test_origins(self) -> None:
        """`check-config --show` names the line of the short form."""
        origins = Origins("\ntrial: true\n", "x.yml", {})
        assert origins.of("trial.enabled") == "x.yml:2"
        origins = Origins("trial:\n  dane: true\n", "x.yml", {})
        assert origins.of("trial.enabled") == "x.yml:2"

    def test_maps(self) -> None:
        """A map is on trial, is not, or has what the section says."""
        maps = parse("maps: {a: {trial: true}, b: {trial: false}, c: {trial: null}}", "x").maps
        assert [maps[name].trial for name in ("a", "b", "c", "postfix")] == [
            True,
            False,
            None,
            None,
        ]


class TestAlerts:
    """The section `alerts`."""

    @pytest.mark.parametrize(
        ("text", "command"),
        [
            ("alerts:", ()),
            ("alerts: {command: null}", ()),
            ("alerts: {command: []}", ()),
            ("alerts: {command: /bin/sh -c 'echo \"$A\"'}", ("/bin/sh", "-c", 'echo "$A"')),
            ("alerts: {command: [/bin/sh, a b, 25]}", ("/bin/sh", "a b", "25")),
            ("alerts: {command: [/bin/echo, '', 1]}", ("/bin/echo", "", "1")),
            ("alerts: {command: '\"/no/such program\" x'}", ("/no/such program", "x")),
        ],
    )
    def test_words(self, text: str, command: tuple[str, ...]) -> None:
        """A command is a list of words, or a text that is split as a shell splits it."""
        assert parse(text, "x").alerts.command == command

    def test_variable(self) -> None:
        """A variable has the same notation."""
        settings = load(None, {"POSTFIX_MTA_STS__ALERTS__COMMAND": "/bin/echo -n x"})
        assert settings.alerts.command == ("/bin/echo", "-n", "x")


def _yaml(document: object) -> str:
    text: str = yaml.safe_dump(document, allow_unicode=True)
    return text
