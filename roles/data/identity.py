"""Whose database it is, and what proves that it was further on before.

The id is made with the database, and is the same in every copy and backup of it. A mark says how
far the database was, and when; only who has the secret in the database can make one. So whoever
was given a mark can show it later to a database that was put back to an earlier state, and nobody
can claim more than was true.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

from csnode.contracts.data import Mark
from csnode.types import Struct
from csnode.uuids import new_id, new_secret
from roles.data.sqlite import Database as File

if TYPE_CHECKING:
    from roles.data.postgres import Database as Server

MAKE = "INSERT INTO cloud (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING"
MAKE_SHARED = (
    "INSERT INTO cloud (name, value) SELECT * FROM unnest($1::text[], $2::text[]) "
    "ON CONFLICT (name) DO NOTHING"
)
READ = "SELECT name, value FROM cloud"
USED = "SELECT kind FROM head WHERE kind <> '' LIMIT 1"


class Identity(Struct):
    """The id of the cloud whose rows these are."""

    id: str
    secret: str
    new: bool = False  # the database had no row before: no cloud knows it

    def mark(self, number: int, at: float) -> Mark:
        """Return what proves later that the database was that far."""
        return Mark(number=number, at=at, proof=self._proof(number, at))

    def proves(self, mark: Mark) -> bool:
        """Tell whether this database, or what it is a copy of, gave that mark."""
        return hmac.compare_digest(mark.proof, self._proof(mark.number, mark.at))

    def _proof(self, number: int, at: float) -> bytes:
        said = f"csnode mark {self.id} {number} {at!r}".encode()
        return hmac.digest(self.secret.encode(), said, hashlib.sha256)


async def of_file(database: File) -> Identity:
    """Return the identity of SQLite's database, made if it has none."""
    if not database.rows(READ):
        await database.transact([(MAKE, _made())])
    words = {name.decode(): value.decode() for name, value in database.rows(READ)}
    return Identity(id=words["id"], secret=words["secret"], new=not database.rows(USED))


async def of_server(database: Server) -> Identity:
    """Return PostgreSQL's identity; of processes that start at once, the first one's counts."""
    if not await database.ask(READ):
        names, values = zip(*_made(), strict=True)
        await database.ask(MAKE_SHARED, list(names), list(values))
    words = {str(name): str(value) for name, value in await database.ask(READ)}
    return Identity(id=words["id"], secret=words["secret"], new=not await database.ask(USED))


def _made() -> list[tuple[str, str]]:
    return [("id", new_id()), ("secret", new_secret(24))]
