"""Alerts: told once each; the same thing again raises the count of the first."""

from __future__ import annotations

from csnode.clock import wall
from csnode.data.store import Store
from csnode.faults import Conflict, Fault, NotFound
from csnode.log import logger
from csnode.model.alert import Alert
from csnode.model.host import Host
from csnode.types import HostId
from csnode.uuids import id_of

HOST = (7, "ALERT.COMPUTE.HOST")  # CloudStack's AlertType: number and word
ROUTER = (9, "ALERT.SERVICE.DOMAINROUTER")
HA = (30, "ALERT.HA.ACTION")
MANAGEMENT = (14, "ALERT.MANAGEMENT")
log = logger("alarm")


async def alarm(store: Store, type: tuple[int, str], host: Host, subject: str, text: str) -> None:
    """Raise an alert about a host; `subject` says which thing it is, over and over.

    One that was archived is shown again. That it could not be raised is logged, and no more: it
    must not keep anybody from what the alert is about.
    """
    await _kept(
        store,
        Alert(
            id=id_of("alert", type[1], host.id, subject),
            type=type[0],
            name=type[1],
            text=text,
            zone=host.zone,
            pod=host.pod,
            cluster=host.cluster,
            host=HostId(host.id),
            sent=wall(),
        ),
    )


async def alarm_cloud(store: Store, type: tuple[int, str], subject: str, text: str) -> None:
    """Raise an alert that is about no host, as `alarm` does."""
    id = id_of("alert", type[1], "", subject)
    await _kept(store, Alert(id=id, type=type[0], name=type[1], text=text, sent=wall()))


async def _kept(store: Store, alert: Alert) -> None:
    log.warning("alert", host=alert.host, text=alert.text)
    try:
        await _raised(store, alert)
    except Fault as fault:
        log.warning("an alert could not be kept", text=alert.text, why=fault.message)


async def _raised(store: Store, alert: Alert) -> None:
    change = store.change()
    try:
        row = await store.get(Alert, alert.id)
    except NotFound:
        change.create(alert)
    else:
        change.update(
            Alert, alert.id, revision=row.revision, text=alert.text, sent=alert.sent,
            count=row.count + 1, archived=False,
        )  # fmt: skip
    try:
        await change.commit()
    except Conflict:
        return  # somebody has just raised it
