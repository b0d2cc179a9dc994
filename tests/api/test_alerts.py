"""Alerts are raised, listed, put away and deleted."""

from __future__ import annotations

from typing import Any

from csnode.model.alert import Alert
from tests.api import seeds
from tests.api.conftest import ADMIN, ALICE, Desk


def alert(number: int, **columns: Any) -> Alert:
    values: dict[str, Any] = {"type": 7, "name": "ALERT.COMPUTE.HOST", "text": f"host {number}"}
    return Alert(id=seeds.uuid(9000 + number), sent=1000.0 * number, **values | columns)


async def shown(desk: Desk, **params: str) -> list[str]:
    answer = await desk.ask("listAlerts", ADMIN, **params)
    return [each["description"] for each in answer.get("alert", [])]


async def test_alerts_are_listed_until_they_are_put_away(desk: Desk) -> None:
    await desk.plant([alert(1), alert(2, type=30, name="ALERT.HA.ACTION"), alert(3, count=4)])
    assert set(await shown(desk)) == {"host 1", "host 2", "host 3 (4 times)"}
    assert await shown(desk, type="30") == await shown(desk, name="ALERT.HA.ACTION") == ["host 2"]
    assert await shown(desk, keyword="HOST 1") == ["host 1"]
    assert await desk.ask("archiveAlerts", ids=seeds.uuid(9001)) == {"success": True}
    assert set(await shown(desk)) == {"host 2", "host 3 (4 times)"}
    assert (await desk.store.get(Alert, seeds.uuid(9001))).archived


async def test_alerts_are_deleted_by_type_and_time(desk: Desk) -> None:
    await desk.plant([alert(n) for n in range(1, 5)] + [alert(5, type=30)])
    refusal = await desk.refused("deleteAlerts")
    assert "must say which" in refusal["errortext"]
    await desk.refused("deleteAlerts", ids=seeds.uuid(8999))
    await desk.ask("deleteAlerts", type="7", enddate="1970-01-01T00:33:20+0000")
    assert {row.text for row in await desk.store.find(Alert)} == {"host 3", "host 4", "host 5"}
    await desk.ask("deleteAlerts", startdate="1970-01-01T01:00:00+0000")
    assert {row.text for row in await desk.store.find(Alert)} == {"host 3"}


async def test_somebody_outside_raises_an_alert(desk: Desk) -> None:
    wanted = {"type": "1", "name": "ALERT.MEMORY", "description": "low", "zoneid": seeds.ZONE}
    job = await desk.ask("generateAlert", ADMIN, **wanted)
    result = await desk.ask("queryAsyncJobResult", jobid=job["jobid"])
    assert (result["jobstatus"], result["jobresult"]) == (1, {"success": True})
    assert await shown(desk) == ["low"]
    await desk.refused("listAlerts", ALICE)
