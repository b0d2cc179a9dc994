"""What may be asked of those who admit machines to the cluster."""

from __future__ import annotations

from typing import Protocol

from csnode.bus.service import Service, callers
from csnode.context import CONTROLLING, HOSTING, NEWCOMER
from csnode.trust.credential import Signed
from csnode.types import Message

PROOF = b"csnode join\0"  # what a newcomer signs begins so


class JoinRequest(Message):
    """What a newcomer says of itself; `proof` is its signature of `said`, by the key `verify`."""

    name: str  # of the machine: its [node] host
    key: str  # Curve25519, public, Z85
    verify: bytes  # Ed25519, public
    proof: bytes
    address: str = ""  # where it will listen
    hosts: int = 1  # simulated ones it plays, its own included
    pool: str = ""  # the name of its local pool; empty: NAME-local

    @property
    def said(self) -> bytes:
        """What `proof` signs."""
        words = (self.name, self.key, self.address, str(self.hosts), self.pool)
        return PROOF + "\0".join(words).encode()


class Renewal(Message):
    """A machine asks for a credential anew: as the old one, or for new keys of its own."""

    name: str
    key: str
    verify: bytes
    good_for: float = 3600.0  # seconds that the key before is still let in
    trusts: tuple[bytes, ...] = ()  # the cluster's keys that it trusts


class Joined(Message):
    """The credential, and whom to trust. `authority` goes to machines that may admit others."""

    signed: Signed
    cluster_keys: tuple[bytes, ...]
    authority: bytes = b""  # Ed25519, secret


class Invitation(Message):
    """What a join token allows; the token's bearer proves to have the secret half of `key`."""

    key: str  # Curve25519, public, Z85
    roles: tuple[str, ...]
    pools: tuple[str, ...] = ()  # names of shared pools
    uses: int = 1
    seconds: float = 3600.0


class Seated(Message):
    """A machine of the cluster, as its row says. Times are seconds since 1970, 0: never."""

    name: str
    roles: tuple[str, ...]
    places: tuple[str, ...]
    address: str
    serial: int
    since: float
    until: float
    evicted: float = 0.0
    rotated_until: float = 0.0  # till then the key before is let in too
    signer: bytes = b""  # the cluster's key that signed its credential


@callers("fabric")
class Membership(Service, Protocol):
    """Who belongs to the cluster. Served by fabric, on machines that have the cluster's key."""

    @callers(NEWCOMER)
    async def join(self, request: JoinRequest) -> Joined:
        """Make the bearer of a token a member; asked again with the same key, it is one.

        Raises Denied (revoked, expired or used token, false proof), Conflict (the name is
        another machine's), Invalid (no name for a machine).
        """
        ...

    @callers(*CONTROLLING, *HOSTING)
    async def renew(self, renewal: Renewal) -> Joined:
        """Renew the credential of the caller's own machine. Denied for another's, or if evicted."""
        ...

    async def invite(self, invitation: Invitation) -> float:
        """Make a token good from now on; answer until when."""
        ...

    async def revoke(self, key: str) -> None:
        """Make the token good for nobody any more. Raises NotFound."""
        ...

    async def evict(self, name: str) -> None:
        """Evict the machine: it belongs no more, and is refused. Raises NotFound, Conflict."""
        ...

    async def allow(self, name: str, roles: tuple[str, ...], pools: tuple[str, ...]) -> None:
        """Let the machine play these roles and serve these shared pools, once it has renewed."""
        ...

    async def seats(self) -> tuple[Seated, ...]:
        """Return every machine, by name."""
        ...

    async def rotate_cluster(self, begin: bool) -> str:
        """Give the cluster a new key; answer how far that is, for people to read.

        All machines trust both keys before any credential is signed with the new one, and the
        old one is dropped once none is left that it signed. Begins nothing while that goes on.
        """
        ...
