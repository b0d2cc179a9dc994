"""Simulated hosts and pools that survive kill -9, as real ones do: the sim drivers, kept in files.

A host that forgot its machines whenever the compute role died would be a power cut, which is
another test. Each driver writes its outside to a file after every verb, before the verb answers.
The judge reads the same files: they are what is really there.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

from csnode.drivers.driver import Seat
from csnode.model.machine import GuestNic
from csnode.types import Power
from roles.compute.drivers import sim as compute
from roles.network.drivers import sim as network
from roles.storage.drivers import sim as storage

FOLDER = "CHAOS_HARDWARE"  # the environment variable that says where the files are
ENTRY_POINTS = """\
[csnode.drivers.hypervisor]
kept = tests.system.chaos.hardware:KeptHypervisor
[csnode.drivers.network]
kept = tests.system.chaos.hardware:KeptNetwork
[csnode.drivers.storage]
kept = tests.system.chaos.hardware:KeptStorage
"""


def installed(folder: Path) -> dict[str, str]:
    """Make the drivers known as `kept`; returns what the environment of csnode needs."""
    package = folder / "site" / "chaos_hardware-1.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: chaos-hardware\nVersion: 1\n")
    (package / "entry_points.txt").write_text(ENTRY_POINTS)
    hardware = folder / "hardware"
    hardware.mkdir()
    root = Path(__file__).parents[3]
    path = os.pathsep.join([str(folder / "site"), str(root), os.environ.get("PYTHONPATH", "")])
    return {"PYTHONPATH": path.rstrip(os.pathsep), FOLDER: str(hardware)}


class Pickler(pickle.Pickler):
    """Structs by the names of their fields: what another version kept can be read."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, msgspec.Struct):
            return revived, (type(obj), msgspec.structs.asdict(obj))
        return NotImplemented


def pickled(parts: dict[str, Any]) -> bytes:
    """As `pickle.loads` reads it."""
    into = io.BytesIO()
    Pickler(into).dump(parts)
    return into.getvalue()


def revived(kind: type[msgspec.Struct], fields: dict[str, Any]) -> msgspec.Struct:
    """The struct, without fields that this version does not know."""
    return kind(**{name: fields[name] for name in kind.__struct_fields__ if name in fields})


class Kept:
    """One outside and its file. What is in memory when the process dies and not in the file never
    happened: nobody was answered."""

    def __init__(self, kind: str, seat: Seat, parts: dict[str, Any]) -> None:
        self.file = Path(os.environ[FOLDER]) / f"{kind}-{seat.id}"
        self.parts = parts
        self.saved = b""
        if self.file.exists():
            kept = pickle.loads(self.file.read_bytes())
            for name in parts.keys() & kept.keys():  # another version may keep others
                parts[name].clear()
                parts[name].update(kept[name])

    def save(self) -> None:
        """Whole or not at all, as a rename is."""
        now = pickled(self.parts)
        if now != self.saved:
            beside = self.file.with_suffix(".new")
            beside.write_bytes(now)
            beside.replace(self.file)
            self.saved = now


def saving(kind: type[Any]) -> type[Any]:
    """Every verb of the driver ends with its outside saved."""

    def saved(verb: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(verb)
        async def act(self: Any, *args: Any) -> Any:
            try:
                return await verb(self, *args)
            finally:
                self.kept.save()

        return act

    for name, verb in inspect.getmembers(kind, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            setattr(kind, name, saved(verb))
    return kind


@saving
class KeptHypervisor(compute.SimHypervisor):
    """Machines that run on when the compute role dies."""

    async def __aenter__(self) -> KeptHypervisor:
        await super().__aenter__()
        self.kept = Kept("compute", self.seat, {"machines": self._host.machines})
        return self


@saving
class KeptNetwork(network.SimNetwork):
    """Routers that route on."""

    def __init__(self, options: Any, seat: Seat) -> None:
        super().__init__(options, seat)
        world = vars(self._world)  # beside what stands there it may hold locks, which go
        stands = {name: part for name, part in world.items() if type(part) in (dict, set)}
        self.kept = Kept("network", seat, stands)


@saving
class KeptStorage(storage.SimStorage):
    """Bytes that stay."""

    def __init__(self, options: Any, seat: Seat) -> None:
        super().__init__(options, seat)
        pool = self._pool
        self.kept = Kept(
            "storage", seat, {"images": pool.images, "volumes": pool.volumes, "aside": pool.aside}
        )


# -- as the judge sees it ------------------------------------------------------------------


class Outside:
    """Everything that is really there, by the id of its host or pool."""

    def __init__(self) -> None:
        self.domains: dict[str, dict[str, bool]] = {}  # host: machine: whether it runs
        self.cards: dict[str, dict[str, list[GuestNic]]] = {}  # host: network with a router: cards
        self.volumes: dict[str, set[str]] = {}  # pool: volumes
        self.aside: dict[str, set[str]] = {}  # pool: things set aside


def looked_at(folder: Path) -> Outside:
    """The hardware of a run, from its files."""
    found = Outside()
    for file in sorted((folder / "hardware").iterdir()):
        kind, _, id = file.name.partition("-")
        if file.suffix == ".new":
            continue
        parts: dict[str, Any] = pickle.loads(file.read_bytes())
        match kind:
            case "compute":
                machines: dict[str, compute.SimMachine] = parts["machines"]
                found.domains[id] = {vm: m.power is Power.ON for vm, m in machines.items()}
            case "network":
                nics: dict[str, dict[str, GuestNic]] = parts["nics"]
                found.cards[id] = {n: list(nics.get(n, {}).values()) for n in parts["routers"]}
            case _:
                found.volumes[id], found.aside[id] = set(parts["volumes"]), set(parts["aside"])
    return found
