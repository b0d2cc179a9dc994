"""A role: a named part of the cloud that any node may play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, TypeVar, get_args, get_origin

from csnode.bus.bus import Bus
from csnode.bus.event import Event
from csnode.config import NodeConfig
from csnode.data.store import Store
from csnode.faults import Fault
from csnode.log import logger
from csnode.trust.trust import Trust
from csnode.types import Struct

log = logger("node")

Opened = AsyncGenerator[None, None]
ConfigT = TypeVar("ConfigT", bound=Struct)
Loop = Callable[[Any], Awaitable[None]]
Reaction = Callable[[Any, Any], Awaitable[None]]
LoopT = TypeVar("LoopT", bound=Loop)
ReactionT = TypeVar("ReactionT", bound=Reaction)


class NodeHealth(Protocol):
    """What a node says of itself."""

    ready: bool

    def troubles(self) -> Mapping[str, Sequence[str]]:
        """Return what keeps each role from serving, one line each."""
        ...

    def warnings(self) -> Mapping[str, Sequence[str]]:
        """Return what an operator should mend although all roles serve."""
        ...


class Role(Generic[ConfigT]):
    """Subclass it, name it in csnode.toml, and serve contracts in `opened`.

    `config` is the role's own section, `node` the [node] section. `bus` and `store` are all it
    has of the rest of the cloud.
    """

    name: ClassVar[str]
    needs_data: ClassVar[bool] = True  # it opens once the data service answers
    cloud: str = ""  # the id of the cloud whose database this role keeps, if it keeps one

    def __init__(
        self,
        config: ConfigT,
        node: NodeConfig,
        bus: Bus,
        store: Store,
        *,
        health: NodeHealth | None = None,
        trust: Trust | None = None,
    ) -> None:
        """Make a role; `health` is of its node, and without `trust` the cluster has no keys."""
        self.config, self.node, self.bus, self.store = config, node, bus, store
        self.health, self.trust = health, trust

    @classmethod
    def config_type(cls) -> type[Struct]:
        """Return the struct named in Role[...]."""
        bases = (b for c in cls.__mro__ for b in getattr(c, "__orig_bases__", ()))
        found: type[Struct] = next(get_args(b)[0] for b in bases if get_origin(b) is Role)
        return found

    def loops(self) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """Return what @every marked."""
        return [(m.every_s, m.__get__(self)) for m in self._marked("every_s")]

    def reactions(self) -> list[tuple[type[Event], str, Callable[[Any], Awaitable[None]]]]:
        """Return what @on marked: event, topic, method."""
        return [(m.on_event, m.on_topic, m.__get__(self)) for m in self._marked("on_event")]

    def _marked(self, mark: str) -> list[Any]:
        members = {k: v for c in reversed(type(self).__mro__) for k, v in vars(c).items()}
        return [m for m in members.values() if hasattr(m, mark)]

    async def opened(self) -> Opened:
        """Take what the role needs, yield while it runs, give it back."""
        yield

    async def drain(self) -> None:
        """Take on nothing new and finish what is under way; the node is about to leave."""

    def troubles(self) -> Sequence[str]:
        """Return what keeps the role from serving, one line each; none if it is ready."""
        return ()

    def warnings(self) -> Sequence[str]:
        """Return what an operator should mend although the role serves, one line each."""
        return ()


def every(seconds: float) -> Callable[[LoopT], LoopT]:
    """Run the method at once, then every so often; a failure is logged, the next turn comes."""

    def mark(method: LoopT) -> LoopT:
        setattr(method, "every_s", seconds)  # noqa: B010
        return method

    return mark


def on(kind: type[Event], topic: str = "") -> Callable[[ReactionT], ReactionT]:
    """Run the method when such an event arrives: soon, maybe twice, maybe never."""

    def mark(method: ReactionT) -> ReactionT:
        setattr(method, "on_event", kind)  # noqa: B010
        setattr(method, "on_topic", topic)  # noqa: B010
        return method

    return mark


async def repeated(role: str, seconds: float, turn: Callable[[], Awaitable[None]]) -> None:
    """Take turns for ever, with a pause after each; one that fails is logged."""
    while True:
        try:
            await turn()
        except Fault as fault:
            log.info("turn failed", role=role, why=fault.message, detail=fault.detail)
        except Exception:
            log.exception("turn broke", role=role)
        await asyncio.sleep(seconds)


def quietly(role: str, reaction: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Any]:
    """Return a reaction whose failure is no more than an event lost."""

    async def react(event: Any) -> None:
        try:
            await reaction(event)
        except Fault as fault:
            log.info("reaction failed", role=role, why=fault.message)
        except Exception:
            log.exception("reaction broke", role=role)

    return react
