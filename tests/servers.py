"""Real servers for tests: ZooKeeper, Redis, PostgreSQL, each in a folder and at a port of its own.

    with servers.redis() as server:
        ... server.url; server.kill(); server.restart(); server.freeze(); server.thaw()

All block: a test in a loop calls them by asyncio.to_thread if others must go on meanwhile. Data
on disk outlives `kill` and `restart`; what is left goes with the context, also when a test fails.
Make a fixture of one for a module or a class; a test that kills makes its own.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

PATIENCE_S = 60.0
S = TypeVar("S", bound="Server")
POSTGRES_BIN = Path("/usr/lib/postgresql/15/bin")
JARS = (
    "zookeeper",
    "zookeeper-jute",
    "slf4j-api",
    "slf4j-nop",
    "netty-handler",
    "netty-transport",
    "netty-transport-native-epoll",
    "netty-transport-native-unix-common",
    "netty-buffer",
    "netty-codec",
    "netty-common",
    "netty-resolver",
    "metrics-core",
    "snappy-java",
    "commons-cli",
    "commons-io",
    "jackson-core",
    "jackson-databind",
    "jackson-annotations",
)


class Server(ABC):
    """One server process."""

    holds: Sequence[str] = ("data",)  # folders in its own

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        self.folder, self.host = folder, host
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @abstractmethod
    def command(self) -> Sequence[str]:
        """What to run, in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it serves."""

    def user(self) -> str | None:
        """Whom it runs as; None: whoever runs the tests."""
        return None

    def start(self) -> None:
        """Returns once it serves."""
        assert self.process is None, "it runs already"
        with (self.folder / "output").open("ab") as output:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,  # a Ctrl-C is for the tests
                user=self.user(),
                group=self.user(),
                extra_groups=None if self.user() is None else [],
            )
        deadline = time.monotonic() + PATIENCE_S
        while not self.answers():
            assert self.process.poll() is None, f"it ended: {self.output()}"
            assert time.monotonic() < deadline, f"it does not answer: {self.output()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9, of it and its children; nothing if it does not run."""
        if self.process is None:
            return
        self._frozen.clear()
        for pid in (self.process.pid, *self.children()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def restart(self) -> None:
        """kill -9 and start again, with its data and at the same port."""
        self.kill()
        self.start()

    def forget(self) -> None:
        """Kill it and remove its data: what starts next at this port is another, and empty."""
        self.kill()
        for name in self.holds:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def freeze(self) -> None:
        """SIGSTOP: connections stand, nothing is answered."""
        assert self.process is not None
        self._frozen = [self.process.pid, *self.children()]
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
        deadline = time.monotonic() + PATIENCE_S
        while not all(_stopped(pid) for pid in self._frozen):  # a thread may be at an answer yet
            assert time.monotonic() < deadline, "it does not stop"
            time.sleep(0.005)

    def thaw(self) -> None:
        """And on again."""
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self._frozen.clear()

    def children(self) -> list[int]:
        """The process ids below it."""
        if self.process is None:
            return []
        todo, found = [self.process.pid], list[int]()
        while todo:
            with suppress(OSError):
                below = Path(f"/proc/{(pid := todo.pop())}/task/{pid}/children").read_text()
                todo += map(int, below.split())
                found += map(int, below.split())
        return found

    def output(self) -> str:
        """The end of what it wrote."""
        return (self.folder / "output").read_text(errors="replace")[-2000:]

    def connects(self) -> bool:
        with suppress(OSError), socket.create_connection((self.host, self.port), 1):
            return True
        return False

    def says(self, question: bytes, answer: bytes) -> bool:
        """Whether a connection gets this answer to this question."""
        with suppress(OSError), socket.create_connection((self.host, self.port), 1) as line:
            line.sendall(question)
            return line.recv(64).startswith(answer)
        return False


class ZooKeeperServer(Server):
    """Standalone; sessions of at least 2 ticks."""

    tick_ms = 500

    def command(self) -> Sequence[str]:
        file = self.folder / "zoo.cfg"
        file.write_text(
            f"tickTime={self.tick_ms}\n"
            f"dataDir={self.folder}/data\n"
            f"clientPort={self.port}\n"
            f"clientPortAddress={self.host}\n"
            "maxClientCnxns=0\n"
            "admin.enableServer=false\n"
            "4lw.commands.whitelist=ruok,srvr\n"
            "maxSessionTimeout=40000\n"
        )
        jars = ":".join(f"/usr/share/java/{name}.jar" for name in JARS)
        return [
            "java",
            "-Xmx64m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-Xshare:auto",
            "-Dzookeeper.forceSync=no",
            "-cp",
            jars,
            "org.apache.zookeeper.server.quorum.QuorumPeerMain",
            str(file),
        ]

    def answers(self) -> bool:
        return self.says(b"srvr", b"Zookeeper version")


class RedisServer(Server):
    """Keeps its data over a kill: it is written with every command."""

    holds = ("appendonlydir",)

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    def command(self) -> Sequence[str]:
        kept = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
        where = ["--bind", self.host, "--port", str(self.port), "--dir", str(self.folder)]
        return ["redis-server", *where, *kept]

    def answers(self) -> bool:
        return self.says(b"PING\r\n", b"+PONG")


def _stopped(pid: int) -> bool:
    """Whether no thread of the process runs any more: proc_pid_stat(5), state."""
    try:
        states = [
            (task / "stat").read_text().rpartition(")")[2].split()[0]
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return all(state in "tTZX" for state in states)


class PostgresServer(Server):
    """Runs as `postgres` if the tests run as root. Databases are made by `database()`."""

    def __init__(self, folder: Path, host: str = "127.0.0.1") -> None:
        super().__init__(folder, host)
        self._made = 0
        if user := self.user():
            shutil.chown(folder, user, user)

    def user(self) -> str | None:
        return "postgres" if os.geteuid() == 0 else None

    def kill(self) -> None:
        """And until its children are gone: they hold the shared memory that it wants again."""
        children = [*self.children()]
        super().kill()
        deadline = time.monotonic() + PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in children) or self._held():
            assert time.monotonic() < deadline, "its children do not end"
            time.sleep(0.01)

    def _held(self) -> bool:
        """Whether any process still has the data folder for its own."""
        data = self.folder / "data"
        for place in Path("/proc").glob("[0-9]*/cwd"):
            with suppress(OSError):
                if place.readlink() == data:
                    return True
        return False

    def url(self, database: str = "postgres") -> str:
        """postgresql://USER@HOST:PORT/DATABASE"""
        return f"postgresql://{self.login()}@{self.address}/{database}"

    def login(self) -> str:
        """Whom the server lets in."""
        return self.user() or pwd.getpwuid(os.geteuid()).pw_name

    def database(self, like: str = "") -> str:
        """A new database, empty or like the one of that URL; returns its URL."""
        self._made += 1
        name = f"test{os.getpid()}_{self._made}"
        template = like.rpartition("/")[2] or "template1"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run a statement by psql; returns what it prints, without headings."""
        done = subprocess.run(
            [
                str(POSTGRES_BIN / "psql"),
                "-qAtX",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
                self.url(database),
            ],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def command(self) -> Sequence[str]:
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            made = subprocess.run(
                [
                    str(POSTGRES_BIN / "initdb"),
                    "-D",
                    str(data),
                    "-A",
                    "trust",
                    "--no-sync",
                    "--locale=C.UTF-8",
                    "-E",
                    "UTF8",
                ],
                capture_output=True,
                cwd=self.folder,
                user=self.user(),
                group=self.user(),
                check=False,
            )
            assert made.returncode == 0, made.stderr.decode()
        settings = {
            "port": self.port,
            "listen_addresses": self.host,
            "unix_socket_directories": self.folder,
            "fsync": "off",  # kill -9 loses nothing: the kernel lives on
            "full_page_writes": "off",
            "max_connections": 200,
            "shared_buffers": "32MB",
        }
        given = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        return [str(POSTGRES_BIN / "postgres"), "-D", str(data), *given]

    def setting(self, name: str, value: str) -> None:
        """Change a setting of the server that runs; it holds at once, and after a restart."""
        self.sql(f"ALTER SYSTEM SET {name} = '{value}'")
        self.sql("SELECT pg_reload_conf()")

    def answers(self) -> bool:
        ready = [str(POSTGRES_BIN / "pg_isready"), "-q", "-h", self.host, "-p", str(self.port)]
        return self.connects() and subprocess.run(ready, check=False).returncode == 0


class PostgresStandby(PostgresServer):
    """Follows a primary that runs when it is first started."""

    def __init__(self, folder: Path, primary: PostgresServer) -> None:
        super().__init__(folder)
        self.primary = primary

    def command(self) -> Sequence[str]:
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            at = self.primary
            words = ["pg_basebackup", "-D", str(data), "-R", "-X", "stream", "-c", "fast"]
            words += ["--no-sync", "-h", at.host, "-p", str(at.port), "-U", self.login()]
            words[0] = str(POSTGRES_BIN / words[0])
            user = self.user()
            made = subprocess.run(
                words, capture_output=True, cwd=self.folder, user=user, group=user, check=False
            )
            assert made.returncode == 0, made.stderr.decode()
        return super().command()

    def part(self) -> None:
        """Receive no more of what the primary commits."""
        self.setting("primary_conninfo", "")
        self.until("SELECT count(*) FROM pg_stat_wal_receiver", "0")

    def promote(self) -> None:
        """It is the primary now; returns once it takes commits."""
        assert self.sql("SELECT pg_promote(true, 60)") == "t"

    def until(self, question: str, answer: str) -> None:
        """Wait until a statement answers that."""
        wait_until(lambda: self.sql(question) == answer, question)


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for a fact."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"it does not come true: {what}"
        time.sleep(0.02)


def free_port() -> int:
    """A TCP port that nobody has now, outside the range that the system gives away."""
    low = 20000 + os.getpid() % 100 * 100  # two test processes do not meet
    for port in range(low + _next_offset(), 32000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


_given = iter(range(10**6))


def _next_offset() -> int:
    return next(_given) % 100


def zookeeper() -> AbstractContextManager[ZooKeeperServer]:
    """A ZooKeeper; it serves when the context begins."""
    return _serving(ZooKeeperServer)


def redis() -> AbstractContextManager[RedisServer]:
    """A Redis; it serves when the context begins."""
    return _serving(RedisServer)


def postgres() -> AbstractContextManager[PostgresServer]:
    """A PostgreSQL; it serves when the context begins."""
    return _serving(PostgresServer)


@contextmanager
def postgres_pair() -> Generator[tuple[PostgresServer, PostgresStandby]]:
    """A primary, and a standby that follows it; none is synchronous yet."""
    with (
        postgres() as primary,
        _serving(lambda folder: PostgresStandby(folder, primary)) as standby,
    ):
        question = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'"
        wait_until(lambda: primary.sql(question) == "1", "the standby follows")
        yield primary, standby


@contextmanager
def _serving(make: Callable[[Path], S]) -> Generator[S, None, None]:
    folder = Path(
        tempfile.mkdtemp(prefix="cs-server-", dir="/tmp")
    )  # whoever runs the server must get there
    folder.chmod(0o755)
    server = make(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
