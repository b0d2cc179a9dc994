"""The roll: whose connections are let in, by the key that they prove to have.

It is asked at every call, so it is a dictionary, and nobody who was put out is in it. Credentials
come with beacons; of those a machine had, the one with the highest serial counts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import msgspec

from csnode.clock import wall
from csnode.context import NEWCOMER, Principal
from csnode.faults import Denied
from csnode.trust.credential import Credential, Signed

CHECKED_MAX = 20_000  # credentials whose signature is known to be good


class _Known(msgspec.Struct, frozen=True):
    """Somebody who is let in until then."""

    principal: Principal
    until: float
    serial: int = 0
    signer: bytes = b""  # none: a newcomer


class Roll:
    """Everybody this process has met."""

    def __init__(self, cluster: str, keys: Collection[bytes], out: Mapping[str, int]) -> None:
        """Make a roll; `keys` are the cluster's; `out` says who was put out before this start."""
        self._cluster, self._keys = cluster, frozenset(keys)
        self._out = dict(out)
        self._known: dict[str, _Known] = {}
        self._newcomers: dict[str, _Known] = {}
        self._checked: dict[Signed, Credential] = {}
        self._watchers: list[Callable[[str], None]] = []

    def meet(self, signed: Signed) -> Credential:
        """Let a key in from now on, whose credential somebody shows. Raises Denied."""
        credential = self._judged(signed)
        known = self._known.get(credential.key)
        if known is None or credential.serial > known.serial:
            self._known[credential.key] = _Known(
                credential.principal, credential.until, credential.serial, signed.signer
            )
        elif credential.serial == known.serial and known.signer != signed.signer:
            self._known[credential.key] = _Known(  # the same, under the cluster's new key
                credential.principal, credential.until, credential.serial, signed.signer
            )
        return credential

    def who(self, key: str) -> Principal | None:
        """Return whoever has the key now; None: a stranger, or somebody whose time is over."""
        known = self._known.get(key) or self._newcomers.get(key)
        if known is None or wall() > known.until:
            return None
        return known.principal

    def expect(self, key: str, name: str, until: float) -> None:
        """Let somebody with a join token knock, who is a newcomer until then."""
        self._newcomers[key] = _Known(Principal(name=name, roles=frozenset((NEWCOMER,))), until)

    def forget(self, key: str) -> None:
        """Forget a join token that is good no more."""
        self._newcomers.pop(key, None)

    def put_out(self, name: str, serial: int) -> None:
        """Refuse credentials of the machine up to that serial, on standing connections too."""
        if serial <= self._out.get(name, 0):
            return
        self._out[name] = serial
        self._drop(lambda known: known.principal.name == name and known.serial <= serial)
        for watcher in tuple(self._watchers):
            watcher(name)

    def believe(self, keys: Collection[bytes]) -> None:
        """Trust these keys as the cluster's from now on; what others signed is worth nothing."""
        self._keys = frozenset(keys)
        self._drop(lambda known: known.signer not in self._keys)
        self._checked = {s: c for s, c in self._checked.items() if s.signer in self._keys}
        for watcher in tuple(self._watchers):
            watcher("")

    def listen(self, watcher: Callable[[str], None]) -> None:
        """Call the watcher with the name of every machine put out; "" if it may be anybody."""
        self._watchers.append(watcher)

    def deafen(self, watcher: Callable[[str], None]) -> None:
        """Call it no more."""
        self._watchers.remove(watcher)

    def put_outs(self) -> dict[str, int]:
        """Return who was put out: the last serial refused, by name."""
        return dict(self._out)

    def _judged(self, signed: Signed) -> Credential:
        """Return the credential, if it is good now."""
        at = wall()
        credential = self._checked.get(signed)
        if credential is None:
            credential = signed.opened(self._keys, at)
            if len(self._checked) >= CHECKED_MAX:
                self._checked.clear()
            self._checked[signed] = credential
        if at > credential.until:
            raise Denied(f"the credential of {credential.name} is over")
        if credential.cluster != self._cluster:
            raise Denied(f"a credential of the cluster {credential.cluster}")
        if credential.serial <= self._out.get(credential.name, 0):
            raise Denied(f"{credential.name} was put out of the cluster")
        return credential

    def _drop(self, bad: Callable[[_Known], bool]) -> None:
        self._known = {key: known for key, known in self._known.items() if not bad(known)}
