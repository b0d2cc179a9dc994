"""Health over HTTP."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from csnode import health
from csnode.faults import Invalid


class Patient:
    """A node that is as well as a test says."""

    def __init__(self) -> None:
        self.ready = True
        self.wants: tuple[str, ...] = ()
        self.ails: dict[str, tuple[str, ...]] = {"data": (), "api": ()}

    def troubles(self) -> dict[str, tuple[str, ...]]:
        return self.ails

    def warnings(self) -> dict[str, tuple[str, ...]]:
        return {"directory": self.wants, "events": ()}


async def asked(patient: Patient, path: str) -> tuple[int, str]:
    async with health.serving("127.0.0.1:0", patient) as port, aiohttp.ClientSession() as session:
        answer = await session.get(f"http://127.0.0.1:{port}{path}")
        return answer.status, await answer.text()


async def test_a_node_without_trouble_is_ready() -> None:
    assert await asked(Patient(), "/readyz") == (200, "ok\n")
    assert await asked(Patient(), "/healthz") == (200, "ok\n")


async def test_what_fails_is_named() -> None:
    patient = Patient()
    patient.ails["data"] = ("the disk is full", "and slow")
    said = "[-]data: the disk is full; and slow\n"
    assert await asked(patient, "/readyz") == (503, said)
    assert await asked(patient, "/healthz") == (503, f"{said}not healthy\n")
    verbose = await asked(patient, "/healthz?verbose")
    assert verbose == (503, f"{said}[+]api\nnot healthy\n")


async def test_what_should_be_mended_is_said_and_takes_no_traffic_away() -> None:
    patient = Patient()
    patient.wants = ("ZooKeeper has not answered for 9 s",)
    said = "[!]directory: ZooKeeper has not answered for 9 s\n"
    assert await asked(patient, "/readyz") == (200, "ok\n")
    assert await asked(patient, "/healthz") == (200, f"{said}ok\n")
    verbose = await asked(patient, "/healthz?verbose")
    assert verbose == (200, f"[+]data\n[+]api\n{said}healthy\n")


async def test_a_node_that_drains_takes_no_traffic_but_lives() -> None:
    patient = Patient()
    patient.ready = False
    status, said = await asked(patient, "/readyz")
    assert (status, said) == (503, "[-]node: it is starting or draining\n")
    assert await asked(patient, "/livez") == (200, "ok\n")


async def test_liveness_asks_nobody() -> None:
    class Dead(Patient):
        def troubles(self) -> dict[str, tuple[str, ...]]:
            raise AssertionError("asked")

    assert await asked(Dead(), "/livez") == (200, "ok\n")


async def test_metrics_are_open_metrics() -> None:
    status, said = await asked(Patient(), "/metrics")
    assert status == 200
    assert "# TYPE csnode_jobs_open gauge" in said
    assert said.endswith("# EOF\n")


@pytest.mark.parametrize("listen", ["", "127.0.0.1", ":80", "127.0.0.1:x", "127.0.0.1:99999"])
async def test_an_address_that_makes_no_sense_is_refused(listen: str) -> None:
    with pytest.raises(Invalid, match=r"\[health\] listen: expected"):
        await asyncio.wait_for(health.serving(listen, Patient()).__aenter__(), 5)


async def test_a_port_in_use_is_named() -> None:
    async with health.serving("127.0.0.1:0", Patient()) as port:
        with pytest.raises(Invalid, match=f"cannot serve at 127.0.0.1:{port}"):
            await health.serving(f"127.0.0.1:{port}", Patient()).__aenter__()
