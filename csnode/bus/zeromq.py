"""The bus between processes, over ZeroMQ: calls by ROUTER and DEALER, events by PUB and SUB.

Whatever this process serves itself is called directly, with nothing encoded. Everybody else is
found in the directory, and connected when first needed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from csnode import uuids
from csnode.bus.bus import Handler, proxy
from csnode.bus.desk import LAST_WORDS_MS, Desk
from csnode.bus.envelope import Outbox, channel_of, packed_event
from csnode.bus.event import Event
from csnode.bus.local import LocalBus
from csnode.bus.peer import Peer
from csnode.bus.service import Method
from csnode.bus.streams import Streams, carried
from csnode.bus.transport import Sockets
from csnode.bus.wiring import Line, Wiring
from csnode.clock import now
from csnode.config import BusConfig
from csnode.directory.directory import Directory, Health, Member, serving
from csnode.faults import Invalid, Unavailable
from csnode.log import logger
from csnode.trust.files import Keys
from csnode.trust.local import LocalKey
from csnode.trust.trust import Trust
from csnode.types import NodeId

ServiceT = TypeVar("ServiceT")
EventT = TypeVar("EventT", bound=Event)
log = logger("bus")
ANEW_S = 15.0  # libzmq never tries again after a frame that is none, as from a hostile network
PATIENCE_S = 2.0  # how long a call waits for somebody to serve it: start-up has no order
LOOKS = 8  # that makes so many waits: a loop that stood still missed one, not all of them
PUBLISHER = "data"  # all events tell of the feed, and the machines with this role publish it
REBIND_S = 0.02
REBINDS = 250


class ZmqBus:
    """Open it before use; then announce `endpoints` and `serving()` in the directory."""

    def __init__(
        self,
        config: BusConfig,
        directory: Directory,
        wiring: Wiring | None = None,
        streams: Streams | None = None,
        trust: Trust | None = None,
        keys: Keys | None = None,
        local: LocalKey | None = None,
    ) -> None:
        """Make a bus. A virtual world brings its own wiring; streams, if given, carry feed events.

        `keys` alone, without trust, are a newcomer's: it asks, and answers nobody. With the
        `local` key of a machine without credential, only the processes that have it meet.
        """
        self._wiring, self.streams, self._trust = wiring, streams, trust
        self._keys, self._local = keys, local
        self.directory = directory
        self.local = LocalBus(directory)
        self._config = config
        self._members: dict[NodeId, Member] = {}
        self._routes: dict[tuple[str, str | None], list[Member]] = {}
        self._peers: dict[NodeId, Peer] = {}
        self._proxies: dict[tuple[type, str | None], Any] = {}
        self._channels: set[bytes] = set()
        self._kinds: dict[str, msgspec.msgpack.Decoder[list[Any]]] = {}
        self._hearing: Line | None = None
        self._news = asyncio.Event()
        self._open = False
        self._has: Callable[[Member], bool] = lambda _: True

    async def __aenter__(self) -> Self:
        """Open the bus. Raises Invalid if it cannot listen there, or needs a credential."""
        address = self._address = _address(self._config, self._trust)
        self._sockets = self._wiring or Sockets(self._trust, self._keys, self._local)
        try:
            self._desk = Desk(self.local, self._sockets, address, self._config.calls_port)
            self._publishing, events = self._sockets.publishing(address, self._config.events_port)
        except Invalid:
            await self._sockets.close()
            raise
        self._outbox = Outbox(self._send_events)
        self.endpoints = (self._desk.endpoint, events)
        self._open = True
        if self._trust is not None:
            self._trust.roll.listen(self._put_out)
        self.directory.watch(self._seen)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open = False
        if self._trust is not None:
            self._trust.roll.deafen(self._put_out)
        self._tell_waiting()
        for peer in self._peers.values():
            peer.close("this node is closing")
        self._peers.clear()
        if self._hearing is not None:
            self._hearing.abort()
        await self._desk.close()
        self._outbox.flush()
        self._publishing.abort(LAST_WORDS_MS)
        await self._sockets.close()

    # -- serving ---------------------------------------------------------------------------

    @property
    def key(self) -> str:
        """What others find who connect to us; "" without keys."""
        return self._sockets.key

    @property
    def in_flight(self) -> int:
        """Calls being served; what the node announces as its load."""
        return self.local.in_flight

    def serving(self) -> dict[str, tuple[str, ...]]:
        """Return the contract names served here, with their hosts or pools."""
        return self.local.serving()

    def serve(self, served: object, at: Sequence[str] = ()) -> None:
        self.local.serve(served, at)
        self._desk.offer(served)
        self._tell_waiting()

    def retire(self, served: object) -> None:
        self.local.retire(served)

    # -- events ----------------------------------------------------------------------------

    def publish(self, event: Event) -> None:
        self.local.publish(event)
        if self.streams is not None and carried(event):
            self.streams.noted.set()
            return
        if not self._open:
            return
        try:
            channel, packed = packed_event(event)
        except (TypeError, ValueError, OverflowError):
            log.exception("an event cannot be sent", kind=type(event).__name__)
        else:
            self._outbox.put(channel, packed, len(packed))

    def subscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        self.local.subscribe(kind, handler, topic)
        if self.streams is not None and carried(kind):
            self.streams.follow(self.local.publish)
            return
        many: Any = list[kind]
        self._kinds[kind.__name__] = msgspec.msgpack.Decoder(many)
        hearing = self._hearing
        if hearing is None:
            hearing = self._hearing = self._sockets.hearing(self._heard)
            for member in self._members.values():
                self._follow(None, member)
        channel = channel_of(kind, topic)
        if channel not in self._channels:
            self._channels.add(channel)
            hearing.subscribe(channel)

    def unsubscribe(self, kind: type[EventT], handler: Handler[EventT], topic: str = "") -> None:
        self.local.unsubscribe(kind, handler, topic)

    def _send_events(self, channel: bytes, frame: bytes) -> None:
        self._publishing.write((channel, frame))

    def _heard(self, parts: list[bytes]) -> None:
        decoder = self._kinds.get(parts[0].partition(b"/")[0].decode(errors="replace"))
        if decoder is None:
            return
        try:
            events = decoder.decode(parts[-1])
        except msgspec.DecodeError as error:
            log.warning("events ignored", channel=parts[0], why=str(error))
            return
        for event in events:
            self.local.publish(event)

    # -- asking ----------------------------------------------------------------------------

    def ask(self, contract: type[ServiceT], at: str | None = None) -> ServiceT:
        made = self._proxies.get((contract, at))
        if made is None:
            made = self._proxies[contract, at] = proxy(contract, at, self._send)
        return made

    async def _send(self, method: Method, at: str | None, args: tuple[Any, ...]) -> Any:
        server = self.local.server_of(method.contract, at)
        if server is not None:
            return await self.local.answer(server, method, args)
        deadline = now() + method.answer_within_s
        peer = self._pick(method.contract.__name__, at)
        if peer is None:
            peer = await self._awaited(method.contract, at, deadline)
        if peer is None:
            return await self._send(method, at, args)
        return await peer.ask(method, at, args, deadline)

    async def _awaited(self, kind: type, at: str | None, deadline: float) -> Peer | None:
        """Wait for whoever serves it to be reached; None if we serve it by now.

        Raises Unavailable.
        """
        contract = kind.__name__
        for _ in range(LOOKS):
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(deadline, now() + PATIENCE_S / LOOKS)):
                    while (peer := self._pick(contract, at)) is None:
                        await self._news.wait()
                        if self.local.server_of(kind, at) is not None:
                            return None
                    return peer
            if now() >= deadline:
                break
        where = f" at {at}" if at else ""
        if not self._candidates(contract, at):
            raise Unavailable(f"nobody serves {contract}{where}")
        raise Unavailable(f"no {contract}{where} can be reached")

    def _pick(self, contract: str, at: str | None) -> Peer | None:
        """Pick the less busy of two connected peers; None (and connecting) if there is none yet."""
        if not self._open:
            raise Unavailable("this node is closing")
        found = self._candidates(contract, at)
        if len(found) == 1:
            peer = self._peer(found[0])
            return peer if peer.up else None
        two = [self._peer(m) for m in uuids.source.sample(found, min(2, len(found)))]
        up = [p for p in two if p.up] or [p for m in found if (p := self._peer(m)).up]
        return min(up, key=lambda p: p.busy, default=None)

    def _candidates(self, contract: str, at: str | None) -> list[Member]:
        """Return who serves it, the healthy ones only if there are any."""
        found = self._routes.get((contract, at))
        if found is None:
            others = [m for m in self._members.values() if m.calls]
            found = serving(others, contract, at)
            found = [m for m in found if m.health is Health.OK] or found
            self._routes[contract, at] = found
        return found

    def _peer(self, member: Member) -> Peer:
        peer = self._peers.get(member.node)
        if peer is not None and not peer.up and now() > peer.since + ANEW_S:
            peer.close(f"{member.node} cannot be reached")
            peer = None
        if peer is None:
            peer = Peer(member.node, member.calls, member.key, self._sockets, self._tell_waiting)
            peer.load = member.load
            self._peers[member.node] = peer
        return peer

    # -- the directory -----------------------------------------------------------------------

    def _seen(self, member: Member, present: bool) -> None:
        """Take in that a member joined, changed or is gone."""
        if not self._open or self.endpoints[0] == member.calls:
            return
        present = present and self._belongs(member)
        before = self._members.pop(member.node, None)
        if present:
            self._members[member.node] = member
        self._routes.clear()
        self._follow(before, member if present else None)
        peer = self._peers.get(member.node)
        if peer is not None and present and (peer.endpoint, peer.key) == (member.calls, member.key):
            peer.load = member.load
        elif peer is not None:
            del self._peers[member.node]
            peer.close(f"{member.node} is gone")
        self._tell_waiting()

    def keep_to(self, has: Callable[[Member], bool]) -> None:
        """Know only members that this holds of; again, when it may have changed."""
        self._has = has
        for member in self.directory.members():
            self._seen(member, True)

    def _follow(self, before: Member | None, now: Member | None) -> None:
        """Hear the events of a member where it publishes now."""
        was, there = self._published(before), self._published(now)
        if self._hearing is None or was == there:
            return
        if was is not None:
            self._hearing.detach(was[0])
        if there is not None:
            self._hearing.attach(*there)

    def _published(self, member: Member | None) -> tuple[str, str] | None:
        """Return where we may hear the member's events, and its key.

        Machines that only run guests are not let in by publishers, so they need not knock; and
        only whoever may play the data role is believed.
        """
        if member is None or not member.events:
            return None
        if self._sockets.proves:
            own, who = self._sockets.own(), self._sockets.who(member.key)
            if own is None or not own.controls or who is None or PUBLISHER not in who.roles:
                return None
        return member.events, member.key

    def _belongs(self, member: Member) -> bool:
        """Tell whether the member is of our cloud, and its machine still is."""
        if not self._has(member):
            return False
        if self._trust is None:
            return True
        who = self._trust.roll.who(member.key)
        return who is not None and who.name == member.host

    def _put_out(self, name: str) -> None:
        """Drop a machine that was put out ("": maybe several): we neither ask nor tell it more."""
        log.warning("a machine was put out", name=name)
        for member in list(self._members.values()):
            if not self._belongs(member):
                self._seen(member, False)
        self._publishing.abort()  # all who may do so connect again, and are looked at again
        self._publish_again(REBINDS)

    def _publish_again(self, tries: int) -> None:
        """Bind the same port again, as soon as libzmq has let go of it."""
        if not self._open:
            return
        port = int(self.endpoints[1].rpartition(":")[2])
        try:
            self._publishing, _ = self._sockets.publishing(self._address, port)
        except Invalid as invalid:
            if tries:
                loop = asyncio.get_running_loop()
                loop.call_later(REBIND_S, self._publish_again, tries - 1)
            else:
                log.error("events cannot be published any more", why=invalid.message)

    def _tell_waiting(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _address(config: BusConfig, trust: Trust | None) -> str:
    """Return the address to listen on: one that others can reach; loopback without a credential."""
    try:
        address = ip_address(config.listen)
    except ValueError:
        raise Invalid(f"[bus] listen: {config.listen!r} is no IP address") from None
    if address.is_unspecified:
        raise Invalid(
            f"[bus] listen: {config.listen} is no address that others can reach; name one of ours"
        )
    if not address.is_loopback and trust is None:
        raise Invalid(
            f"[bus] listen: {config.listen} is beyond this machine, which needs a credential;"
            " `csnode cluster init` or `csnode join` makes one"
        )
    return config.listen
