"""`postfix-mta-sts policy …`, against a daemon in this process."""

import json
import time

import pytest

from postfix_mta_sts.cli.main import main
from postfix_mta_sts.mtasts.dane import DaneOutcome, Host, HostState, MxState
from postfix_mta_sts.mtasts.domain import Domain, parse_domain
from postfix_mta_sts.mtasts.errors import NoRecordError, StatusError
from postfix_mta_sts.mtasts.policy import parse_policy
from postfix_mta_sts.stats.labels import Part
from postfix_mta_sts.store import LastAsked
from tests.support.control import ControlledDaemon, Operator
from tests.support.resolvers import find_state
from tests.support.surroundings import GOOD, Surroundings, policy

BAD = parse_domain("bad.test")
EVIL = parse_domain("evil.test")


@pytest.fixture
async def daemon() -> ControlledDaemon:
    """A daemon that knows four domains."""
    around = Surroundings()
    around.now = time.time()
    around.publish(GOOD)
    around.publish(EVIL, mode="testing", max_age=86_400)
    text = policy("testing", 86_400).text + "note: \u202e\u009b31m[red]\u00e9\n"
    around.policies[EVIL] = parse_policy(text.encode())
    around.publish(BAD)
    around.policies[BAD] = StatusError("404 Not Found")
    daemon = ControlledDaemon(around)
    for domain in (GOOD, EVIL, BAD, parse_domain("no.test")):
        await find_state(daemon.resolver, domain)
    await around.store.touch(daemon.resolver.usage.take())
    return daemon


class TestList:
    """`policy list`."""

    async def test_for_people(self, operator: Operator) -> None:
        """A header, and a line for each policy."""
        done = await operator.run("policy", "list")
        assert (done.code, done.err) == (0, "")
        header, evil, good = done.rows
        assert header == [
            "DOMAIN", "ANSWER", "MODE", "ID", "FETCHED", "EXPIRES", "ASKED", "TIMES", "FAILURE",
        ]  # fmt: skip
        assert evil[:4] == ["evil.test", "testing", "testing", "a"]
        assert good[:4] == ["good.test", "secure", "enforce", "a"]
        assert good[-1] == "1"

    async def test_for_programs(self, operator: Operator) -> None:
        """`--json` prints one object per line."""
        done = await operator.run("policy", "list", "--json")
        entries = [json.loads(line) for line in done.out.splitlines()]
        assert [entry["domain"] for entry in entries] == ["evil.test", "good.test"]
        assert entries[1]["mx"] == ["mx1.good.test"]

    @pytest.mark.parametrize(
        ("options", "listed"),
        [
            (["--mode", "enforce"], ["good.test"]),
            (["--mode", "none"], []),
            (["--expiring", "2d"], ["evil.test"]),
            (["--expiring", "3600"], []),
            (["--failing"], ["bad.test"]),
            (["--failing", "--mode", "enforce"], []),
        ],
    )
    async def test_filters(self, operator: Operator, options: list[str], listed: list[str]) -> None:
        """Options filter the list; an empty list is not an error."""
        done = await operator.run("policy", "list", *options)
        assert done.code == 0
        assert [row[0] for row in done.rows[1:]] == listed

    async def test_failure(self, operator: Operator) -> None:
        """A failing domain is listed with the code of its error, with or without a policy."""
        done = await operator.run("policy", "list", "--failing")
        assert done.rows[1][0] == "bad.test"
        assert done.rows[1][-1] == "status"

    async def test_long_list(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """A list of several pages has one header, and every row."""
        for n in range(1_200):
            daemon.around.publish(domain := parse_domain(f"d{n:04}.test"))
            await find_state(daemon.resolver, domain)
        done = await operator.run("policy", "list", "--mode", "enforce")
        domains = [row[0] for row in done.rows]
        assert domains == ["DOMAIN", *(f"d{n:04}.test" for n in range(1_200)), "good.test"]

    async def test_incomplete(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """An incomplete list is an error."""
        daemon.not_working.add(Part.STORE_READING)
        done = await operator.run("policy", "list")
        assert done.code == 2
        assert "not complete" in done.err

    @pytest.mark.parametrize("word", ["soon", "-1", "", "1w"])
    async def test_invalid_time(self, word: str, capsys: pytest.CaptureFixture[str]) -> None:
        """A wrong time is refused before the daemon is asked."""
        with pytest.raises(SystemExit) as end:
            main(["policy", "list", f"--expiring={word}"])
        assert end.value.code == 2
        assert "not a number of seconds" in capsys.readouterr().err


class TestAskedSince:
    """`policy list --asked-since TIME`."""

    async def test_sums(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """Look-ups of the last days have their column, and are added up by answer."""
        now = daemon.around.now
        await daemon.around.store.touch({GOOD: LastAsked(now - 5 * 86_400, 1_233)})
        daemon.resolver.usage.note(GOOD, 1, now)
        done = await operator.run("policy", "list", "--asked-since", "7d")
        header, evil, good, blank, title, *sums = done.rows
        assert (header[7], evil[-1], good[-1], blank) == ("TIMES", "1", "1235", [])
        day = time.strftime("%Y-%m-%d", time.gmtime(now - 7 * 86_400))
        assert title[:4] == ["look-ups", "since", day, "00:00Z,"]
        assert sums == [
            ["testing", "1", "domain,", "1", "look-up"],
            ["secure", "1", "domain,", "1,235", "look-ups"],
        ]
        done = await operator.run("policy", "list", "--asked-since", "1h", "--mode", "enforce")
        assert done.rows[1][-1] in {"1", "2"}  # an hour ago may have been yesterday

    async def test_nothing(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """A list without a domain has no sums."""
        daemon.around.now += 60
        done = await operator.run("policy", "list", "--asked-since", "30s")
        assert done.out == "no policy matches\n"

    async def test_for_programs(self, operator: Operator) -> None:
        """`--json` prints one object per line, and no sums."""
        done = await operator.run("policy", "list", "--asked-since", "1d", "--json")
        entries = [json.loads(line) for line in done.out.splitlines()]
        assert [sum(entry["asked_days"].values()) for entry in entries] == [1, 1]

    @pytest.mark.parametrize("word", ["8d", "soon", "-1", ""])
    async def test_invalid_time(self, word: str, capsys: pytest.CaptureFixture[str]) -> None:
        """More than what is counted is refused, with the limit."""
        with pytest.raises(SystemExit) as end:
            main(["policy", "list", f"--asked-since={word}"])
        assert end.value.code == 2
        assert "longer than 7d" in capsys.readouterr().err


class TestShow:
    """`policy show DOMAIN`."""

    async def test_policy(self, operator: Operator) -> None:
        """Every fact has a line, and the history a table; the domain may be in any spelling."""
        done = await operator.run("policy", "show", "GOOD.Test.")
        assert (done.code, done.err) == (0, "")
        assert done.out.startswith("good.test\n")
        for row in (["mode", "enforce"], ["id", "a"], ["mx", "mx1.good.test"]):
            assert row in done.rows
        assert ["text", "mode:", "enforce"] in done.rows
        assert ["asked", "for", "once,", "last"] in [row[:4] for row in done.rows]
        assert ["ACCEPTED", "LAST", "FETCHED", "MODE", "ID", "MX"] in done.rows
        assert done.rows[-1][-3:] == ["enforce", "a", "mx1.good.test"]

    async def test_for_programs(self, operator: Operator) -> None:
        """`--json` prints one object."""
        done = await operator.run("policy", "show", "good.test", "--json")
        assert done.json["policy"]["text"].startswith("version: STSv1")

    async def test_network_text(self, operator: Operator) -> None:
        """Text from a Policy Host cannot move the cursor, hide text, or be markup."""
        done = await operator.run("policy", "show", "evil.test")
        assert done.out.isascii()
        assert [c for c in done.out if not c.isprintable() and c != "\n"] == []
        assert "note: \\u202e\\x9b31m[red]\\xe9" in done.out

    async def test_failure(self, operator: Operator) -> None:
        """Without a policy the reason is shown, and the time of the next attempt."""
        done = await operator.run("policy", "show", "bad.test")
        assert done.code == 0
        text = [" ".join(row) for row in done.rows]
        assert "policy none" in text
        assert "failure status (https): 404 Not Found" in text
        assert any(line.startswith("back-off next attempt for id a in ") for line in text)

    async def test_dane(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """The DANE verdict, each MX host, and the error of the last look-up are shown."""
        host = Host("mx1.good.test", HostState.USABLE, "TLSA: 1 found, signed, 1 usable")
        found = DaneOutcome(MxState.SECURE, "MX: 1 found, signed", (host,), 7200)

        async def dane_lookup(_: Domain, _on_progress: object) -> DaneOutcome:
            return found

        daemon.resolver.use_dane(dane_lookup)
        await daemon.resolver.refresh(GOOD)
        found = DaneOutcome(MxState.FAILED, "no answer")
        await daemon.resolver.refresh(GOOD)
        done = await operator.run("policy", "show", "good.test")
        at = done.rows.index(["DANE", "all:", "TLSA:", "1", "found,", "signed,", "1", "usable"])
        host_row, lifetime, failure = done.rows[at + 1 : at + 4]
        assert host_row == f"MX host mx1.good.test usable: {host.step}".split()
        assert (lifetime[0], lifetime[3:5]) == ("found", ["valid", "until"])
        assert failure == ["last", "look-up", "failed:", "no", "answer"]

    async def test_expired(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """An expired policy is marked as expired."""
        daemon.around.now += 8 * 86_400
        done = await operator.run("policy", "show", "good.test")
        assert ["mode", "enforce,", "expired"] in done.rows

    async def test_unknown(self, operator: Operator) -> None:
        """A domain that was never looked up is not known; exit code 1."""
        done = await operator.run("policy", "show", "never.test")
        assert done.code == 1
        assert done.out.startswith("never.test\nnot known: ")

    async def test_invalid_domain(self, operator: Operator) -> None:
        """An invalid domain is an error; exit code 2."""
        done = await operator.run("policy", "show", "[192.0.2.1]")
        assert done.code == 2
        assert done.err.startswith("postfix-mta-sts: not a domain name")


class TestRefresh:
    """`policy refresh DOMAIN`."""

    async def test_fetched(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """The policy is fetched before it is due; exit code 0."""
        daemon.around.publish(GOOD, mode="none")
        done = await operator.run("policy", "refresh", "good.test")
        assert (done.code, done.rows[-1]) == (0, ["policy", "fetched"])
        assert ["mode", "none"] in done.rows
        assert daemon.around.gets[GOOD] == 2

    async def test_no_policy(self, operator: Operator) -> None:
        """For a domain without a policy the exit code is 1."""
        done = await operator.run("policy", "refresh", "no.test")
        assert (done.code, done.out.splitlines()[-1]) == (1, "the domain has no policy")

    async def test_failed(self, operator: Operator) -> None:
        """If the fetch fails, the reason is printed; exit code 2."""
        done = await operator.run("policy", "refresh", "bad.test")
        assert (done.code, done.out.splitlines()[-1]) == (2, "no policy fetched")
        assert "404 Not Found" in done.out

    async def test_failed_with_a_policy(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """If the fetch fails, the last line says that the stored policy stays in force."""
        daemon.around.records[GOOD] = NoRecordError("NXDOMAIN")
        daemon.around.policies[GOOD] = StatusError("503")
        done = await operator.run("policy", "refresh", "good.test")
        assert done.code == 2
        assert done.out.splitlines()[-1] == "no policy fetched; the stored policy stays in force"


class TestForget:
    """`policy forget DOMAIN`."""

    async def test_forgotten(self, operator: Operator) -> None:
        """The domain is forgotten; a second time it is not known."""
        done = await operator.run("policy", "forget", "good.test")
        assert (done.code, done.out) == (0, "good.test: forgotten\n")
        done = await operator.run("policy", "forget", "good.test")
        assert (done.code, done.out) == (1, "good.test: was not known\n")

    async def test_unwritable_store(self, daemon: ControlledDaemon, operator: Operator) -> None:
        """A domain that stays in the store is not called forgotten."""
        daemon.not_working.add(Part.STORE_WRITING)
        done = await operator.run("policy", "forget", "good.test")
        assert done.code == 2
        assert "still in the store" in done.err
