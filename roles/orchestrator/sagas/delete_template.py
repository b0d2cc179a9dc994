"""Delete: an image leaves every pool, and then its record goes."""

from __future__ import annotations

import asyncio

from csnode.contracts.storage import Storage
from csnode.model.host import StoragePool
from csnode.model.orders import DeleteTemplate
from csnode.model.template import Template
from csnode.saga.saga import Saga, step
from roles.orchestrator.networks import can_drop


class Delete(Saga[DeleteTemplate]):
    """Ends with nothing left of it; if a pool refuses, the template is as it was."""

    event = "TEMPLATE.DELETE"

    @step
    async def images(self) -> None:
        for pool in await self.store.find(StoragePool):
            if await can_drop(self, StoragePool, pool.id, self.order.template):
                await self.ask(Storage, at=pool.id).ensure_no_image(self.order.template)

    async def turned(self) -> None:
        pools = await self.store.find(StoragePool)
        asked = (self.ask(Storage, at=pool.id).outdate(self.order.template) for pool in pools)
        await asyncio.gather(*asked, return_exceptions=True)

    async def succeeded(self) -> None:
        self.change.delete(Template, self.order.template)

    async def failed(self, why: str) -> None:  # noqa: ARG002 (the job says why)
        self.change.update(Template, self.order.template, gone=False)
