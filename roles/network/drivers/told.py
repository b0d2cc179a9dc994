"""What the driver was told, on disk: a folder a network, each file written whole.

FOLDER/<network>/told.json is the network, nics/<nic>.json its cards (closed to others: they hold
user data), rules.json which rules stand, dnsmasq/ what that daemon reads. A file that cannot be
read counts as never written: whoever asked tells it again.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from csnode.log import logger
from csnode.model.machine import GuestNetwork, GuestNic
from csnode.types import NetworkId, NicId, Struct

S = TypeVar("S", bound=msgspec.Struct)
log = logger("network")


class RulesMark(Struct):
    """The rules as they were loaded last: which text, into which namespace, as which change."""

    text: str = ""
    inode: int = 0
    generation: int = 0


class Told:
    """One network with its cards."""

    def __init__(self, folder: Path, network: GuestNetwork) -> None:
        self.folder = folder
        self.network = network
        self.nics: dict[NicId, GuestNic] = {}
        self.mark = _read(folder / "rules.json", RulesMark) or RulesMark()

    @property
    def dnsmasq(self) -> Path:
        """dnsmasq's part of the folder."""
        return self.folder / "dnsmasq"

    @property
    def kept(self) -> bool:
        """Whether it is on disk."""
        return (self.folder / "told.json").exists()

    def keep_all(self, network: GuestNetwork) -> None:
        """Keep the network as it is told now, and the cards we know of it."""
        make_open(self.folder)
        write_whole(self.folder / "told.json", msgspec.json.encode(network))
        self.network = network
        self.keep_mark(self.mark)
        for nic in tuple(self.nics.values()):
            self.keep_nic(nic)

    def keep_nic(self, nic: GuestNic) -> None:
        (self.folder / "nics").mkdir(mode=0o700, exist_ok=True)
        write_whole(self.folder / "nics" / f"{nic.nic}.json", msgspec.json.encode(nic), 0o600)
        self.nics[nic.nic] = nic

    def drop_nic(self, nic: NicId) -> None:
        (self.folder / "nics" / f"{nic}.json").unlink(missing_ok=True)
        self.nics.pop(nic, None)

    def keep_mark(self, mark: RulesMark) -> None:
        write_whole(self.folder / "rules.json", msgspec.json.encode(mark))
        self.mark = mark

    def nic_at(self, address: str) -> GuestNic | None:
        """Return the card that has the address."""
        return next((n for n in self.nics.values() if n.address == address), None)


def read_all(folder: Path) -> dict[NetworkId, Told]:
    """Read everything told and not taken back."""
    found: dict[NetworkId, Told] = {}
    for file in sorted(folder.glob("*/told.json")):
        network = _read(file, GuestNetwork)
        if network is None or network.network != file.parent.name:
            continue
        told = found[network.network] = Told(file.parent, network)
        for card in sorted((file.parent / "nics").glob("*.json")):
            nic = _read(card, GuestNic)
            if nic is not None:
                told.nics[nic.nic] = nic
    return found


def forget(folder: Path) -> None:
    """Remove the folder; one that is not there is fine."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def make_open(folder: Path) -> None:
    """Make the folder; dnsmasq's user may pass it whatever our umask is."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)


def write_whole(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Replace the file in one go; the name in between begins with a dot, which dnsmasq skips."""
    new = file.with_name(f".{file.name}")
    new.touch(mode=0o600)  # closed until its mode is set
    new.write_bytes(content)
    new.chmod(mode)
    os.replace(new, file)


def _read(file: Path, kind: type[S]) -> S | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        log.warning("damaged file ignored", file=str(file), error=str(error))
        return None
