"""The only door to counters: prometheus-client, under stable names csnode_*."""

from __future__ import annotations

from prometheus_client import REGISTRY, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import (
    CONTENT_TYPE_LATEST,
    generate_latest,  # pyright: ignore[reportUnknownVariableType]
)

MEDIA_TYPE = CONTENT_TYPE_LATEST

COMMITS = Counter("csnode_data_commits", "Commits, by how they ended", ["end"])
COMMIT_BATCH = Histogram(
    "csnode_data_batch", "Commits that shared one fsync", buckets=(1, 2, 4, 8, 16, 64, 256, 512)
)
CALLS = Counter("csnode_bus_calls", "Calls sent over the network", ["method"])
CALL_FAULTS = Counter("csnode_bus_faults", "Calls that ended in a fault", ["method", "fault"])
REPLAYS = Counter("csnode_view_replays", "Times a reader had missed events and asked the feed")
REQUESTS = Counter("csnode_api_requests", "API requests", ["command", "code"])
REQUEST_S = Histogram("csnode_api_request_seconds", "Time to answer an API request")
JOBS = Counter("csnode_jobs", "Jobs that ended, by saga and state", ["saga", "state"])
JOBS_OPEN = Gauge("csnode_jobs_open", "Jobs accepted and not yet ended")
STEP_S = Histogram("csnode_step_seconds", "Time a saga step took", ["saga", "step"])
REFUSALS = Counter("csnode_refusals", "Connections, calls and beacons refused", ["what"])
MEMBERS = Gauge("csnode_members", "Nodes in the directory")


def exposed() -> bytes:
    """Write everything counted, as OpenMetrics text."""
    return bytes(generate_latest(REGISTRY))  # pyright: ignore[reportUnknownArgumentType]
