"""Which files are tried, and which tests are to notice: the quickest first."""

from __future__ import annotations

import itertools
import re
from typing import NamedTuple

DATA = ("tests/contract/test_data.py::TestInlineFile",)
TWO = ("tests/contract/test_data_processes.py", "tests/contract/test_data_postgres.py")
SERVERS = ("tests/contract/test_leases.py", "tests/contract/test_leaseholds.py")


class Target(NamedTuple):
    """Files of one area, and the tests chosen for them."""

    area: str
    files: tuple[str, ...]
    tests: tuple[str, ...]


TARGETS = (
    Target("saga", ("csnode/saga/run.py",),
           ("tests/unit/test_saga_run.py", "tests/unit/test_saga_turns.py",
            "tests/sim/test_run.py", "tests/sim/test_engine.py",
            "tests/sim/test_resume.py", "tests/sim/test_frozen.py", "tests/sim/test_cancel.py",
            "tests/sim/test_lost_answers.py", "tests/sim/test_elsewhere.py",
            "tests/sim/test_stuck.py", "tests/sim/test_matrix.py")),
    Target("view", ("csnode/data/{feed_reader,follower,position,replica,view}.py",),
           ("tests/contract/test_view_pace.py", "tests/contract/test_view_hints.py",
            "tests/contract/test_view.py", "tests/unit/test_position.py", *DATA,
            "tests/contract/test_data_large.py")),
    Target("data", ("roles/data/{alone,batch,change,draft,gathered,history,kind,layer,needs,"
                    "reader,role,stock,stored,writer,sqlite}.py",),
           (*DATA, "tests/unit/data_role/test_disk.py", "tests/contract/test_data_large.py",
            "tests/sim/test_lost_answers.py", "tests/contract/test_data_model.py")),
    Target("data", ("roles/data/permit.py",),
           ("tests/unit/test_permit.py", "tests/sim/test_principals.py")),
    Target("data", ("roles/data/{books,books_sql}.py",),
           ("tests/unit/data_role/test_books.py",)),
    Target("data", ("roles/data/{schema,place}.py",),
           ("tests/unit/data_role/test_migrations.py", *DATA, "tests/contract/test_data_keys.py")),
    Target("data", ("roles/data/{postgres,postgres_sql,shared}.py",), TWO),
    Target("data", ("roles/data/{migrate,transfer}.py",), ("tests/system/test_data_migrate.py",)),
    Target("data", ("roles/data/{strangers,timekeeper}.py",),
           ("tests/unit/data_role/test_timekeeper.py", "tests/unit/data_role/test_rivals.py",
            *DATA)),
    Target("data", ("roles/data/relay.py",), ("tests/contract/test_events.py",)),
    Target("monitor", ("roles/monitor/{verdict,watch,witnesses,role}.py",),
           ("tests/unit/test_verdict.py", "tests/unit/test_monitor.py",
            "tests/unit/test_monitor_role.py", "tests/unit/test_witnesses.py",
            "tests/sim/test_host_failure.py")),
    Target("placement", ("roles/orchestrator/placement.py", "csnode/model/fit.py"),
           ("tests/unit/test_placement.py", "tests/unit/test_placement_hosts.py",
            "tests/unit/test_pools.py", "tests/api/test_same_room.py", "tests/api/test_aim.py",
            "tests/sim/test_aim.py", "tests/sim/test_machines.py")),
    Target("facts", ("csnode/model/{ids,footprint,room}.py",),
           ("tests/unit/test_ids.py", "tests/unit/test_footprint.py", "tests/unit/test_pools.py",
            "tests/api/test_same_room.py", "tests/api/test_limits.py", "tests/api/test_wording.py",
            "tests/sim/test_room.py")),
    Target("tenancy", ("csnode/api/{reach,refers}.py", "csnode/model/owner.py"),
           ("tests/unit/test_owners.py", "tests/unit/test_refers.py",
            "tests/api/test_another_tenant.py", "tests/api/test_tenancy.py",
            "tests/api/test_lists.py")),
    Target("shelf", ("csnode/api/{shelf,dependencies,recorder}.py",),
           ("tests/api/test_recorder.py", "tests/api/test_reads.py", "tests/api/test_shelf.py",
            "tests/api/test_lists.py", "tests/api/test_jobs.py")),
    Target("trust", ("csnode/trust/{credential,files,roll,succession,trust}.py",),
           ("tests/unit/test_succession.py", "tests/unit/test_trust_files.py",
            "tests/unit/test_trust_roll.py",
            "tests/unit/test_trust_beacons.py", "tests/unit/test_admission.py",
            "tests/contract/test_trust.py", "tests/contract/test_trust_node.py",
            "tests/contract/test_membership.py")),
    Target("lease", ("csnode/lease/{lease,stored}.py",),
           ("tests/unit/test_lease.py", "tests/unit/test_lease_holding.py",
            "tests/contract/test_leaseholds.py", "tests/sim/test_frozen.py")),
    Target("lease", ("csnode/lease/{redis,zookeeper}.py",),
           ("tests/unit/test_lease_znodes.py", *SERVERS)),
    Target("sweep", ("csnode/sweep.py",),
           ("tests/unit/test_sweep.py", "tests/sim/test_sweeps.py")),
)  # fmt: skip


def files_of(target: Target) -> list[str]:
    """The paths that a target's patterns name."""
    return list(itertools.chain.from_iterable(_spelt(pattern) for pattern in target.files))


def _spelt(pattern: str) -> list[str]:
    found = re.search(r"\{(.*)\}", pattern)
    if found is None:
        return [pattern]
    return [
        pattern[: found.start()] + name + pattern[found.end() :] for name in found[1].split(",")
    ]
