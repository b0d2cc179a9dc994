"""SQLite: the only file that imports sqlite3 and aiosqlite.

Statements run on the loop's thread; what waits for the disk (COMMIT) or may be long (a page of
rows) runs as one call in an aiosqlite thread. Why not everything there: sqlite3 lets go of the
interpreter lock at every step, so a thread that makes many steps waits up to 5 ms for each while
the loop is busy (500 rows: 3.1 s, against 9 ms as one step; commits: a half to a fifth as many).
A statement itself takes some 3 us.

`inline` opens one connection and no thread, for the virtual world; the same statements run.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import aiosqlite
from sqlalchemy import Engine, StaticPool, create_engine

from csnode.faults import Broken, Fault, Invalid, Refused, Unavailable
from csnode.testing import disk as simdisk
from roles.data.engine import Asking, Work
from roles.data.schema import DIALECT

T = TypeVar("T")
MEMORY = ":memory:"
SIM = "sim:"  # the disk of a virtual world: "sim:NAME"
WRITER = (
    "PRAGMA busy_timeout=1000",
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",  # in WAL mode: fsync at every COMMIT
    "PRAGMA wal_autocheckpoint=4000",
    "PRAGMA cache_size=-16384",
)
READER = ("PRAGMA busy_timeout=1000", "PRAGMA query_only=ON", "PRAGMA cache_size=-4096")


class _Threaded(aiosqlite.Connection):
    """aiosqlite's connection, with one more door: a whole function in its thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(lambda: connection, iter_chunk_size=64)
        self._thread.daemon = True  # a crashing process does not wait for it

    async def __aenter__(self) -> Self:
        await self
        return self

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        done: T = await self._execute(work, self._conn)  # pyright: ignore[reportUnknownMemberType]
        return done


def _asked(connection: sqlite3.Connection, asking: Asking[T]) -> T:
    try:
        sql, values = next(asking)
        while True:
            row = connection.execute(sql, values).fetchone()
            sql, values = asking.send(row[0] if row and row[0] is not None else b"")
    except StopIteration as end:
        return cast("T", end.value)


def _connect(path: str, pragmas: Sequence[str]) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=512
        )
    except sqlite3.Error as error:
        raise _refusal(path, error) from error
    try:
        for pragma in pragmas:
            connection.execute(pragma)
    except sqlite3.Error as error:
        connection.close()
        raise _refusal(path, error) from error
    connection.text_factory = bytes
    return connection


class Database:
    """One database file, opened by one process. Every method raises Fault, never sqlite3.Error."""

    dialect = DIALECT
    trouble = ""  # the writer's says everything

    def __init__(
        self,
        path: str,
        writer: sqlite3.Connection,
        threads: tuple[_Threaded, _Threaded] | None = None,
        disk: simdisk.Opened | None = None,
    ) -> None:
        self.path = path
        self._disk = disk
        self.committing = False  # the writer's connection is busy in its thread
        self._writer = writer
        self._threads = threads

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read with the writer's connection, here and now; text comes as bytes."""
        try:
            return self._writer.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from error

    async def standbys(self) -> str:
        return ""  # a file has none

    async def text(self, sql: str, values: Sequence[Any]) -> bytes:
        """Return the one text that a query answers; empty if it is NULL or there is no row.

        The query is to gather its rows into one text, so that it is one step (see above).
        """

        def ask(connection: sqlite3.Connection) -> bytes:
            row = connection.execute(sql, values).fetchone()
            return row[0] if row and row[0] is not None else b""

        try:
            return await self._threads[1].run(ask) if self._threads else ask(self._writer)
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from error

    async def reading(self, asking: Asking[T]) -> T:
        """Answer several such queries over one state of the database, whoever commits meanwhile.

        `asking` runs in the thread that answers it.
        """

        def read(connection: sqlite3.Connection) -> T:
            connection.execute("BEGIN")
            try:
                return _asked(connection, asking)
            finally:
                connection.execute("COMMIT")

        try:
            return await self._threads[1].run(read) if self._threads else read(self._writer)
        except sqlite3.Error as error:
            raise _trouble(self.path, error) from error

    async def transact(self, work: Work) -> None:
        """Do all of it, on disk when this returns; or none of it, and raise a Fault."""
        self.committing = True
        try:
            if self._disk:
                await self._disk.write(lambda: self._write_all(work))
            elif self._threads:
                self._state(work)
                await self._threads[0].run(sqlite3.Connection.commit)
            else:
                self._write_all(work)
        except Exception as error:
            with suppress(sqlite3.Error):
                self._writer.rollback()
            self.committing = False
            if isinstance(error, sqlite3.Error):
                raise _trouble(self.path, error) from error
            raise
        self.committing = False

    def _state(self, work: Work) -> None:
        self._writer.execute("BEGIN IMMEDIATE")
        for sql, rows in work:
            self._writer.executemany(sql, rows)

    def _write_all(self, work: Work) -> None:
        self._state(work)
        self._writer.commit()

    def engine(self) -> Engine:
        """Make SQLAlchemy's engine over the writer's connection, for migrations."""
        return create_engine(
            "sqlite://",
            creator=lambda: self._writer,
            poolclass=StaticPool,
            pool_reset_on_return=None,
        )

    def plain_text(self, plain: bool) -> None:
        """Have text come as str for a while: SQLAlchemy's reflection needs it."""
        self._writer.text_factory = str if plain else bytes


@asynccontextmanager
async def opened(path: str, inline: bool) -> AsyncGenerator[Database]:
    """Open the database, made if need be. Raises Invalid or Refused, in one line that says why."""
    if path.startswith(SIM):
        with _on_sim_disk(path) as database:
            yield database
        return
    if path == MEMORY:
        if not inline:
            raise Invalid("[data] path = ':memory:' needs inline = true")
        lock = None
    else:
        lock = _lock(Path(path))
    try:
        writer = _connect(path, WRITER)
        if inline:
            with closing(writer):
                yield Database(path, writer)
        else:
            async with _Threaded(writer) as commits, _Threaded(_connect(path, READER)) as reads:
                yield Database(path, writer, (commits, reads))
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def _on_sim_disk(path: str) -> Generator[Database]:
    """Yield a database in memory that outlives its process, as far as it was synced."""
    disk = simdisk.disk_of(path.removeprefix(SIM))
    opened = disk.open()
    if disk.connection is None:
        disk.connection = _connect(MEMORY, WRITER)
        if disk.image is not None:
            disk.connection.deserialize(disk.image)
    try:
        yield Database(path, disk.connection, disk=opened)
    finally:
        opened.close()


def _lock(path: Path) -> int:
    """Keep every other process away; the system lets go when we end, however we end."""
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Refused(f"cannot keep a database at {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # it holds secrets
    except BlockingIOError as error:
        pid = os.pread(lock, 20, 0).decode(errors="replace").strip()
        os.close(lock)
        raise Refused(f"another csnode process uses {path} (pid {pid})") from error
    except OSError as error:
        os.close(lock)
        raise Refused(f"cannot keep a database at {path}: {error.strerror}") from error
    return lock


def _is(error: sqlite3.Error, *codes: int) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def _refusal(path: str, error: sqlite3.Error) -> Fault:
    """Return why the database cannot be opened."""
    if _is(error, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Refused(f"{path} is damaged ({error}); put a backup in its place")
    if _is(error, sqlite3.SQLITE_FULL):
        return Refused(f"the disk that holds {path} is full")
    return Refused(f"cannot open {path}: {error}")


def _trouble(path: str, error: sqlite3.Error) -> Fault:
    """Return what went wrong at work; asking again may help, once somebody has seen to it."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
        return Broken("the database refused a statement", detail=str(error))
    if _is(error, sqlite3.SQLITE_FULL):
        return Unavailable("the disk of the data service is full", detail=path)
    if _is(error, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Unavailable("the database is damaged; put a backup in its place", detail=path)
    return Unavailable(f"the database cannot be used: {error}", detail=path)
