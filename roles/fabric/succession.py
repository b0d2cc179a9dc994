"""A new key for the cluster, while it runs: no machine is ever without one that others trust."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from csnode.data.store import Store
from csnode.faults import Unavailable
from csnode.log import logger
from csnode.model.membership import Seat
from csnode.trust import files
from csnode.trust.succession import Succession, newest, stated
from csnode.trust.trust import Trust
from roles.fabric.sealed import unpacked

log = logger("fabric")


class Successor:
    """Carries a change of keys on, from the machine where it began."""

    def __init__(self, store: Store, trust: Trust) -> None:
        self._store, self._trust = store, trust
        self._next = trust.folder / "next"  # where the cluster's key to be is kept

    async def rotate(self, begin: bool) -> str:
        """Begin if told to, unless a change is under way; answers how far it is."""
        seats = await self._seats()
        now = self._newest(seats)
        if begin and (now is None or len(now.keys) == 1):
            before = self._authority
            if now is not None and _public(before) != now.keys[0]:
                raise Unavailable("this machine has not got the cluster's present key yet")
            new = files.new_authority()
            files.write_authority(self._next, new)
            await self._state((_public(before), _public(new)), now, before)
            log.warning("the cluster gets a new key", key=_public(new).hex()[:8])
            seats = await self._seats()
        await self.advance()
        return self._progress(await self._seats())

    async def advance(self) -> None:
        """Take the next step, if all machines are ready for it."""
        seats = await self._seats()
        now = self._newest(seats)
        own = next((seat for seat in seats if seat.id == self._trust.credential.name), None)
        if now is None or len(now.keys) == 1 or own is None or own.statement != now.packed:
            return
        first, other = now.keys
        new = self._read_next()
        if _public(self._authority) == other:  # we ended between the two acts below
            await self._state((other, first), now, self._authority)
        elif new is not None and _public(new) == other:
            if all(other.hex() in seat.trusts for seat in seats):
                files.write_authority(self._trust.folder, new)
                self._trust.authority = new
                await self._state((other, first), now, new)
        elif all(unpacked(seat.signed).signer == first for seat in seats):
            await self._state((first,), now, self._authority)
            (self._next / files.AUTHORITY).unlink(missing_ok=True)
            log.warning("the cluster's key before is worthless now", key=other.hex()[:8])

    async def able(self) -> bool:
        """Tell whether what we would sign is what the cluster's machines are to have."""
        if self._trust.authority is None:
            return False
        now = self._newest(await self._seats())
        return now is None or now.keys[0] == _public(self._trust.authority)

    def _read_next(self) -> Ed25519PrivateKey | None:
        return files.read_authority(self._next)

    def _progress(self, seats: list[Seat]) -> str:
        now = self._newest(seats)
        if now is None or len(now.keys) == 1:
            return "the cluster has one key, and every machine has a credential signed with it"
        first, other = now.keys
        if self._read_next() is not None and first != _public(self._authority):
            return "the change of keys goes on"
        late = [seat.id for seat in seats if other.hex() not in seat.trusts]
        if late:
            return f"waiting until these machines trust the new key: {', '.join(sorted(late))}"
        late = [seat.id for seat in seats if unpacked(seat.signed).signer != first]
        return f"waiting until these have new credentials: {', '.join(sorted(late)) or 'none'}"

    async def _state(
        self, keys: tuple[bytes, ...], before: Succession | None, by: Ed25519PrivateKey
    ) -> None:
        """Say so to all, and believe it."""
        serial = before.serial + 1 if before else 1
        made = stated(self._trust.credential.cluster, keys, serial, by)
        change = self._store.change()
        change.update(Seat, self._trust.credential.name, statement=made.packed)
        await change.commit()
        self._trust.believe(keys)

    async def _seats(self) -> list[Seat]:
        return [seat for seat in await self._store.find(Seat) if not seat.evicted]

    def _newest(self, seats: list[Seat]) -> Succession | None:
        texts = [seat.statement for seat in seats if seat.statement]
        return newest(texts, self._trust.credential.cluster, self._trust.cluster_keys)

    @property
    def _authority(self) -> Ed25519PrivateKey:
        if self._trust.authority is None:
            raise Unavailable("this machine has no authority.key")
        return self._trust.authority


def _public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
