"""Exceptions, checks and the relays themselves, as the fleet shares them."""

from collections.abc import Sequence

import pytest

from postfix_mta_sts.mtasts.check import Check, CheckResult
from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.mtasts.exceptions import PolicyException
from postfix_mta_sts.store.fleet import administration
from postfix_mta_sts.store.fleet.engine import DOCUMENT, Kind, Name
from postfix_mta_sts.store.fleet.envelope import HEADER_BYTES, seal
from postfix_mta_sts.store.fleet.keys import Keyring
from postfix_mta_sts.store.fleet.requests import (
    Announce,
    Checks,
    Document,
    Done,
    Due,
    FindDue,
    OfferCheck,
    OtherFleet,
    ReadChecks,
    ReadExceptions,
    ReadRelays,
    RelayReport,
    Relays,
    WriteExceptions,
)
from postfix_mta_sts.values import replace
from tests.support.exceptions import exception
from tests.support.fleet_clients import KEYS, OTHER_KEYS, SETTINGS, Relay, fleet

SOME = (exception("good.test"), exception("*.other.test"))
LESS = SOME[:1]


async def document(relay: Relay, above: int = 0) -> Document:
    """The document of exceptions, of a store that works; the relay remembers its digest."""
    answer = await relay.ask(ReadExceptions(above, relay.digest))
    assert isinstance(answer, Document), answer
    relay.digest = answer.digest
    return replace(answer, digest="")


def written(
    version: int, exceptions: Sequence[PolicyException], keys: Keyring = KEYS
) -> WriteExceptions:
    """The request of a relay that has these keys."""
    fleet = replace(SETTINGS, keyring=keys).fleet
    return WriteExceptions(version, tuple(exceptions), fleet)


class TestExceptions:
    """One document, whose version only grows."""

    async def test_written_and_read(self) -> None:
        """Another relay reads what one has written, if it does not have it yet."""
        async with fleet() as world:
            one, other = world.join("mx1"), world.join("mx2", ahead=1e6)
            assert await document(other) == Document(0, None)
            assert await one.ask(written(7, SOME)) == Done()
            assert await document(other) == Document(7, SOME, "mx1")
            assert await document(other, above=6) == Document(7, SOME, "mx1")
            assert await document(other, above=7) == Document(7, None)
            assert await document(other, above=8) == Document(7, None)

    async def test_only_a_higher_version_is_kept(self) -> None:
        """A relay that has read an older one is told, and reads again."""
        async with fleet() as world:
            one, other = world.join("mx1"), world.join("mx2")
            assert await one.ask(written(7, SOME)) == Done()
            for version in (6, 7):
                assert await other.ask(written(version, LESS)) == Done(is_kept=False)
            assert await other.ask(written(8, ())) == Done()
            assert await document(one) == Document(8, (), "mx2")

    async def test_it_stays(self) -> None:
        """The document has no end that anybody would notice."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(1, SOME))
            await world.time.advance(5 * 365 * 86_400.0)
            assert (await document(relay)).version == 1

    @pytest.mark.parametrize("keys", [None, OTHER_KEYS])
    async def test_a_document_that_is_not_ours(self, keys: Keyring | None) -> None:
        """It is as though there were none."""
        async with fleet() as world:
            world.database.damage(DOCUMENT, seal("mta_sts", DOCUMENT, 5, b"x", keys))
            assert await document(world.join()) == Document(0, None)

    async def test_an_unsigned_one_does_not_stay(self) -> None:
        """What no relay can have written does not stand in the way of a version."""
        async with fleet() as world:
            relay = world.join()
            world.database.damage(DOCUMENT, seal("mta_sts", DOCUMENT, 2**53 - 1, b"x", None))
            assert await relay.ask(written(1, SOME)) == Done()
            assert (await document(relay)).version == 1

    async def test_two_relays_replace_one_that_is_invalid(self) -> None:
        """The slower one does not remove what the faster one has put there meanwhile."""
        async with fleet() as world:
            one, other = world.join("mx1"), world.join("mx2")
            world.database.damage(DOCUMENT, seal("mta_sts", DOCUMENT, 2**53 - 1, b"x", None))
            obey = world.database.obey

            async def late(call: str) -> None:
                if call == "discard":
                    world.database.obey = obey  # type: ignore[method-assign]
                    assert await one.ask(written(9, SOME)) == Done()
                await obey(call)

            world.database.obey = late  # type: ignore[method-assign]
            assert await other.ask(written(8, LESS)) == Done(is_kept=False)
            assert await document(one) == Document(9, SOME, "mx1")

    async def test_one_that_expires_at_the_same_moment(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is not there any more, which is neither refused nor logged."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(9, SOME))
            world.called()
            obey = world.database.obey

            async def late(call: str) -> None:
                if call == "read" and world.database.calls[-1:] == ["put"]:
                    world.database.obey = obey  # type: ignore[method-assign]
                    world.database.entries.clear()
                await obey(call)

            world.database.obey = late  # type: ignore[method-assign]
            assert await relay.ask(written(8, LESS)) == Done()
            assert await document(relay) == Document(8, LESS, "mx1")
            assert caplog.messages == []

    async def test_one_with_a_new_key_stays(self) -> None:
        """A relay that does not have the new key yet does not undo what others have decided."""
        async with fleet() as world:
            old, new = world.join("mx1"), world.join("mx2", keys=OTHER_KEYS)
            await new.ask(written(9, SOME, OTHER_KEYS))
            assert await old.ask(written(2, LESS)) == Done(is_kept=False)
            assert (await document(new)).version == 9

    @pytest.mark.parametrize("version", [1, 9, 1_000_000])
    async def test_one_of_a_later_version_of_the_program_stays(self, version: int) -> None:
        """A relay that is not upgraded yet ignores it, and does not write over it."""
        async with fleet() as world:
            relay = world.join()
            later = seal("mta_sts", DOCUMENT, version, b"new", KEYS).replace(b" 1 ", b" 2 ", 1)
            world.database.damage(DOCUMENT, later)
            assert await document(relay) == Document(0, None)
            assert await relay.ask(written(1, SOME)) == Done(is_kept=False)
            assert world.database.record(DOCUMENT) == later

    async def test_one_with_the_key_that_does_not_sign(self) -> None:
        """A relay with two keys is told that the document has the other one, also of a header."""
        both = Keyring({**OTHER_KEYS.keys, **KEYS.keys})
        async with fleet() as world:
            old, new = world.join("mx1"), world.join("mx2", keys=both)
            await old.ask(written(3, SOME))
            assert await document(old) == Document(3, SOME, "mx1")
            assert await document(new) == Document(3, SOME, "mx1", by_other_key=True)
            for _ in range(2):
                assert await document(new, 3) == Document(3, None, by_other_key=True)
            await new.ask(written(4, SOME, both))
            await document(new)
            assert await document(new, 4) == Document(4, None)

    async def test_a_version_that_nobody_can_have_reached(self) -> None:
        """A document that claims a version far ahead, with whatever key, is replaced."""
        async with fleet() as world:
            relay = world.join()
            record = seal("mta_sts", DOCUMENT, 2**53 - 1, b"x", OTHER_KEYS)
            world.database.damage(DOCUMENT, record)
            assert await relay.ask(written(3, SOME)) == Done()
            assert (await document(relay)).version == 3


class TestPolls:
    """What a relay transfers that asks every two seconds for the document that it has."""

    async def test_the_header_is_enough(self) -> None:
        """After the document was verified once, a minute of polls transfers a header each."""
        async with fleet() as world:
            relay = world.join()
            assert await relay.ask(written(3, SOME)) == Done()
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            world.database.transferred = 0
            for _ in range(20):
                assert await document(relay, 3) == Document(3, None)
            assert world.database.transferred <= 20 * HEADER_BYTES

    async def test_a_newer_and_an_older_one_are_seen_at_once(self) -> None:
        """Whatever has another header is read as a whole."""
        async with fleet() as world:
            relay, other = world.join("mx1"), world.join("mx2")
            await other.ask(written(3, SOME))
            old = world.database.entries[DOCUMENT].record
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            await other.ask(written(4, LESS))
            assert await document(relay, 3) == Document(4, LESS, "mx2")
            assert await document(relay, 4) == Document(4, None)
            world.database.damage(DOCUMENT, old)
            assert await document(relay, 4) == Document(3, None)
            del world.database.entries[DOCUMENT]
            assert await document(relay, 4) == Document(0, None)

    async def test_a_relay_that_needs_the_content(self) -> None:
        """One that asks for the version that it has seen once more gets it."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(3, SOME))
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            assert await document(relay, 2) == Document(3, SOME, "mx1")

    async def test_a_header_with_another_signature(self) -> None:
        """The version alone, which anybody can write, says nothing."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(3, SOME))
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            world.database.damage(DOCUMENT, seal("mta_sts", DOCUMENT, 3, b"x", OTHER_KEYS))
            assert await document(relay, 3) == Document(0, None)

    async def test_a_content_that_was_damaged_under_its_header(self) -> None:
        """It is noticed within a minute, and as though it were not there from then on."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(3, SOME))
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            record = world.database.entries[DOCUMENT].record
            world.database.damage(DOCUMENT, record[:-1] + b"?")
            await world.time.advance(administration.VERIFIED_FOR)
            for _ in range(3):
                assert await document(relay, 3) == Document(0, None)

    async def test_another_one_with_the_same_version(self) -> None:
        """A store that was switched to a replica may have one: a relay gets it, once."""
        async with fleet() as world:
            relay, other = world.join("mx1"), world.join("mx2")
            await relay.ask(written(3, SOME))
            await document(relay)
            assert await document(relay, 3) == Document(3, None)
            del world.database.entries[DOCUMENT]
            await other.ask(written(3, LESS))
            assert await document(relay, 3) == Document(3, LESS, "mx2")
            assert await document(relay, 3) == Document(3, None)

    async def test_an_answer_that_was_lost(self) -> None:
        """A relay that did not get a document gets it the next time, although it was read."""
        async with fleet() as world:
            relay, other = world.join("mx1"), world.join("mx2")
            await other.ask(written(3, SOME))
            await relay.ask(ReadExceptions(3))
            assert await document(relay, 3) == Document(3, SOME, "mx2")


class TestOtherFleets:
    """A reload gives the network process the keys of another fleet before the daemon has them."""

    async def test_a_request_of_another_fleet(self) -> None:
        """It neither reads nor writes the document of this one."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(written(3, SOME))
            others = replace(SETTINGS, prefix="other").fleet, replace(SETTINGS, keyring=None).fleet
            world.called()
            for other in (*others, replace(SETTINGS, keyring=OTHER_KEYS).fleet):
                assert await relay.ask(ReadExceptions(0, "", other)) == OtherFleet()
                assert await relay.ask(WriteExceptions(9, (), other)) == OtherFleet()
            assert world.called() == []
            assert await document(relay) == Document(3, SOME, "mx1")


def checked(relay_time: float, domain: str = "good.test", lasted: float = 50.0) -> Check:
    """A check that was made then."""
    return Check(
        Domain(domain),
        CheckResult.HELD,
        "it is held",
        "x509",
        "theirs",
        "id1",
        relay_time,
        relay_time - lasted,
    )


async def checks(relay: Relay, after: str = "", limit: int = 100) -> Checks:
    """A page of checks, of a store that works."""
    answer = await relay.ask(ReadChecks(after, limit))
    assert isinstance(answer, Checks), answer
    return answer


class TestChecks:
    """The last check of each domain, made by any relay."""

    async def test_times_are_those_of_the_reader(self) -> None:
        """Each relay sees when a check was made by its own clock."""
        async with fleet() as world:
            one, other = world.join("mx1"), world.join("mx2", ahead=1000.0)
            start = world.time.monotonic()
            assert await one.ask(OfferCheck(checked(start - 10.0))) == Done()
            await world.time.advance(5.0)
            (found,) = (await checks(other)).checks
            assert found.checked_at == pytest.approx(start + 1000.0 - 10.0, abs=0.001)
            assert found.since == pytest.approx(start + 1000.0 - 60.0, abs=0.001)
            assert found.sentence == "it is held"

    async def test_the_latest_is_kept(self) -> None:
        """By the clock of the store, whatever the clocks of the relays say."""
        async with fleet() as world:
            one, other = world.join("mx1"), world.join("mx2", ahead=-1000.0)
            now = world.time.monotonic()
            assert await one.ask(OfferCheck(checked(now - 10.0))) == Done()
            assert await other.ask(OfferCheck(checked(now - 1011.0))) == Done(is_kept=False)
            assert await other.ask(OfferCheck(checked(now - 1009.0))) == Done()

    async def test_pages(self) -> None:
        """All checks come, in order of the domains, on pages that are not too large."""
        async with fleet() as world:
            relay = world.join()
            names = [f"d{number}.test" for number in range(10)]
            for name in names:
                await relay.ask(OfferCheck(checked(world.time.monotonic() - 1.0, name)))
            found: list[str] = []
            page = await checks(relay, limit=4)
            while page.last:
                found += [each.domain for each in page.checks]
                page = await checks(relay, page.last, 4)
            assert found == names
            assert page == Checks((), "")

    async def test_a_page_of_garbage_is_not_the_last(self) -> None:
        """Refused checks are left out, and the pages after them are still found."""
        async with fleet() as world:
            relay = world.join()
            for number in range(4):
                world.database.damage(Name(Kind.CHECK, f"a{number}.test\n\0"), b"garbage")
            await relay.ask(OfferCheck(checked(world.time.monotonic() - 1.0)))
            page = await checks(relay, limit=4)
            assert page.checks == ()
            assert [each.domain for each in (await checks(relay, page.last)).checks] == [
                "good.test"
            ]


class TestRelays:
    """What each relay says of itself."""

    async def test_announced(self) -> None:
        """All relays are shown by name, with what each has said and when."""
        async with fleet() as world:
            two, one = world.join("mx2", ahead=500.0), world.join("mx1")
            assert await two.ask(Announce(RelayReport("1.0", 5, 0, 3))) == Done()
            await world.time.advance(7.0)
            assert await one.ask(Announce(RelayReport("1.1", 6, 1, 3))) == Done()
            answer = await two.ask(ReadRelays())
            assert isinstance(answer, Relays)
            assert [(each.name, each.report.version) for each in answer.relays] == [
                ("mx1", "1.1"),
                ("mx2", "1.0"),
            ]
            assert [each.seen_ago for each in answer.relays] == [0.0, pytest.approx(7.0)]

    async def test_one_that_has_gone(self) -> None:
        """A relay is shown for a week."""
        async with fleet() as world:
            relay = world.join()
            await relay.ask(Announce(RelayReport("1.0", 5, 0, 3)))
            await world.time.advance(6 * 86_400.0)
            assert await count(relay) == 1
            await world.time.advance(2 * 86_400.0)
            assert await count(relay) == 0

    async def test_a_name_that_another_has_taken(self) -> None:
        """Nobody without the key takes the place of a relay, nor hides it for good."""
        async with fleet() as world:
            relay = world.join()
            name = Name(Kind.RELAY, "mx1")
            world.database.damage(name, seal("mta_sts", name, 2**53 - 1, b"x", None))
            assert await relay.ask(ReadRelays()) == Relays((), refused=1)
            assert await relay.ask(Announce(RelayReport("1.0", 5, 0, 3))) == Done()
            assert await count(relay) == 1


async def count(relay: Relay) -> int:
    """How many relays are shown."""
    answer = await relay.ask(ReadRelays())
    assert isinstance(answer, Relays)
    return len(answer.relays)


class TestUses:
    """When domains were asked for, and what is due."""

    async def test_hostile_domains(self) -> None:
        """What is no domain is not handed on: the index of a store is not signed."""
        async with fleet() as world:
            relay, now = world.join(), world.database.now
            for text in ("good.test", "UPPER.test", "a b", "x\n", "{}", "127.0.0.1", ""):
                world.database.asked[Domain(text)] = now
                world.database.due[Domain(text)] = now - 1
            assert await relay.ask(FindDue(60.0, 100)) == Due((Domain("good.test"),))


async def test_an_empty_store() -> None:
    """A store with nothing in it gives nothing, and no error."""
    async with fleet() as empty:
        relay = empty.join()
        assert await checks(relay) == Checks((), "")
        assert await count(relay) == 0
        assert await relay.ask(FindDue(60.0, 100)) == Due(())
