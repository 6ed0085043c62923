"""Writes rows of the shared store as an attacker would, also one who has stolen the fleet's key."""

from postfix_mta_sts.mtasts.domain import Domain
from postfix_mta_sts.store.fleet.bodies import policy_body
from postfix_mta_sts.store.fleet.engine import Kind, Name
from postfix_mta_sts.store.fleet.envelope import seal
from postfix_mta_sts.store.fleet.keys import Keyring
from tests.fleet.stores import PREFIX, SharedStore
from tests.support.policy_host import policy_text


class Forger:
    """Writes rows of one domain as an attacker would; `now` is the time of the store."""

    def __init__(self, store: SharedStore, domain: str, now: int) -> None:
        self.name = Name(Kind.POLICY, domain)
        self.now = now
        self._keyring = store.keyring

    def body(self, text: bytes | None = None, policy_id: str = "id1", by: str = "forger") -> bytes:
        """A body; the policy is an ordinary one unless there is a text."""
        domain = self.name.key
        text = policy_text(mx=[f"mx1.{domain}"]) if text is None else text
        return policy_body(Domain(domain), text.decode(), policy_id, by)

    def signed(self, body: bytes | None = None, order: int | None = None) -> bytes:
        """A record that is signed with the key of the fleet, as by a relay that was broken into."""
        body = self.body() if body is None else body
        return seal(PREFIX, self.name, order or self.now, body, self._keyring)

    def policy(self, *mx: str) -> bytes:
        """The same, of a policy with these mx."""
        return self.signed(self.body(policy_text(mx=mx)))

    def with_key(self, keyring: Keyring | None) -> bytes:
        """A record that is signed with another key, or not at all."""
        return seal(PREFIX, self.name, self.now, self.body(), keyring)

    def of(self, name: Name) -> bytes:
        """A record that was made for another name."""
        return seal(PREFIX, name, self.now, self.body(), self._keyring)
