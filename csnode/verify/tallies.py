"""Tallies: what is counted is what the rows add up to, and within its limit (P2).

Rows and tallies change in the same commits, so this holds at every moment, whatever is at work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from csnode.model import fit, footprint
from csnode.model.host import Host, StoragePool
from csnode.model.identity import Account
from csnode.model.ids import account_usage
from csnode.model.job import Job
from csnode.model.place import Cluster
from csnode.model.room import BYTES, promised
from csnode.model.stock import Tally, miscounted, usage
from csnode.model.vm import Vm
from csnode.model.volume import Volume
from csnode.verify.evidence import Evidence
from csnode.verify.finding import Check, Finding, Recount

HOST_HIGH = Check(
    "host-tally-high", "P2", "host",
    cause="a machine went and its host's capacity was not given back",
    remedy="count anew: the host is refused machines that it has room for",
)  # fmt: skip
POOL_HIGH = Check(
    "pool-tally-high", "P2", "pool",
    cause="a volume went and its pool's bytes were not given back",
    remedy="count anew: the pool is refused volumes that it has room for",
)  # fmt: skip
POOL_LOW = Check(
    "pool-tally-low", "P2", "pool",
    cause="a pool's bytes were given back twice, or a csnode of before did not count",
    remedy="count anew: the pool is promised volumes that it has no room for",
)  # fmt: skip
HOST_LOW = Check(
    "host-tally-low", "P2", "host",
    cause="a host's capacity was given back twice",
    remedy="count anew: the host is given machines that it has no room for",
)  # fmt: skip
ACCOUNT_OFF = Check(
    "account-tally-off", "P2", "account",
    cause="a machine came or went and was not counted, or counted twice",
    remedy="count anew: the account's limits are held against a wrong number",
)  # fmt: skip
OVER_LIMIT = Check(
    "limit-passed", "P2", "account",
    cause="the limit was lowered below what the account has, or was passed in a race",
    remedy="raise the limit, or have the account destroy machines",
)  # fmt: skip
OVER_CAPACITY = Check(
    "capacity-over", "P2", "host",
    cause="the host has become smaller, the overcommit was lowered, or it was passed in a race",
    remedy="stop some of its machines and start them elsewhere",
)  # fmt: skip


def hosts(ev: Evidence) -> Iterator[Finding]:
    """Check that what a host has given away is what its machines hold, and no more than it has."""
    held = fit.reserved(ev.all(Vm))
    for host in ev.all(Host):
        used, right = _used(ev, host.id), held.get(host.id, Counter())
        if wrong := miscounted(used, right, fit.COUNTED):
            high = any(used.get(what, 0) > right[what] for what in wrong)
            what = f"{host.name} is counted for {_said(used, right, wrong)}"
            cure = _recount(ev, host.id, right, fit.COUNTED)
            yield (HOST_HIGH if high else HOST_LOW).found(host.id, what, host=host.id, repair=cure)
        for what, most in _room(ev, host).items():
            if right[what] > most:
                told = f"machines on {host.name} hold {right[what]} {what}; it may give {most}"
                yield OVER_CAPACITY.found(host.id, told, host=host.id)


def pools(ev: Evidence) -> Iterator[Finding]:
    """Check that what a pool has promised is what its volumes may grow to."""
    right = promised(ev.all(Volume), ev.all(Job))
    for pool in ev.all(StoragePool):
        used, held = _used(ev, pool.id), {BYTES: right[pool.id]}
        if wrong := miscounted(used, held, (BYTES,)):
            check = POOL_HIGH if used.get(BYTES, 0) > held[BYTES] else POOL_LOW
            what = f"{pool.name} is counted for {_said(used, held, wrong)}"
            cure = _recount(ev, pool.id, held, (BYTES,))
            yield check.found(pool.id, what, host=pool.id, repair=cure)


def accounts(ev: Evidence) -> Iterator[Finding]:
    """Check that what an account is counted for is what it has, and no more than it may."""
    has = footprint.footprints(ev.all(Vm), ev.all(Volume))
    for account in ev.all(Account):
        owner, right = account_usage(account.id), has.get(account.id, Counter())
        used = _used(ev, owner)
        if wrong := miscounted(used, right, footprint.COUNTED):
            what = f"{account.name} is counted for {_said(used, right, wrong)}"
            cure = _recount(ev, owner, right, footprint.COUNTED)
            yield ACCOUNT_OFF.found(account.id, what, repair=cure)
        for what, limit in footprint.limits_of(account).items():
            if right[what] > limit:
                yield OVER_LIMIT.found(
                    account.id, f"{account.name} has {right[what]} {what} of {limit}"
                )


def _room(ev: Evidence, host: Host) -> dict[str, int]:
    """Return how much of the host may be given away; one that never answered is not known."""
    if not host.cpus:
        return {}
    return fit.limits(host, ev.get(Cluster, host.cluster))


def _used(ev: Evidence, owner: str) -> Mapping[str, int]:
    return usage(ev.get(Tally, owner))


def _said(used: Mapping[str, int], right: Mapping[str, int], wrong: Iterable[str]) -> str:
    return ", ".join(f"{used.get(what, 0)} {what} instead of {right[what]}" for what in wrong)


def _recount(ev: Evidence, owner: str, right: Mapping[str, int], of: tuple[str, ...]) -> Recount:
    """Return a recount of the owner; what else is counted there stays as it is."""
    tally = ev.get(Tally, owner)
    used = {**usage(tally), **{what: right[what] for what in of}}
    return Recount(owner=owner, used=used, revision=tally.revision if tally else 0)


CHECKS = (hosts, pools, accounts)
