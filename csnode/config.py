"""csnode.toml: which roles this node plays, and each role's own section.

A value comes from, strongest first: a flag, CSNODE_<SECTION>_<KEY>, csnode.d/*.toml beside the
file (in lexical order, later wins), the file, the default. Empty means empty. An unknown key is
an error that names its place.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from csnode.faults import Invalid
from csnode.types import HostId, NodeId, PoolId, Struct
from csnode.uuids import id_of

S = TypeVar("S", bound=Struct)
Origin = dict[str, str]


class Section(Struct, forbid_unknown_fields=True):
    """Base of every section: a key nobody reads is a mistake."""


class NodeConfig(Section):
    """[node]: who this process is."""

    cluster: str = "csnode"
    host: str = ""  # the machine's name; empty: what the system says
    address: str = ""  # of the machine, as others reach it; empty: [bus] listen
    name: str = ""  # of this process, unique in the cluster; empty: host/role+role
    roles: tuple[str, ...] = ()  # empty: all that are installed
    state: str = "/var/lib/csnode"  # where roles keep their files
    drain_seconds: float = 20.0  # how long SIGTERM waits for work under way

    @property
    def host_name(self) -> str:
        return self.host or socket.gethostname()

    @property
    def host_id(self) -> HostId:
        """The host's id: the same for every process on it, and after every restart."""
        return HostId(id_of(self.cluster, "host", self.host_name))

    def hosts(self, count: int) -> list[tuple[HostId, str]]:
        """Return the hosts that a role plays, id and name: this one, and `count` - 1 simulated."""
        names = [self.host_name, *(f"{self.host_name}-{n:04d}" for n in range(2, count + 1))]
        return [(HostId(id_of(self.cluster, "host", name)), name) for name in names]

    def local_pool(self, host: str, pool: str = "") -> tuple[PoolId, str]:
        """Return id and name of a host's own pool; `pool` is what [storage] calls this host's."""
        name = f"{host}-local"
        if pool:
            name = pool if host == self.host_name else f"{pool}-{host.rpartition('-')[2]}"
        return PoolId(id_of(self.cluster, "pool", host, name)), name

    def shared_pool(self, name: str) -> PoolId:
        """Return the id of a pool that several hosts reach: the same whoever serves it."""
        return PoolId(id_of(self.cluster, "pool", "shared", name))

    def places(self, count: int = 1, pool: str = "", shared: Sequence[str] = ()) -> tuple[str, ...]:
        """Return hosts and pools that this machine may speak for, if it plays that many hosts."""
        found: list[str] = []
        for id, host in self.hosts(count):
            found += (id, self.local_pool(host, pool)[0])
        return (*found, *(self.shared_pool(name) for name in shared))

    @property
    def node_id(self) -> NodeId:
        return NodeId(self.name or f"{self.host_name}/{'+'.join(self.roles) or 'all'}")


class BusConfig(Section):
    """[bus]: how calls and events leave the process."""

    zeromq: bool = True  # false: this process is a cloud of its own
    listen: str = "127.0.0.1"  # address to bind; ports are chosen by the system unless given
    calls_port: int = 0
    events_port: int = 0
    events: str = "zeromq"  # or redis: events by its streams


class DirectoryConfig(Section):
    """[directory]: how nodes find each other."""

    kind: str = "multicast"  # or static, zookeeper, redis, alone
    group: str = "239.192.77.9"  # or an IPv6 group, "ff02::4d09"
    port: int = 17670
    interface: str = "lo"
    seeds: tuple[str, ...] = ()  # static: "192.0.2.1:17670"


class TrustConfig(Section):
    """[trust]: this machine's key and credential, and the cluster's keys."""

    folder: str = ""  # empty: trust/ in [node] state; without credential only loopback is heard
    loopback: str = ""  # without credential: key, or open to every user; empty: key if new here


class LeaseConfig(Section):
    """[lease]: who decides which of several processes acts."""

    kind: str = "data"  # the data service; or zookeeper, redis


class ZooKeeperConfig(Section):
    """[zookeeper]: for [directory] and [lease] of that kind."""

    hosts: tuple[str, ...] = ()  # "192.0.2.1:2181"
    root: str = "/csnode"  # the cluster's name is added
    session_seconds: float = 4.0


class RedisConfig(Section):
    """[redis]: for [directory], [lease] and [bus] events of that kind."""

    url: str = ""  # "redis://192.0.2.1:6379/0", with user and password if it wants them
    prefix: str = "csnode"  # begins every key; the cluster's name is added
    stream_keep: int = 100_000  # about so many entries stay in the stream of events


class LogConfig(Section):
    """[log]: what is written to standard error."""

    level: str = "info"
    form: str = "auto"  # json, text, or text on a terminal and json elsewhere


class HealthConfig(Section):
    """[health]: /livez, /readyz, /healthz and /metrics of this process."""

    listen: str | tuple[str, ...] = ""  # "127.0.0.1:9100"; empty: only the api role's own port


KERNEL: dict[str, type[Struct]] = {
    "node": NodeConfig,
    "bus": BusConfig,
    "directory": DirectoryConfig,
    "trust": TrustConfig,
    "lease": LeaseConfig,
    "zookeeper": ZooKeeperConfig,
    "redis": RedisConfig,
    "log": LogConfig,
    "health": HealthConfig,
}


class Config:
    """Values by section, merged, with the origin of each."""

    def __init__(self, values: Mapping[str, Any] | None = None, origin: str = "given") -> None:
        self._values: dict[str, dict[str, Any]] = {}
        self.origins: dict[tuple[str, str], str] = {}
        self._files: list[Path] = []
        if values:
            self._merge(values, origin)

    @classmethod
    def read(cls, file: Path | None, flags: Mapping[str, Any], env: Mapping[str, str]) -> Config:
        """Read the file (if any), its csnode.d, the environment and the flags, in that order."""
        config = cls()
        if file is not None:
            config._read_file(file)
            for part in sorted((file.parent / "csnode.d").glob("*.toml")):
                config._read_file(part)
        config._env = {k: v for k, v in env.items() if k.startswith("CSNODE_")}
        config._merge(flags, "flag")
        return config

    _env: Mapping[str, str] = {}

    @property
    def node(self) -> NodeConfig:
        node = self.section("node", NodeConfig)
        listen = self.section("bus", BusConfig).listen
        return node if node.address else msgspec.structs.replace(node, address=listen)

    def section(self, name: str, kind: type[S]) -> S:
        """Return a section as its reader declared it; Invalid names file, line, section and key."""
        values = dict(self._values.get(name, {}))
        for field in msgspec.structs.fields(kind) if self._env else ():
            variable = f"CSNODE_{name}_{field.name}".upper().replace("-", "_")
            if variable in self._env and self.origins.get((name, field.name)) != "flag":
                values[field.name] = _from_text(self._env[variable], field.type)
                self.origins[name, field.name] = variable
        try:
            return msgspec.convert(values, kind, strict=True)
        except msgspec.ValidationError as error:
            raise Invalid(self._placed(name, str(error))) from error

    def check(self, known: Mapping[str, type[Struct]]) -> None:
        """Raise Invalid for sections and variables that nobody reads, and wrong values."""
        for name in self._values:
            if name not in known:
                place = self._place(name, "")
                raise Invalid(f"{place}[{name}] is no section; there are: {', '.join(known)}")
        for name, kind in known.items():
            self.section(name, kind)
        variables = {
            f"CSNODE_{name}_{field.name}".upper().replace("-", "_")
            for name, kind in known.items()
            for field in msgspec.structs.fields(kind)
        }
        for variable in self._env:
            if variable not in variables and variable != "CSNODE_CONFIG":
                raise Invalid(f"{variable}: no setting is called so; see `csnode config show`")

    def _read_file(self, file: Path) -> None:
        try:
            values = tomllib.loads(file.read_text())
        except OSError as error:
            raise Invalid(f"{file}: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise Invalid(f"{file}: {error}") from error
        self._files.append(file)
        self._merge(values, str(file))

    def _merge(self, values: Mapping[str, Any], origin: str) -> None:
        for name, section in values.items():
            if not isinstance(section, Mapping):
                raise Invalid(f"{origin}: {name} stands outside every [section]")
            self._values.setdefault(name, {})
            for key, value in section.items():  # type: ignore[reportUnknownVariableType]
                self._values.setdefault(name, {})[str(key)] = value  # type: ignore[reportUnknownArgumentType]
                self.origins[name, str(key)] = origin  # type: ignore[reportUnknownArgumentType]

    def _placed(self, name: str, why: str) -> str:
        key = next(iter(re.findall(r"`\$?\.?(\w+)[^`]*`$", why)), "")
        unknown = re.search(r"unknown field `(\w+)`", why)
        if unknown:
            key, why = unknown[1], f"unknown key `{unknown[1]}`"
        return f"{self._place(name, key)}[{name}] {why}"

    def _place(self, name: str, key: str) -> str:
        """Return where a key stands: "csnode.toml:12: ", or the flag or variable it came from."""
        for file in reversed(self._files):
            inside = ""
            for number, line in enumerate(file.read_text().splitlines(), 1):
                if header := re.match(r"\s*\[([\w.-]+)\]", line):
                    inside = header[1].partition(".")[0]
                    if not key and inside == name:
                        return f"{file}:{number}: "
                elif inside == name and key and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
                    return f"{file}:{number}: "
        origin = self.origins.get((name, key), "")
        return f"{origin}: " if origin else ""


def environment() -> Mapping[str, str]:
    """Return the process's own environment."""
    return os.environ


def _from_text(text: str, kind: Any) -> Any:
    """Read a variable's text as the setting's type; what can only be a list is comma separated."""
    try:
        return msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError:
        return [part for part in text.split(",") if part] if "tuple" in str(kind) else text
