"""The servers that csnode stands on in a lab, on a host of their own: PostgreSQL, ZooKeeper."""

from __future__ import annotations

from pathlib import Path

from tests.lab import plan
from tests.lab.host import Host
from tests.lab.shell import wait_for
from tests.servers import PostgresServer, Server, ZooKeeperServer

POSTGRES_PORT, ZOOKEEPER_PORT = 5432, 2181


class Engines:
    """Started as the plan needs them; each can be killed and started again, with its data."""

    def __init__(self, host: Host, net: str) -> None:
        self.host, self._net = host, net
        self.servers: dict[str, Server] = {}

    def up(self) -> None:
        if plan.DATA == "postgresql":
            self.postgresql()
        if "zookeeper" in {plan.DIRECTORY, plan.LEASE}:
            self.zookeeper()
        for name, server in self.servers.items():
            self._answering(name, server)
        if plan.DATA == "postgresql":
            sql = "SELECT 1 FROM pg_database WHERE datname = 'csnode'"
            server = self.servers["postgresql"]
            assert isinstance(server, PostgresServer)
            if not server.sql(sql):
                server.sql("CREATE DATABASE csnode")

    def postgresql(self) -> None:
        server = PostgresServer(self._folder("postgresql"), self.host.address)
        server.port = POSTGRES_PORT
        user = server.user()
        command = server.command()  # makes the database, if there is none yet
        allowed = server.folder / "data" / "pg_hba.conf"
        line = f"host all all {self._net}.0/24 trust\n"
        if line not in allowed.read_text():
            with allowed.open("a") as file:
                file.write(line)
        self.servers["postgresql"] = server
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups")
        self.host.start("postgresql", *become, *command)

    def zookeeper(self) -> None:
        server = ZooKeeperServer(self._folder("zookeeper"), self.host.address)
        server.port = ZOOKEEPER_PORT
        self.servers["zookeeper"] = server
        self.host.start("zookeeper", *server.command())

    def restart(self, name: str) -> None:
        """Start a killed one again."""
        getattr(self, name)()
        self._answering(name, self.servers[name])

    def _answering(self, name: str, server: Server) -> None:
        def answers() -> bool:
            assert self.host.pid(name), f"{name} ended: {self.host.log(name)[-2000:]}"
            return server.answers()

        wait_for(answers, f"{name} answers")

    def _folder(self, name: str) -> Path:
        folder = self.host.folder / name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        return folder
