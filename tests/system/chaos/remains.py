"""What is left when all is quiet: the API's lists and the hardware must agree, both ways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from csnode.types import Struct
from tests.system.chaos.hardware import Outside
from tests.system.chaos.history import Finding, orders
from tests.system.chaos.record import Record

Row = dict[str, Any]


class Listed(Struct):
    """The API's own lists, by id."""

    machines: dict[str, Row]
    volumes: dict[str, Row]
    networks: dict[str, Row]
    open_jobs: tuple[str, ...] = ()


def remains(record: Record, listed: Listed, outside: Outside) -> Iterator[Finding]:
    """Lists against the record, then lists against the hardware."""
    for job in listed.open_jobs:
        yield Finding(check="job-still-open", object=job, what="nothing was ordered for long")
    wanted = {o.machine for o in orders(record).values() if not o.refused}
    for id in listed.machines.keys() - wanted:
        yield Finding(check="machine-of-nobody", object=id, what="it is listed; nobody ordered it")
    yield from hardware(listed, outside)


def hardware(listed: Listed, outside: Outside) -> Iterator[Finding]:
    """Lists against what hosts and pools hold."""
    yield from _domains(listed, outside)
    yield from _disks(listed, outside)
    yield from _cards(listed, outside)
    yield from _routers(listed, outside)


def _domains(listed: Listed, outside: Outside) -> Iterator[Finding]:
    there: dict[str, list[str]] = {}
    for host, domains in outside.domains.items():
        for machine in domains:
            there.setdefault(machine, []).append(host)
    for machine, hosts in there.items():
        row = listed.machines.get(machine)
        if row is None:
            yield Finding(check="domain-of-nobody", object=machine, what=f"on host {hosts[0]}")
        elif len(hosts) > 1:
            yield Finding(check="machine-on-two-hosts", object=machine, what=", ".join(hosts))
        elif row["state"] != "Running" and outside.domains[hosts[0]][machine]:
            what = f"listed as {row['state']}, runs on {hosts[0]}"
            yield Finding(check="runs-unlisted", object=machine, what=what)
    for id, row in listed.machines.items():
        if row["state"] == "Running" and not outside.domains.get(row["hostid"], {}).get(id):
            what = f"listed as Running on {row['hostid']}; hosts that have it: {there.get(id)}"
            yield Finding(check="does-not-run", object=id, what=what)
        elif row["state"] not in ("Running", "Stopped", "Error"):
            yield Finding(check="in-transition", object=id, what=f"{row['state']} without a job")


def _disks(listed: Listed, outside: Outside) -> Iterator[Finding]:
    places = Counter(id for held in outside.volumes.values() for id in held)
    for id, count in places.items():
        if id not in listed.volumes:
            yield Finding(check="bytes-of-nobody", object=id, what="a volume that is not listed")
        elif count > 1:
            yield Finding(check="volume-in-two-pools", object=id, what=f"in {count} pools")
    for id, row in listed.volumes.items():
        if row["state"] == "Ready" and id not in outside.volumes.get(row["storageid"], ()):
            yield Finding(check="volume-without-bytes", object=id, what=f"on {row['storageid']}")


def _cards(listed: Listed, outside: Outside) -> Iterator[Finding]:
    known = {nic["id"]: nic for row in listed.machines.values() for nic in row.get("nic", [])}
    cards = [card for networks in outside.cards.values() for n in networks.values() for card in n]
    for card in cards:
        nic = known.get(card.nic)
        if nic is None:
            what = f"{card.address} for machine {card.vm}"
            yield Finding(check="lease-of-nobody", object=card.nic, what=what)
        elif nic["ipaddress"] != card.address:
            what = f"{card.address} leased, {nic['ipaddress']} listed"
            yield Finding(check="lease-differs", object=card.nic, what=what)
    leased = {card.nic for card in cards}
    for id, row in listed.machines.items():
        for nic in row.get("nic", []) if row["state"] == "Running" else ():
            if nic["id"] not in leased:
                yield Finding(check="lease-missing", object=nic["id"], what=f"of machine {id}")


def _routers(listed: Listed, outside: Outside) -> Iterator[Finding]:
    homes = Counter(network for networks in outside.cards.values() for network in networks)
    for network, count in homes.items():
        if network not in listed.networks:
            yield Finding(check="router-of-nobody", object=network, what=f"on {count} hosts")
        elif count > 1:
            yield Finding(check="two-routers", object=network, what=f"{count} hosts have one")
