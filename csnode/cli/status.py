"""`csnode status`: the cluster as a newcomer would see it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import click

from csnode import clock, log
from csnode.cli import joined, show
from csnode.cli.chosen import Chosen
from csnode.cli.given import Given, given_of
from csnode.config import Config
from csnode.directory.directory import Member
from csnode.faults import Fault
from csnode.model.host import Host, StoragePool
from csnode.model.membership import Seat
from csnode.model.vm import Vm


@click.command("status", short_help="The nodes, hosts and pools of the cluster.")
@show.output_option()
@click.pass_obj
def command(chosen: Chosen, output: str) -> None:
    """Show the nodes of the cluster, the roles they play, the hosts and the pools.

    It listens for a second or two, as a node that starts would; then it asks the data role.
    Run it with the same configuration (cluster, directory, credential) as the nodes.
    """
    log.start("error", "text")
    found = asyncio.run(_look(chosen.config()))
    if output == "json":
        show.as_json(found)
        return
    for title in ("nodes", "machines", "hosts", "pools"):
        rows: list[dict[str, Any]] = found[title]
        if rows:
            show.table(title.upper(), tuple(rows[0]), [tuple(row.values()) for row in rows])
            print()
    if found["clouds"] > 1:
        print("there are nodes of several clouds with this name: see the column cloud\n")
    if found["trouble"]:
        print(f"machines, hosts and pools are not known: {found['trouble']}")


async def _look(config: Config) -> dict[str, Any]:
    async with joined.joined(config) as bus:
        nodes = _nodes(await joined.members(bus))
        clouds = len({node["cloud"] for node in nodes} - {""})
        store = joined.store(bus)
        try:
            hosts, pools, vms, seats, given = await asyncio.gather(
                store.find(Host),
                store.find(StoragePool),
                store.find(Vm),
                store.find(Seat),
                given_of(store),
            )
        except Fault as fault:
            nothing: dict[str, Any] = {"machines": [], "hosts": [], "pools": []}
            return {"nodes": nodes, "clouds": clouds, **nothing, "trouble": fault.message}
        return {
            "nodes": nodes,
            "clouds": clouds,
            "machines": [_seat(seat) for seat in sorted(seats, key=lambda seat: seat.id)],
            "hosts": [_host(host, vms, given) for host in sorted(hosts, key=_name)],
            "pools": [_pool(pool) for pool in sorted(pools, key=_name)],
            "trouble": "",
        }


def _nodes(members: Sequence[Member]) -> list[dict[str, Any]]:
    return [
        {
            "node": m.node,
            "machine": m.host,
            "health": str(m.health),
            "roles": list(m.roles),
            "serves": [f"{s.contract}@{len(s.at)}" if s.at else s.contract for s in m.serves],
            "up since": clock.stamp(m.incarnation / 1000),
            "calls at": m.calls,
            "version": m.version,
            "cloud": m.cloud[:8],
            "wire": m.wire,
        }
        for m in members
    ]


def _seat(seat: Seat) -> dict[str, Any]:
    """Describe a machine with a credential; clouds on loopback have none."""
    return {
        "machine": seat.id,
        "may play": list(seat.roles),
        "address": seat.address,
        "credential until": clock.stamp(seat.until),
        "evicted": clock.stamp(seat.evicted) if seat.evicted else "",
    }


def _name(row: Host | StoragePool) -> str:
    return row.name


def _host(host: Host, vms: Sequence[Vm], given: Given) -> dict[str, Any]:
    running = sum(vm.runs and vm.host == host.id for vm in vms)
    return {
        "host": host.name,
        "state": host.seen.value,
        "hypervisor": host.hypervisor,
        "address": host.address,
        "machines": running,
        **given.columns(host),
        "id": host.id,
    }


def _pool(pool: StoragePool) -> dict[str, Any]:
    return {
        "pool": pool.name,
        "state": "Up" if pool.up else "Down",
        "type": pool.type,
        "path": pool.path,
        "used GiB": f"{pool.used_bytes / 2**30:.1f}/{pool.total_bytes / 2**30:.1f}",
        "id": pool.id,
    }
