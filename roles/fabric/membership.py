"""Membership: who belongs to the cluster, as rows; and the credentials that say so.

Every change is one commit, at the revision that was read: a token is used as often as it says,
whoever asks at once, and of two machines that want one name one gets it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec.structs import replace

from csnode.clock import wall
from csnode.config import NodeConfig
from csnode.context import CONTROLLING, HOSTING, NEWCOMER, proved
from csnode.contracts.membership import (
    Invitation,
    Joined,
    JoinRequest,
    Membership,
    Renewal,
    Seated,
)
from csnode.data.store import Store
from csnode.directory.allowed import is_address
from csnode.faults import Conflict, Denied, Invalid, NotFound, Stale, Unavailable
from csnode.log import logger
from csnode.model.membership import Invite, Seat
from csnode.trust.credential import Credential, Signed, signed
from csnode.trust.files import un_z85, z85
from csnode.trust.trust import Trust
from roles.fabric.sealed import packed, unpacked
from roles.fabric.succession import Successor

EARLY_S = 300.0  # clocks of machines differ
HOSTS_MAX = 10_000
RESERVED = CONTROLLING | HOSTING | {NEWCOMER, "shared"}
"""No names for machines: who is named like a role might speak as one, and the ids of shared pools
are made like those of the pools of a machine of that name.
"""
GOOD_FOR_MAX_S = 30 * 86400.0
TRUSTS_MAX = 16
KEY_CHARACTERS = 40  # of a Curve25519 key in Z85
TRIES = 5  # of a commit whose rows moved on meanwhile
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,62}")
log = logger("fabric")


class Registry(Membership):
    """Serves the contract on a machine that has the cluster's key."""

    def __init__(self, store: Store, node: NodeConfig, trust: Trust, lifetime_s: float) -> None:
        self._store, self._node, self._trust = store, node, trust
        self._lifetime_s = lifetime_s
        self.successor = Successor(store, trust)

    async def sow(self) -> None:
        """Make the row of our own machine, whose credential was made before there was any row."""
        own = self._trust.credential
        try:
            await self._store.get(Seat, own.name)
        except NotFound:
            change = self._store.change()
            change.create(_seat(own, self._trust.signed, "", wall()))
            await change.commit()
            log.info("the first machine belongs", name=own.name)

    # -- the contract --------------------------------------------------------------------------

    async def join(self, request: JoinRequest) -> Joined:
        who = proved()
        if who is None or NEWCOMER not in who.roles:
            raise Denied("a join token's key is needed to join")
        _check_request(request)
        for _ in range(TRIES):
            try:
                return await self._join(who.name, request)
            except Stale:
                continue
        raise Unavailable("too many join at once; try again")

    async def _join(self, token: str, request: JoinRequest) -> Joined:
        invite = await self._invite(token)
        seat = await self._seat(request.name)
        if seat is not None and seat.key == request.key and not seat.evicted:
            if request.name not in invite.used_by:
                raise Conflict(f"{request.name} belongs to the cluster already")
            return self._joined(seat)  # the first answer was lost
        if seat is not None and not seat.evicted:
            raise Conflict(
                f"a machine called {request.name} belongs to the cluster;"
                f" `csnode node evict {request.name}` frees its name"
            )
        if invite.uses < 1:
            raise _denied(request.name, "the join token was used already")
        row = await self._admitted(request, invite, seat)
        change = self._store.change()
        change.update(
            Invite,
            invite.id,
            revision=invite.revision,
            uses=invite.uses - 1,
            used_by=(*invite.used_by, request.name),
        )
        if seat is None:
            change.create(row)
        else:
            change.update(Seat, seat.id, revision=seat.revision, **_columns(row))
        await change.commit()
        log.info("a machine joined", name=row.id, roles=row.roles, address=row.address)
        return self._joined(row)

    async def _admitted(self, request: JoinRequest, invite: Invite, before: Seat | None) -> Seat:
        """Make the newcomer's row. Raises Conflict if a place of it is another machine's."""
        node = replace(self._node, host=request.name)
        places = node.places(request.hosts, request.pool, invite.pools)
        own = set(places[: 2 * request.hosts])
        for other in await self._store.find(Seat):
            if other.id != request.name and not own.isdisjoint(other.places):
                raise Conflict(f"{request.name} would speak for hosts or pools of {other.id}")
            _check_not_of(other, request.name, request.key)
        credential = self._credential(
            request.name, invite.roles, places, request.key, request.verify,
            before.serial + 1 if before else 1,
        )  # fmt: skip
        row = _seat(credential, self._signed(credential), request.address, wall())
        return replace(row, out=before.serial) if before else row

    async def renew(self, renewal: Renewal) -> Joined:
        who = proved()
        if who is not None and who.name != renewal.name:
            raise _denied(who.name, f"the credential of {renewal.name} is not its own")
        _check_renewal(renewal)
        for _ in range(TRIES):
            seat = await self._seat(renewal.name)
            if seat is None or seat.evicted:
                raise _denied(renewal.name, "it does not belong to the cluster")
            try:
                return self._joined(await self._renewed(seat, renewal))
            except Stale:
                continue
        raise Unavailable("too many renew at once; try again")

    async def _renewed(self, seat: Seat, renewal: Renewal) -> Seat:
        credential = self._credential(
            seat.id, seat.roles, seat.places, renewal.key, renewal.verify, seat.serial + 1
        )
        trusts = tuple(key.hex() for key in renewal.trusts)
        made = _seat(credential, self._signed(credential), seat.address, seat.since)
        row = replace(
            made, out=seat.out, trusts=trusts or seat.trusts, statement=seat.statement,
            before=seat.before, before_until=seat.before_until, before_serial=seat.before_serial,
        )  # fmt: skip
        if renewal.key != seat.key:
            for other in await self._store.find(Seat):
                _check_not_of(other, seat.id, renewal.key)
            row = replace(
                row, before=seat.key, before_until=wall() + renewal.good_for,
                before_serial=seat.serial,
            )  # fmt: skip
            log.info("a machine has a new key", name=seat.id, before_until=row.before_until)
        change = self._store.change()
        change.update(Seat, seat.id, revision=seat.revision, **_columns(row))
        await change.commit()
        return row

    async def invite(self, invitation: Invitation) -> float:
        _check_roles(invitation.roles)
        if invitation.uses < 1 or invitation.seconds <= 0:
            raise Invalid("a token must be good for one machine at least, and for a while")
        who = proved()
        row = Invite(
            id=invitation.key,
            roles=invitation.roles,
            pools=invitation.pools,
            uses=invitation.uses,
            until=wall() + invitation.seconds,
            by=who.name if who else self._node.host_name,
            created=wall(),
        )
        change = self._store.change()
        change.create(row)
        await change.commit()
        self._trust.roll.expect(row.id, row.id, row.until)  # others hear of it by their muster
        return row.until

    async def revoke(self, key: str) -> None:
        await self._store.get(Invite, key)
        change = self._store.change()
        change.delete(Invite, key)
        await change.commit()
        self._trust.roll.forget(key)

    async def evict(self, name: str) -> None:
        if name == self._trust.credential.name:
            raise Conflict(f"{name} cannot evict itself; do it from another machine")
        for _ in range(TRIES):
            seat = await self._seat(name)
            if seat is None:
                raise NotFound(f"no machine called {name} belongs to the cluster")
            change = self._store.change()
            at = seat.evicted or wall()
            change.update(Seat, name, revision=seat.revision, evicted=at, out=seat.serial)
            try:
                await change.commit()
            except Stale:
                continue
            self._trust.roll.put_out(name, seat.serial)
            log.warning("a machine was evicted", name=name, serial=seat.serial)
            return
        raise Unavailable(f"the row of {name} changes all the time; try again")

    async def allow(self, name: str, roles: tuple[str, ...], pools: tuple[str, ...]) -> None:
        _check_roles(roles)
        seat = await self._seat(name)
        if seat is None or seat.evicted:
            raise NotFound(f"no machine called {name} belongs to the cluster")
        shared = (self._node.shared_pool(pool) for pool in pools)
        places = tuple(dict.fromkeys((*seat.places, *shared)))
        change = self._store.change()
        change.update(Seat, name, revision=seat.revision, roles=roles, places=places)
        await change.commit()

    async def seats(self) -> tuple[Seated, ...]:
        rows = sorted(await self._store.find(Seat), key=lambda seat: seat.id)
        return tuple(
            Seated(
                name=row.id, roles=row.roles, places=row.places, address=row.address,
                serial=row.serial, since=row.since, until=row.until, evicted=row.evicted,
                rotated_until=row.before_until, signer=unpacked(row.signed).signer,
            )
            for row in rows
        )  # fmt: skip

    async def rotate_cluster(self, begin: bool) -> str:
        return await self.successor.rotate(begin)

    # -- what it is made of --------------------------------------------------------------------

    async def _invite(self, token: str) -> Invite:
        try:
            invite = await self._store.get(Invite, token)
        except NotFound:
            raise _denied("somebody", "the join token was revoked") from None
        if wall() > invite.until:
            raise _denied("somebody", "the join token's time is over")
        return invite

    async def _seat(self, name: str) -> Seat | None:
        try:
            return await self._store.get(Seat, name)
        except NotFound:
            return None

    def _credential(
        self,
        name: str,
        roles: Sequence[str],
        places: Sequence[str],
        key: str,
        verify: bytes,
        serial: int,
    ) -> Credential:
        return Credential(
            cluster=self._node.cluster,
            name=name,
            roles=tuple(roles),
            places=tuple(places),
            key=key,
            verify=verify,
            serial=serial,
            since=wall() - EARLY_S,
            until=wall() + self._lifetime_s,
        )

    def _signed(self, credential: Credential) -> Signed:
        return signed(credential, self._authority)

    @property
    def _authority(self) -> Ed25519PrivateKey:
        if self._trust.authority is None:
            raise Unavailable("this machine has no authority.key, so it cannot admit anybody")
        return self._trust.authority

    def _joined(self, seat: Seat) -> Joined:
        """Answer the newcomer.

        Machines that play fabric admit others, so they get the key that signs.
        """
        authority = self._authority.private_bytes_raw() if "fabric" in seat.roles else b""
        return Joined(
            signed=unpacked(seat.signed),
            cluster_keys=tuple(sorted(self._trust.cluster_keys)),
            authority=authority,
        )


def _seat(credential: Credential, of: Signed, address: str, since: float) -> Seat:
    return Seat(
        id=credential.name,
        roles=credential.roles,
        places=credential.places,
        key=credential.key,
        serial=credential.serial,
        signed=packed(of),
        address=address,
        since=since,
        until=credential.until,
    )


def _columns(row: Seat) -> dict[str, object]:
    return {f: getattr(row, f) for f in row.__struct_fields__ if f not in ("id", "revision")}


def _check_request(request: JoinRequest) -> None:
    if not NAME.fullmatch(request.name):
        raise Invalid(f"{request.name[:80]!r} is no name for a machine: letters, digits, - and .")
    if request.name.lower() in RESERVED:
        raise Invalid(f"a machine cannot be called {request.name}: that means something else")
    if not 1 <= request.hosts <= HOSTS_MAX:
        raise Invalid(f"a machine plays 1 to {HOSTS_MAX} hosts, not {request.hosts}")
    if request.pool and not NAME.fullmatch(request.pool):
        raise Invalid(f"{request.pool[:80]!r} is no name for a pool")
    if request.address and not is_address(request.address, 1):
        raise Invalid(f"{request.address[:80]!r} is no IP address")
    _check_keys(request.key, request.verify)
    try:
        public = Ed25519PublicKey.from_public_bytes(request.verify)
        public.verify(request.proof, request.said)
    except (InvalidSignature, ValueError):
        raise _denied(request.name, "it does not prove to have its key") from None


def _check_renewal(renewal: Renewal) -> None:
    _check_keys(renewal.key, renewal.verify)
    if not 0 <= renewal.good_for <= GOOD_FOR_MAX_S:
        raise Invalid("a key before may be good for 30 days at most")
    if len(renewal.trusts) > TRUSTS_MAX or any(len(key) != 32 for key in renewal.trusts):
        raise Invalid("those are no keys of a cluster")


def _check_keys(key: str, verify: bytes) -> None:
    """Raise Invalid if they are none; others would find that out at every connection."""
    try:
        raw = un_z85(key) if len(key) == KEY_CHARACTERS else b""
        Ed25519PublicKey.from_public_bytes(verify)
    except ValueError:
        raw = b""
    if len(raw) != 32 or z85(raw) != key:
        raise Invalid("those are no keys of a machine")


def _check_not_of(other: Seat, name: str, key: str) -> None:
    """Raise Conflict if another machine has the key, or had it and may still be connected by it.

    Its connections would be taken for ours, and refused.
    """
    if other.id != name and key in (other.key, other.before):
        log.warning("refused", machine=name, why=f"it names a key of {other.id} as its own")
        raise Conflict(f"that is a key of {other.id}")


def _check_roles(roles: Sequence[str]) -> None:
    """Check roles.

    Those of plug-ins are good too; only nothing at all, or a slip of the pen, is not.
    """
    if not roles or NEWCOMER in roles or not all(NAME.fullmatch(role) for role in roles):
        known = ", ".join(sorted(CONTROLLING | HOSTING))
        raise Invalid(f"a machine must be given roles, for example: {known}")


def _denied(name: str, why: str) -> Denied:
    log.warning("refused", machine=name, why=why)
    return Denied(f"{name} is refused: {why}")
