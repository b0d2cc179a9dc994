"""PostgreSQL: the only file that imports asyncpg.

One connection writes, a few read. A session that holds the turn and says nothing for 2 s (in the
middle of a statement: 5 s) loses it to the others: the server ends it, and its transaction with it.
Whatever goes wrong on a connection, it is given up and another is made when next needed, not more
often than every so often.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit
from weakref import WeakSet

import asyncpg as _asyncpg
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from csnode.clock import now
from csnode.faults import Broken, Fault, Invalid, Refused, Unavailable
from csnode.log import logger
from roles.data import postgres_sql as sql
from roles.data.engine import Asking, Work
from roles.data.postgres_commit import UNCONFIRMED, commit, uncancelled
from roles.data.postgres_hosts import Era, each_host, primary_of, standby_warning

asyncpg: Any = _asyncpg  # its types say little
T = TypeVar("T")
log = logger("data")
READERS = 4
CONNECT_S, ANSWER_S, READ_S, OPEN_S = 3.0, 8.0, 50.0, 30.0
BACKOFF_S, BACKOFF_MAX_S = 0.05, 1.0
SESSION = {
    "application_name": "csnode",
    "idle_in_transaction_session_timeout": "2s",  # a frozen process holds nobody up for longer
    "lock_timeout": "5s",
    "statement_timeout": "0",  # asyncpg bounds statements; this ends no wait for a standby
    "tcp_user_timeout": "10s",
    "jit": "off",
}
LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # shut down, cancelled, starting up
    asyncpg.exceptions.InsufficientResourcesError,  # disk, memory, connections
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.InvalidTransactionStateError,  # idle for too long; a standby
    asyncpg.exceptions.ObjectNotInPrerequisiteStateError,  # a lock that did not come
    asyncpg.exceptions.PostgresSystemError,
)
WRONG = (
    asyncpg.exceptions.InvalidAuthorizationSpecificationError,
    asyncpg.exceptions.InvalidCatalogNameError,
    asyncpg.exceptions.InsufficientPrivilegeError,
)
clock_source: Callable[[float], float] = float  # tests put a clock of their own here


class Database:
    """One database, shared with other processes. Every method raises Fault."""

    dialect = sql.DIALECT

    def __init__(self, url: str, password_file: str) -> None:
        self.path = _shown(url)
        self.trouble = ""
        self._urls, self._password_file = each_host(url), password_file
        self._made: WeakSet[Any] = WeakSet()  # connections, of the era
        self._era = Era()  # of the server that we wrote to last
        self._placed = False  # whether the database knows that era
        self.lost: list[tuple[int, int]] = []  # as of the turn; between: of no state that is left
        self.turn_lost = False  # before COMMIT: nothing was written, so all may be done again
        self._writer: Any = None
        self._pool: Any = None
        self._wait, self._not_before = 0.0, 0.0

    async def open(self, within_s: float = OPEN_S) -> None:
        """Wait a while for a server that is starting. Raises Refused if it lets nobody in."""
        deadline = now() + within_s
        while True:
            try:
                self._writer = await self._connect()
                break
            except WRONG as error:
                raise Refused(f"{self.path} does not let us in: {error}") from error
            except LOST as error:
                if now() > deadline:
                    raise Refused(f"cannot reach {self.path}: {_why(error)}") from error
                log.info("the database is not there yet", url=self.path, why=_why(error))
                await asyncio.sleep(0.5)
            except (ValueError, asyncpg.PostgresError) as error:
                raise Refused(f"cannot use {self.path}: {error}") from error
        if await self._writer.fetchval("SHOW fsync") == "off":
            log.warning("PostgreSQL runs without fsync: a power failure loses what was committed")
        self._pool = asyncpg.create_pool(
            connect=self._connect, min_size=0, max_size=READERS, reset=_as_it_is
        )
        await self._pool

    async def close(self) -> None:
        self.hang_up()
        if self._pool is not None:
            self._pool.terminate()

    async def _connect(self, *_: Any, command_s: float | None = ANSWER_S, **__: Any) -> Any:
        """Connect to the primary. Raises OSError for one that a promotion left behind."""
        connect = partial(self._connect_to, command_s=command_s)
        connection, era = await primary_of(self._urls, connect)
        if era.system == self._era.system and era < self._era:
            connection.terminate()
            raise OSError(
                f"this primary was left behind: its timeline is {era.timeline}, and another server "
                f"went on with {self._era.timeline}; make it a standby of that one"
            )
        if era != self._era:
            self._era = era
            self.hang_up()
            for old in tuple(self._made):  # readers may be at the old primary yet, and wait
                old.terminate()
        self._made.add(connection)
        return connection

    async def _connect_to(self, url: str, command_s: float | None) -> tuple[Any, Era]:
        options: dict[str, Any] = {}
        if self._password_file:
            options["password"] = Path(self._password_file).read_text().strip()  # noqa: ASYNC240
        connection: Any = await asyncpg.connect(
            url,
            server_settings=SESSION,
            target_session_attrs="read-write",
            timeout=CONNECT_S,
            command_timeout=command_s,
            statement_cache_size=512,
            max_cacheable_statement_size=0,
            **options,
        )
        try:
            how, system, timeline = await connection.fetchrow(sql.ERA)
            if how in ("off", "local"):
                await connection.execute("SET synchronous_commit = on")
        except BaseException:
            connection.terminate()
            raise
        return connection, Era(system=system, timeline=timeline)

    def clock(self, reading: float) -> float:
        """Return seconds since 1970 by the server's clock: the same for every process."""
        return clock_source(reading)

    # -- reading ----------------------------------------------------------------------------

    async def ask(
        self, query: str, *values: Any, within_s: float | None = None
    ) -> list[tuple[Any, ...]]:
        """Read rows by one of the reading connections; READ_S is enough for most."""
        within_s = READ_S if within_s is None else within_s
        with self._faults():
            async with self._reader() as connection:
                found = await connection.fetch(query, *values, timeout=within_s)
        return cast("list[tuple[Any, ...]]", found)

    @asynccontextmanager
    async def _reader(self) -> AsyncGenerator[Any]:
        """Yield a connection to read by; one that fell silent is not asked whether it would end."""
        async with self._pool.acquire(timeout=ANSWER_S) as connection:
            try:
                yield connection
            except (TimeoutError, asyncio.CancelledError):
                connection.terminate()
                raise

    async def text(self, sql: str, values: Sequence[Any]) -> bytes:
        found = await self.ask(sql, *values)
        text: str | None = found[0][0] if found else None
        return text.encode() if text else b""

    async def reading(self, asking: Asking[T]) -> T:
        with self._faults():
            async with (
                self._reader() as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                return await _asked(connection, asking)

    # -- writing ----------------------------------------------------------------------------

    async def take_turn(self) -> None:
        """Begin a transaction that nobody else's runs beside."""
        self.turn_lost = False
        with self._faults():
            line = await self._line()
            await self._turn(line)
            if not self._placed:
                if await self._began_anew(line):
                    await self._turn(line)
                self.lost = [tuple(row) for row in await line.fetch(sql.LOST)]
                self._placed = True

    async def _turn(self, line: Any) -> None:
        try:
            await line.execute(sql.TURN)
        except asyncpg.exceptions.LockNotAvailableError:
            for pid, _ in await self._pool.fetch(sql.END_STALLED):
                log.warning("ended a session that held the turn and stood still", pid=pid)
            if await self._pool.fetchval(sql.UNCONFIRMED):
                raise Unavailable(UNCONFIRMED, detail=self.path) from None
            raise

    async def _began_anew(self, line: Any) -> bool:
        """Write down which server this is; if it was another, number the feed far away."""
        here, known = str(self._era), await line.fetchval(sql.KNOWN_ERA)
        if known == here:
            return False
        for statement in sql.BEGIN_ANEW if known else ():
            await line.execute(statement, timeout=OPEN_S)
        forget, note = sql.NOTE_ERA
        await line.execute(forget)
        await line.execute(note, here)
        await commit(line, ANSWER_S)
        if known:
            log.warning("the database failed over: the feed is numbered anew", was=known, now=here)
        return True

    async def ask_writer(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Read rows, as the transaction sees them."""
        with self._turn_kept():
            return cast("list[tuple[Any, ...]]", await self._held().fetch(query, *values))

    async def write(self, work: Work) -> None:
        """Write deletions, then the rest, then COMMIT. Unless that is answered, nobody can tell."""
        deletes: dict[str, list[tuple[Any, ...]]] = {}
        others: dict[str, list[tuple[Any, ...]]] = {}
        for statement, rows in work:
            if rows:
                place = deletes if statement.startswith("DELETE") else others
                place.setdefault(statement, []).extend(rows)
        with self._turn_kept():
            line = self._held()
            for place in (deletes, others):
                if place:
                    text, values = sql.joined(list(place.items()))
                    await line.execute(text, *values)
        with self._faults():
            await commit(line, ANSWER_S)

    async def pass_on(self) -> None:
        """End the transaction; nothing was written."""
        with self._faults():
            await self._held().execute("ROLLBACK")

    def _held(self) -> Any:
        """Return the connection with the turn; a reader that saw a failover may have hung it up."""
        if self._writer is None:
            raise Unavailable("the database failed over in the middle of this", detail=self.path)
        return self._writer

    def hang_up(self) -> None:
        """Give the writing connection up, and whatever it was at."""
        connection, self._writer = self._writer, None
        if connection is not None:
            with suppress(Exception):
                connection.terminate()

    async def _line(self) -> Any:
        if self._writer is None or self._writer.is_closed():
            self._writer = None
            if now() < self._not_before:
                raise Unavailable("the database cannot be reached", detail=self.path)
            self._wait = min(max(2 * self._wait, BACKOFF_S), BACKOFF_MAX_S)
            self._not_before = now() + self._wait
            self._placed = False
            self._writer = await self._connect()
            self._wait = self._not_before = 0.0
        return self._writer

    @contextmanager
    def _faults(self) -> Generator[None]:
        try:
            yield
            self.trouble = ""
        except Unavailable as fault:
            self.trouble = fault.message
            raise
        except (Fault, asyncio.CancelledError):
            raise
        except asyncpg.DataError as error:
            raise Broken("the database refused a value", detail=str(error)) from error
        except asyncpg.exceptions.DiskFullError as error:
            self.trouble = "the disk of the data service is full"
            raise Unavailable(self.trouble, detail=self.path) from error
        except (*LOST, *WRONG) as error:
            self.trouble = f"the database cannot be used: {_why(error)}"
            raise Unavailable(self.trouble, detail=self.path) from error
        except asyncpg.PostgresError as error:
            raise Broken("the database refused a statement", detail=str(error)) from error

    @contextmanager
    def _turn_kept(self) -> Generator[None]:
        """Note if the turn is lost: the server ended the session, as that of a slow process."""
        try:
            with self._faults():
                yield
        except Unavailable as fault:
            self.turn_lost = not isinstance(fault.__cause__, TimeoutError)
            raise

    async def standbys(self) -> str:
        """Return what an operator should mend about the standbys; "" if nothing."""
        standbys, names, connected = (await self.ask(sql.STANDBYS))[0]
        return standby_warning(standbys=standbys, names=names, connected=connected)

    # -- the schema -------------------------------------------------------------------------

    async def change_schema(self, work: Callable[[Connection], None]) -> None:
        """Run it in one transaction, with nobody else at the schema."""
        made: list[Any] = []

        async def creator() -> Any:
            made.append(await self._connect(command_s=None))
            return made[-1]

        engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://", async_creator=creator, poolclass=NullPool
        )
        try:
            async with engine.connect() as connection:
                await connection.exec_driver_sql("SET LOCAL lock_timeout = '60s'")
                await connection.exec_driver_sql(
                    "SET LOCAL idle_in_transaction_session_timeout = 0"
                )
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({SCHEMA_LOCK})")
                there = await connection.exec_driver_sql("SELECT to_regclass('head') IS NOT NULL")
                if there.scalar():  # first the turn, then tables: as every batch has it
                    await connection.exec_driver_sql(sql.TURN.removeprefix("BEGIN; "))
                await connection.run_sync(work)
                await connection.exec_driver_sql(sql.FIRST_TURN)
                await connection.exec_driver_sql(sql.MAKE_ERA)
                await connection.exec_driver_sql(sql.MAKE_LOST)
                with self._faults():
                    await uncancelled(made[-1], connection.commit(), ANSWER_S)
        finally:
            await engine.dispose()


SCHEMA_LOCK = 0x63736E6F6465  # "csnode"


async def _asked(connection: Any, asking: Asking[T]) -> T:
    try:
        query, values = next(asking)
        while True:
            text = await connection.fetchval(query, *values, timeout=READ_S)
            query, values = asking.send(text.encode() if text else b"")
    except StopIteration as end:
        return cast("T", end.value)


async def _as_it_is(_: Any) -> None:
    """Leave the connection as it is: reading leaves nothing behind on it."""


@asynccontextmanager
async def opened(
    url: str, password_file: str, within_s: float = OPEN_S
) -> AsyncGenerator[Database]:
    """Yield the database at that URL. Raises Invalid or Refused, in one line that says why."""
    if urlsplit(url).scheme not in ("postgresql", "postgres"):
        raise Invalid(f"[data] url = {_shown(url)!r}: only postgresql:// is known")
    database = Database(url, password_file)
    try:
        await database.open(within_s)
        yield database
    finally:
        await database.close()


def _shown(url: str) -> str:
    return url.split("?", maxsplit=1)[0].replace(urlsplit(url).password or "\x00", "...")


def _why(error: BaseException) -> str:
    return str(error) or type(error).__name__
