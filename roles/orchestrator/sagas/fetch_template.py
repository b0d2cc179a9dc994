"""Fetch: an image comes to a pool of its zone, and is checked."""

from __future__ import annotations

from csnode.contracts.storage import Storage
from csnode.faults import Unavailable
from csnode.model.host import StoragePool
from csnode.model.machine import ImageFacts
from csnode.model.orders import FetchTemplate
from csnode.model.room import unwritten
from csnode.model.telling import image_of
from csnode.model.template import Template
from csnode.saga.saga import Saga, step
from csnode.types import PoolId, TemplateId
from roles.orchestrator.networks import can_drop


class Fetch(Saga[FetchTemplate]):
    """Ends with the image ready, or gone from the pool and the record saying why."""

    event = "TEMPLATE.CREATE"

    @step
    async def pool(self) -> PoolId:
        await self.view.fresh()
        template = await self.store.get(Template, self.order.template)
        pools = [
            p
            for p in self.view.all(StoragePool)
            if p.enabled and p.up and template.zone in (None, p.zone)
        ]
        if not pools:
            raise Unavailable("No storage pool of the zone is up")
        return PoolId(max(pools, key=lambda p: (unwritten(p), p.id)).id)

    @step
    async def image(self) -> ImageFacts:
        template = await self.store.get(Template, self.order.template)
        return await self.ask(Storage, at=self.pool).ensure_image(image_of(template))

    @image.undo
    async def drop_image(self) -> None:
        if await can_drop(self, StoragePool, self.pool, self.order.template):
            await self.ask(Storage, at=self.pool).ensure_no_image(TemplateId(self.order.template))

    async def succeeded(self) -> None:
        facts = self.image
        self.change.update(
            Template,
            self.order.template,
            ready=True,
            size=facts.size,
            physical_size=facts.physical_size,
            trouble="",
        )

    async def failed(self, why: str) -> None:
        self.change.update(Template, self.order.template, trouble=why)
