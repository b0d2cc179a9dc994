"""What a caller's machine may see and write: every call of Data passes here.

A machine with a controlling role reads every row, and commits in the name of its own roles. One
that only runs guests reports facts about its own hosts and pools; it must ask for rows by id or by
its own places, and of rows about other places it is shown no more than where they belong.
Calls of this process itself, and of a cluster without keys, are not judged (`proved()` is None).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Protocol

import msgspec
from msgspec.structs import replace

from csnode.bus.event import Entry
from csnode.context import CONTROLLING, HOSTING, NEWCOMER, Principal, proved, role_and_node
from csnode.contracts.data import ChangeItem, Commit, Feed, Hold, Past, Row, Update
from csnode.data.rows import encoded
from csnode.directory.allowed import is_node_of
from csnode.faults import Denied
from csnode.log import logger
from csnode.types import Struct
from roles.data.kind import Fields, Kind, fields_of

log = logger("data")
NOTHING = msgspec.Raw(b'""')


class Sight(Struct):
    """How rows of a kind are shown to machines that only run guests."""

    to: frozenset[str]  # machines with one of these roles
    by: tuple[str, ...] = ()  # keys to ask by, besides id; none of both: any question is answered
    own: tuple[str, ...] = ()  # columns that name a place; a row is one's own if it is one's place
    blank: tuple[str, ...] = ()  # emptied in a row that is not one's own
    left_out: tuple[str, ...] = ()  # not in a row that is not one's own
    never: tuple[str, ...] = ()  # not in any row

    @property
    def whole(self) -> bool:
        """Whether a row looks the same to all, so that they may follow its feed."""
        return not (self.by or self.blank or self.left_out)


def _to(*roles: str) -> frozenset[str]:
    return frozenset(roles)


SIGHTS: dict[str, Sight] = {
    **{
        name: Sight(to=HOSTING)
        for name in ("zone", "pod", "cluster", "offering", "disk_offering", "network_offering",
                     "os_type", "seat", "physical_network", "traffic_type")
    },
    "host": Sight(to=HOSTING, own=("id",), never=("fence_options",)),
    "pool": Sight(to=HOSTING, own=("id", "host")),
    "vm": Sight(
        to=HOSTING,
        by=("host",),
        own=("host", "last_host", "maybe_on", "moving_to"),
        blank=("name",),
        left_out=("display_name", "user_data", "keypair", "public_key", "group", "trouble"),
    ),
    "volume": Sight(to=_to("storage"), by=("pool",), own=("pool",), blank=("name",)),
    "template": Sight(
        to=_to("storage"),
        by=("id",),
        blank=("name",),
        left_out=("display_text", "url", "checksum", "details", "trouble"),
    ),
    "network": Sight(
        to=_to("network"),
        by=("router",),
        own=("router",),
        blank=("name",),
        left_out=("display_text", "network_domain", "public_address", "trouble"),
    ),
    "nic": Sight(
        to=_to("network"),
        by=("vm", "network"),
        blank=("mac",),
        left_out=("named", "carded", "address", "fixed", "last_address"),
    ),
    "job": Sight(
        to=HOSTING,
        by=("object_id",),
        left_out=("needs", "command", "account", "user", "trace", "started", "results", "times",
                  "fault", "fault_code"),
    ),
    "lock": Sight(to=HOSTING, by=("job",)),
}  # fmt: skip
"""Every kind that is not here is none of a guest-running machine's business: users, sessions,
events, invites, accounts, alerts, stock."""

PLACES = frozenset({"host", "pool", "router"})
"""Keys that name a place: to ask by one is to ask by places of one's own."""

GUARDED: dict[str, frozenset[str]] = {
    "seat": _to("fabric"),
    "invite": _to("fabric"),
    "domain": _to("api", "fabric"),
    "account": _to("api", "fabric"),
    "user": _to("api", "fabric"),
    "session": _to("api"),
}
"""Kinds that say who may do what: only machines with one of these roles make and change them."""


class Reads(Protocol):
    """Where rows are read."""

    async def get(self, name: str, id: str) -> Row: ...

    async def find(
        self, name: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]: ...

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed: ...


class Permit:
    """Judges each call by who proved to be its caller. Every refusal is Denied, and logged."""

    def __init__(self, reader: Reads, kinds: Mapping[str, Kind]) -> None:
        self._reader, self._kinds = reader, kinds

    # -- writing -----------------------------------------------------------------------------

    async def commit(self, commit: Commit) -> None:
        """Raise Denied unless the caller's machine may do all of it."""
        who = proved()
        if who is None:
            return
        if NEWCOMER in who.roles:
            _refuse(who, "commit anything: it has not joined")
        _check_name(who, commit.by)
        for item in commit.changes:
            if who.controls:
                self._check_intent(who, item)
            else:
                await self._check_fact(who, item)

    def _check_intent(self, who: Principal, item: ChangeItem) -> None:
        """Raise Denied unless the controlling machine does it in the name of its own roles."""
        if isinstance(item, Hold):
            if not is_node_of(item.holder, who.name):
                _refuse(who, f"hold the lease {item.name} for {item.holder}")
            return
        if isinstance(item, Update) and item.by and item.by not in who.roles:
            _refuse(who, f"write {item.kind} {item.id} as {item.by}")
        kind: str = getattr(item, "kind", "")
        guard = GUARDED.get(kind)
        if guard is not None and guard.isdisjoint(who.roles):
            _refuse(who, f"write {kind} rows; that is for {' and '.join(sorted(guard))}")

    async def _check_fact(self, who: Principal, item: ChangeItem) -> None:
        """Raise Denied unless it is a fact, of a role of the guest-running machine.

        The fact is to be about a place of the machine's own.
        """
        if not isinstance(item, Update):
            what = type(item).__name__.lower()
            _refuse(who, f"{what} {getattr(item, 'kind', '') or 'stock'}: it reports facts only")
        if item.by not in who.roles & HOSTING:
            _refuse(who, f"write {item.kind} {item.id} as {item.by or 'nobody'}")
        kind, what = self._kinds.get(item.kind), f"{item.kind} {item.id}"
        for column in fields_of(item.columns, what):
            if kind is None or kind.writers.get(column) != item.by:
                _refuse(who, f"write {item.kind}.{column} of {item.id}")
        sight = SIGHTS.get(item.kind)
        if sight is None:
            _refuse(who, f"write {what}")
        if sight.own:
            row = fields_of((await self._reader.get(item.kind, item.id)).row, what)
            if who.places.isdisjoint(_reporting(item.kind, sight, row)):
                _refuse(who, f"report on {what}: it is not at a place of {who.name}")

    # -- reading -----------------------------------------------------------------------------

    async def get(self, name: str, id: str) -> Row:
        """Read as the reader does, but what is not for the caller's machine is not in the row."""
        who = _judged()
        if who is None:
            return await self._reader.get(name, id)
        sight = self._sight(who, name)
        row = await self._reader.get(name, id)
        return (await self._shown(who, name, sight, (row,)))[0]

    async def find(
        self, name: str, where: dict[str, Any], after: str, limit: int
    ) -> tuple[Row, ...]:
        """Read as the reader does; Denied if others' rows would be among what is asked for."""
        who = _judged()
        if who is None:
            return await self._reader.find(name, where, after, limit)
        sight = self._sight(who, name)
        if sight.by and "id" not in where:
            self._check_question(who, name, sight, where)
        rows = await self._reader.find(name, where, after, limit)
        return await self._shown(who, name, sight, rows)

    async def feed(self, after: int, kinds: tuple[str, ...], limit: int) -> Feed:
        """Read as the reader does; only of kinds whose rows look the same to every machine."""
        who = _judged()
        if who is None:
            return await self._reader.feed(after, kinds, limit)
        for kind in kinds:
            if not self._sight(who, kind).whole:
                _refuse(who, f"follow {kind} rows")
        found = await self._reader.feed(after, kinds, limit)
        entries = tuple((kind, self._bare(kind, entry)) for kind, entry in found.entries)
        return replace(found, entries=entries)

    def numbers(self, kinds: tuple[str, ...]) -> None:
        """Raise Denied unless the caller's machine may know how far these kinds are."""
        who = _judged()
        if who is not None:
            for kind in kinds:
                self._sight(who, kind)

    def history(self, trace: str, past: tuple[Past, ...]) -> tuple[Past, ...]:
        """Return what the caller's machine may know of it: all, or whether there is any."""
        who = _judged()
        if who is None:
            return past
        if trace:
            _refuse(who, "read what was done in a trace")
        entry = Entry(number=0, id="", revision=0, row=b"")
        return tuple(Past(kind="", entry=entry, at=0.0, trace="", by="") for _ in past[:1])

    # -- one kind's rows -----------------------------------------------------------------------

    def _sight(self, who: Principal, kind: str) -> Sight:
        sight = SIGHTS.get(kind)
        if sight is None or sight.to.isdisjoint(who.roles):
            _refuse(who, f"read {kind} rows")
        return sight

    def _check_question(
        self, who: Principal, name: str, sight: Sight, where: Mapping[str, Any]
    ) -> None:
        keys = [key for key in sight.by if key in where]
        if not keys:
            _refuse(who, f"read {name} rows that it does not name")
        for key in PLACES.intersection(keys):
            if not who.places.issuperset(_values(where[key])):
                _refuse(who, f"read {name} rows of another {key}")

    async def _shown(
        self, who: Principal, name: str, sight: Sight, rows: tuple[Row, ...]
    ) -> tuple[Row, ...]:
        if not (sight.never or sight.blank or sight.left_out):
            return rows
        fields = {row.id: fields_of(row.row, f"{name} {row.id}") for row in rows}
        own = {id for id, row in fields.items() if not who.places.isdisjoint(_at(sight, row))}
        others = fields.keys() - own
        if others and name == "vm":
            own |= await self._served(who, others)
        elif others and name == "nic":
            own |= await self._plugged(who, {id: fields[id] for id in others})
        return tuple(
            Row(id=row.id, row=encoded(_reduced(sight, fields[row.id], row.id in own)))
            for row in rows
        )

    def _bare(self, kind: str, entry: Entry) -> Entry:
        sight = SIGHTS[kind]
        if not (entry.row and sight.never):
            return entry
        fields = fields_of(entry.row, f"{kind} {entry.id}")
        return replace(entry, row=encoded(_reduced(sight, fields, True)))

    async def _served(self, who: Principal, vms: Collection[str]) -> set[str]:
        """Find the machines with a card in a network whose router is ours.

        It tells them their metadata.
        """
        if "network" not in who.roles:
            return set()
        cards = await self._rows("nic", "vm", vms)
        routed = await self._routed(who, {_text(card, "network") for card in cards})
        return {_text(card, "vm") for card in cards if _text(card, "network") in routed}

    async def _plugged(self, who: Principal, nics: Mapping[str, Fields]) -> set[str]:
        """Find cards in a network whose router is ours, and those of machines on our hosts."""
        routed = await self._routed(who, {_text(card, "network") for card in nics.values()})
        left = {_text(c, "vm") for c in nics.values() if _text(c, "network") not in routed}
        vms = {_text(v, "id") for v in await self._rows("vm", "id", left) if self._is_ours(who, v)}
        return {
            id
            for id, card in nics.items()
            if _text(card, "network") in routed or _text(card, "vm") in vms
        }

    def _is_ours(self, who: Principal, vm: Fields) -> bool:
        return not who.places.isdisjoint(_at(SIGHTS["vm"], vm))

    async def _routed(self, who: Principal, networks: Collection[str]) -> set[str]:
        rows = await self._rows("network", "id", networks)
        return {_text(row, "id") for row in rows if _text(row, "router") in who.places}

    async def _rows(self, kind: str, key: str, values: Collection[str]) -> list[Fields]:
        found: list[Fields] = []
        if not values:
            return found
        after, page = "", 1000
        while True:
            rows = await self._reader.find(kind, {key: tuple(sorted(values))}, after, page)
            found += [fields_of(row.row, kind) for row in rows]
            if len(rows) < page:
                return found
            after = rows[-1].id


def _judged() -> Principal | None:
    """Return the caller, unless it may read everything."""
    who = proved()
    return None if who is None or who.controls else who


def _reporting(kind: str, sight: Sight, row: Fields) -> set[str]:
    """Return the places that may report on the row: of a machine, the host that has it, if any."""
    if kind == "vm" and (host := _text(row, "host")):
        return {host, _text(row, "moving_to")}
    return _at(sight, row)


def _at(sight: Sight, row: Fields) -> set[str]:
    """Return the places that the row names."""
    found: set[str] = set()
    for column in sight.own:
        if (raw := row.get(column)) is not None:
            value = msgspec.json.decode(raw)
            found.update(value if isinstance(value, list) else (value,))  # type: ignore[reportUnknownArgumentType]
    return found


def _reduced(sight: Sight, row: Fields, own: bool) -> Fields:
    gone = sight.never if own else (*sight.never, *sight.left_out)
    left = {column: value for column, value in row.items() if column not in gone}
    if not own:
        left |= dict.fromkeys(left.keys() & set(sight.blank), NOTHING)
        if "order" in left:  # a job's, whose shape is a map
            left["order"] = msgspec.Raw(b"{}")
    return left


def _text(row: Fields, column: str) -> str:
    raw = row.get(column)
    return str(msgspec.json.decode(raw) or "") if raw is not None else ""


def _values(value: Any) -> Collection[Any]:
    return value if isinstance(value, tuple | list | set | frozenset) else (value,)  # type: ignore[reportUnknownVariableType]


def _check_name(who: Principal, by: str) -> None:
    """Raise Denied unless "role@node" is of the machine: its role, and a node of its own."""
    role, node = role_and_node(by)
    if (node is not None or role in CONTROLLING | HOSTING) and role not in who.roles:
        _refuse(who, f"commit in the name of {by}")
    if node is not None and not is_node_of(node, who.name):
        _refuse(who, f"commit in the name of {by}")


def _refuse(who: Principal, what: str) -> NoReturn:
    log.warning("refused", machine=who.name, what=what)
    raise Denied(f"{who.name} may not {what}")
