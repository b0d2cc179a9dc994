"""What carries frames between processes: ZeroMQ (transport.py), or the wire of a virtual world.

Everything above this seam (zeromq.py, peer.py, desk.py, envelope.py) is the same in both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from csnode.context import Principal

Got = Callable[[list[bytes]], None]
"""Given the parts of a message that arrived."""

Asked = Callable[[list[bytes], str], None]
"""Given the parts of a message, and the key that its connection proved; "" if none."""


class Line(Protocol):
    """One socket. Nothing here waits or fails: what cannot be sent is kept, or lost."""

    def write(self, data: Sequence[bytes]) -> None:
        """Send the parts now, or keep them until the peer takes them."""

    def get_write_buffer_size(self) -> int:
        """Return the bytes kept."""
        ...

    def forget(self) -> None:
        """Drop what is kept."""

    def subscribe(self, value: bytes) -> None:
        """Receive what begins with the value."""

    def attach(self, endpoint: str, key: str = "") -> None:
        """Connect to whoever has the key there, and go on trying until detached."""

    def detach(self, endpoint: str) -> None:
        """Let go of that connection."""

    def drain(self) -> None:
        """Hand on what has arrived."""

    def abort(self, linger_ms: int = 0) -> None:
        """Close; what was taken may still be sent for that long."""


class Wiring(Protocol):
    """The sockets of one process, by what they are for."""

    @property
    def proves(self) -> bool:
        """Whether every connection proves whose it is."""
        ...

    @property
    def key(self) -> str:
        """What others find who connect to us; "" if nothing is proved."""
        ...

    def own(self) -> Principal | None:
        """Return who we are to others; None if nothing is proved, or we are no member."""
        ...

    def who(self, key: str) -> Principal | None:
        """Return whose the key is just now; None: a stranger's, or of somebody who was put out."""
        ...

    def answering(self, address: str, port: int, got: Asked) -> tuple[Line, str]:
        """Return where calls arrive and its endpoint; parts are (caller, frame). Raises Invalid."""
        ...

    def publishing(self, address: str, port: int) -> tuple[Line, str]:
        """Return where events leave, and its endpoint; parts are (channel, frame).

        Raises Invalid.
        """
        ...

    def asking(
        self, endpoint: str, got: Got, changed: Callable[[bool], None], key: str = ""
    ) -> Line:
        """Return a connection to where calls arrive, at whoever has the key.

        `changed` is told when it stands or is lost.
        """
        ...

    def hearing(self, got: Got) -> Line:
        """Return where events arrive: attach it to publishers, and subscribe it to channels."""
        ...

    async def close(self) -> None:
        """Close those still open."""
        ...
