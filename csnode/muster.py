"""Muster: keeps the roll of who belongs to the cluster right, from the rows of the data service.

Every process does it for itself. Controlling machines hear of a change at once; the others hear no
events, and look every few seconds. What must hold while nobody can be asked is on disk: who was
evicted, and this machine's own credential, which is renewed when two thirds of its time are over.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection
from contextlib import suppress

import msgspec

from csnode.clock import now as instant
from csnode.clock import wall
from csnode.contracts.membership import Membership, Renewal
from csnode.data.store import Store
from csnode.data.view import View
from csnode.faults import Denied, Fault
from csnode.log import logger
from csnode.model.membership import Invite, Seat
from csnode.trust import files
from csnode.trust.credential import Signed
from csnode.trust.succession import newest
from csnode.trust.trust import Trust

LOOK_S = 3.0
RENEW_AT = 2 / 3  # of a credential's time
ASK_AGAIN_S = 60.0  # after a renewal that was refused
log = logger("muster")


async def follow(store: Store, trust: Trust, roles: Collection[str]) -> None:
    """Follow, and never end; `roles` are what this process plays."""
    muster = Muster(store, trust, admits="fabric" in roles)
    await muster.follow()


class Muster:
    """One process's."""

    def __init__(self, store: Store, trust: Trust, admits: bool) -> None:
        """Make a muster; `admits`: those with a join token are let in here."""
        self._store, self._trust = store, trust
        self._view = View(store, (Seat, Invite) if admits else (Seat,))
        self._admits = admits
        self._expected: set[str] = set()
        self._out: dict[str, int] = {}  # what the roll was told
        self._met: dict[str, str] = {}  # the credential that the roll was shown last
        self._news = asyncio.Event()
        self._ask_again = 0.0
        self._followed = 0  # the serial of the statement about the cluster's keys
        self._signs = b""  # the cluster's key that signs what is new; empty: there was but one

    async def follow(self) -> None:
        await self._open()
        self._view.listen(Seat, self._changed)
        if self._admits:
            self._view.listen(Invite, self._changed)
        try:
            while True:
                self._news.clear()
                await self._turn()
                try:
                    async with asyncio.timeout(LOOK_S):
                        await self._news.wait()
                except TimeoutError:
                    continue
        finally:
            self._view.close()

    async def _open(self) -> None:
        """Open the view; a data service that is away, or of the version before, is waited for."""
        while True:
            try:
                await self._view.open()
            except Fault as fault:
                log.info("nobody says yet who belongs", why=fault.message)
                await asyncio.sleep(LOOK_S)
            else:
                return

    def _changed(self, _: Seat | Invite | None, __: Seat | Invite | None) -> None:
        self._news.set()

    async def _turn(self) -> None:
        try:
            self._put_out()
            self._meet()
            self._expect()
            self._follow_succession()
            await self._renew()
        except Fault as fault:
            log.warning("the roll of members is not up to date", why=fault.message)

    def _put_out(self) -> None:
        """Put out who was evicted, and keys whose time is over after a rotation."""
        moment = wall()
        for seat in self._view.all(Seat):
            serial = seat.out_at(moment)
            if serial > self._out.get(seat.id, 0):
                self._trust.roll.put_out(seat.id, serial)
                self._out[seat.id] = serial

    def _meet(self) -> None:
        """Let credentials in that are in the rows, before any beacon brings them."""
        for seat in self._view.all(Seat):
            if seat.signed and self._met.get(seat.id) != seat.signed:
                self._met[seat.id] = seat.signed
                with suppress(Denied):
                    self._trust.roll.meet(_unpacked(seat.signed))

    def _expect(self) -> None:
        """Expect bearers of join tokens.

        One that joined may ask again, for its answer may be lost.
        """
        if not self._admits:
            return
        invites = {row.id: row for row in self._view.all(Invite) if row.until > wall()}
        for key in self._expected - invites.keys():
            self._trust.roll.forget(key)
        for key in invites.keys() - self._expected:
            self._trust.roll.expect(key, key, invites[key].until)
        self._expected = set(invites)

    def _follow_succession(self) -> None:
        """Follow a change of the cluster's key: trust what a key that we trust says of others."""
        trust = self._trust
        texts = [seat.statement for seat in self._view.all(Seat) if seat.statement]
        now = newest(texts, trust.credential.cluster, trust.cluster_keys) if texts else None
        if now is not None and now.serial > self._followed:
            self._followed, self._signs = now.serial, now.keys[0]
            if frozenset(now.keys) != trust.cluster_keys:
                trust.believe(now.keys)

    # -- our own credential --------------------------------------------------------------------

    async def _renew(self) -> None:
        own = self._trust.credential
        seat = self._view.maybe(Seat, own.name)
        if seat is None or seat.evicted or seat.key != own.key:
            return  # evicted; or given a new key, which the next start of this process reads
        if seat.serial > own.serial:  # another process of this machine has renewed it
            self._trust.renew(_unpacked(seat.signed))
            self._trust.authority = files.read_authority(self._trust.folder)
        elif self._is_due(seat) and instant() >= self._ask_again:
            self._ask_again = instant() + ASK_AGAIN_S
            got = await self._store.bus.ask(Membership).renew(
                Renewal(
                    name=own.name,
                    key=own.key,
                    verify=own.verify,
                    trusts=tuple(sorted(self._trust.cluster_keys)),
                )
            )
            self._trust.renew(got.signed)
            if got.authority:
                self._trust.authority = files.authority_of(got.authority)
                files.write_authority(self._trust.folder, self._trust.authority)
            self._ask_again = 0.0
            log.info("the credential was renewed", serial=self._trust.credential.serial)

    def _is_due(self, seat: Seat) -> bool:
        own = self._trust.credential
        late = wall() > own.since + RENEW_AT * (own.until - own.since)
        changed = (set(seat.roles), set(seat.places)) != (set(own.roles), set(own.places))
        trusts = {key.hex() for key in self._trust.cluster_keys}
        behind = self._trust.signed.signer != self._signs or set(seat.trusts) != trusts
        return late or changed or (bool(self._signs) and behind)


def _unpacked(text: str) -> Signed:
    return msgspec.msgpack.decode(base64.b64decode(text), type=Signed)
