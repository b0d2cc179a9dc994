"""Who belongs to the cluster: machines with their credentials, and tokens to join by."""

from __future__ import annotations

from typing import Annotated, ClassVar

from csnode.model.entity import Entity, Key, Was
from csnode.model.owner import Operators, Ownership


class Seat(Entity):
    """A machine of the cluster; id: its name. It goes when the machine is removed for good.

    `signed` is its credential as csnode.trust reads it, in Base64; it holds no secret. A machine
    that was evicted keeps its row, or its credential would be good again.
    """

    kind: ClassVar[str] = "seat"
    owned_by: ClassVar[Ownership] = Operators()

    roles: tuple[str, ...]  # that it may play
    places: Annotated[tuple[str, ...], Was(to="")] = ()  # HostIds and PoolIds that it may speak for
    key: Annotated[str, Key(unique=True)]  # public, of its connections; Z85
    before: str = ""  # the key it had until it was rotated: still let in until `before_until`
    before_until: float = 0.0
    serial: int = 1  # grows with every credential it gets
    signed: str = ""
    address: str = ""
    since: float = 0.0
    until: float = 0.0
    evicted: float = 0.0  # when; 0: it belongs
    out: int = 0  # credentials up to this serial are refused
    before_serial: int = 0  # and up to this one, once the time of `before` is over
    trusts: tuple[str, ...] = ()  # the cluster's keys that it said to trust, hex
    statement: str = ""  # the cluster's keys as this machine proclaims them, signed; Base64

    def out_at(self, moment: float) -> int:
        """Return the serial up to which credentials of the machine are refused then."""
        late = bool(self.before) and moment > self.before_until
        return max(self.out, self.before_serial if late else 0)


class Invite(Entity):
    """What a join token allows; id: the public key that its bearer proves to have, Z85."""

    kind: ClassVar[str] = "invite"
    owned_by: ClassVar[Ownership] = Operators()

    roles: tuple[str, ...]
    pools: tuple[str, ...] = ()  # names of shared pools that the machine may serve
    uses: int = 1  # machines that may still join with it
    used_by: tuple[str, ...] = ()
    until: float = 0.0
    by: str = ""
    created: float = 0.0
