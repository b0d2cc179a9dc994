"""The key that the processes of one machine share while the machine belongs to no cluster.

Loopback is open to every user of a machine, so it proves nothing. A process without a credential
makes this key at its first start, and the others with the same configuration read it from
`local.key` in the trust folder. The file's owner and root can read it. Their sockets speak CURVE
with it, and their beacons are marked with it. It says nothing about roles: whoever has it may
do everything, as the owner of the processes may anyway.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from csnode.config import Config, TrustConfig
from csnode.context import CONTROLLING, Principal
from csnode.faults import Invalid
from csnode.trust import files
from csnode.trust.files import Keys
from csnode.uuids import source

BYTES = 32


class LocalKey:
    """A machine's own key, made by the first csnode process on it."""

    def __init__(self, secret: bytes) -> None:
        self.keys = Keys.of(secret)
        self.mark = hashlib.blake2b(secret, digest_size=32, person=b"csnode mark").digest()
        self._owner = Principal(name="this machine", roles=CONTROLLING)

    def who(self, key: str) -> Principal | None:
        """Say who proved to have that key: the machine's owner, or nobody known."""
        return self._owner if key == self.keys.public else None

    @classmethod
    def new(cls) -> LocalKey:
        """Make a key that no other process has."""
        return cls(source.randbytes(BYTES))

    @classmethod
    def read(cls, folder: Path) -> LocalKey | None:
        """Read the key; None if no process has made one. Raises Denied, Invalid and Refused."""
        secret = files.read_local(folder)
        return cls(secret) if secret is not None else None

    @classmethod
    def made(cls, folder: Path) -> LocalKey:
        """Read the key, or make it. Of processes that start at once, one makes it for all."""
        return cls.read(folder) or cls(files.make_local(folder, BYTES))


def folder_of(config: Config) -> Path:
    """Name the folder that holds this machine's keys."""
    chosen = config.section("trust", TrustConfig).folder
    return Path(chosen) if chosen else Path(config.node.state) / "trust"


def chosen(config: Config, plays: bool) -> LocalKey | None:
    """Have the key that this machine's processes share; None if loopback is open to all users.

    A node makes it at the first start. A command does not, for its user may be root: while there
    is none it gets a key of its own, and hears no node. Where versions without such keys have
    been at work, they may still be: there loopback stays open, until [trust] loopback says "key".
    Raises Denied to other users of the machine, and Invalid.
    """
    setting = config.section("trust", TrustConfig).loopback
    if setting not in ("", "key", "open"):
        raise Invalid(f'[trust] loopback: {setting!r} is neither "key" nor "open"')
    folder = folder_of(config)
    used = was_used(config.node.state)  # before the key is looked for: it is made before its use
    key = LocalKey.read(folder) if setting != "open" else None
    if key is not None or setting == "open" or (used and setting != "key"):
        return key
    return LocalKey.made(folder) if plays else LocalKey.new()


def was_used(state: str) -> bool:
    """Tell whether a node has been started with this state folder before."""
    try:
        return any(Path(state, "incarnation").iterdir())
    except OSError:
        return False
