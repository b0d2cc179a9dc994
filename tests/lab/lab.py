"""A whole lab: switch, hosts, engines, csnode. Enter it to have it; leave it and nothing is left.

with Lab(folder) as lab:
    lab.hosts["h1"].run("ip", "address"); lab.cut("h1"); lab.heal("h1"); lab.lose("h1", 10)
    lab.power_off("h2"); lab.power_on("h2"); lab.kill("c1", "data"); lab.restart("c1", "data")
    lab.client().listHosts(); lab.running(); lab.console(vm)
"""

from __future__ import annotations

import hashlib
import os
import shutil
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cs import CloudStack

from tests.lab import joining, plan
from tests.lab.engines import Engines
from tests.lab.fencing import Fencing
from tests.lab.host import Host
from tests.lab.shell import children, ip, kill, shell, wait_for
from tests.lab.switch import NETNS, Switch, free_net

ROOT = Path(__file__).parents[2]
IMAGE = ROOT / ".cache" / "guest" / "tiny.qcow2"


class Lab:
    """Its folder says all about it: another process may take hold of a lab that is up.

    Labs in different folders do not touch each other.
    """

    def __init__(self, folder: Path, keep: bool = False) -> None:
        """Unless kept, it ends with the process that brought it up."""
        self.folder, self._keep = folder.resolve(), keep
        digest = hashlib.sha256(str(self.folder).encode()).hexdigest()
        self.prefix = f"l{digest[:5]}"
        chosen = self.folder / "net"
        self.net = chosen.read_text() if chosen.exists() else free_net(int(digest[5:8], 16))
        self.switch = Switch(self.prefix, self.net)
        self.hosts = {each.name: self._host(each) for each in plan.HOSTS}
        self.engines = Engines(self._host(plan.ENGINES), self.net)
        self.fencing = Fencing(self.folder / "fence", self.power_off)

    def _host(self, each: plan.Plan) -> Host:
        return Host(each, self.folder / each.name, self.prefix, self.switch)

    def at(self, host: str) -> Host:
        """The host of that name, that of the engines included."""
        return self.engines.host if host == plan.ENGINES.name else self.hosts[host]

    @property
    def all_hosts(self) -> list[Host]:
        engines = [self.engines.host] if plan.NEEDS_ENGINES else []
        return [*engines, *self.hosts.values()]

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException as error:
            self.__exit__(type(error), error, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self.tell()
        self.down()

    def tell(self) -> None:
        """Print the end of what every csnode process wrote."""
        for host in self.hosts.values():
            for name in host.plan.processes:
                print(f"--- {host.name} {name}\n{host.log(name)[-6000:]}")

    # -- up and down -----------------------------------------------------------------------

    def up(self) -> None:
        """Everything stands, and both apis say that they may take traffic."""
        assert os.geteuid() == 0, "a lab is made of namespaces: run it as root"
        self.down()
        self.folder.mkdir(parents=True)
        self.folder.chmod(0o755)  # dnsmasq and PostgreSQL drop to users of their own
        (self.folder / "net").write_text(self.net)
        (self.folder / "shared").mkdir()
        self.fencing.install()
        names = "".join(f"{h.address} {h.name}\n" for h in self.all_hosts)
        (self.folder / "hosts").write_text(f"127.0.0.1 localhost\n::1 localhost\n{names}")
        self.switch.up()
        self.fencing.start()
        for host in self.all_hosts:
            host.power_on(self._keep)
        if plan.NEEDS_ENGINES:
            self.engines.up()
        first, *others = self.hosts.values()
        for host in self.hosts.values():
            sections = plan.configuration(host.plan, self.net, str(IMAGE.parent), str(self.folder))
            joining.settle(host, sections)
        joining.found(first)
        self.start_csnode(first.name)
        joining.join(others, at=first)
        for host in others:
            self.start_csnode(host.name)
        self.wait_ready()

    def down(self) -> None:
        """Nothing of it is left, also of one whose files or first processes are gone."""
        self.fencing.stop()
        for host in [self.engines.host, *self.hosts.values()]:
            host.power_off()
        for place in sorted(NETNS.glob(f"{self.prefix}-*")):
            for pid in shell("ip", "netns", "pids", place.name, check=False).split():
                kill(int(pid))
            ip(f"netns del {place.name}", check=False)
        if Path(f"/sys/class/net/{self.switch.link}").exists():  # goes with the switch, soon
            ip(f"link del {self.switch.link}", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def left(self) -> set[str]:
        """What there is of it: namespaces, links, processes, mounts, files."""
        mark = str(self.folder)
        found = {f"namespace {p.name}" for p in NETNS.glob(f"{self.prefix}-*")}
        found |= {f"link {p.name}" for p in Path("/sys/class/net").glob(f"{self.prefix}*")}
        found |= {f"mount {m}" for m in Path("/proc/mounts").read_text().splitlines() if mark in m}
        for line in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                words = line.read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if mark in words and line.parent.name != str(os.getpid()):
                    found.add(f"process {line.parent.name} {words[:60]}")
        return found | ({f"folder {mark}"} if self.folder.exists() else set())

    # -- hosts -----------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """Its cables are pulled; it runs on."""
        self.switch.cut(host)

    def heal(self, host: str) -> None:
        """Its cables are plugged in, and lose nothing."""
        self.switch.heal(host)

    def lose(self, host: str, percent: int) -> None:
        """So many of a hundred frames of its management network are lost, each way."""
        self.switch.lose(host, percent)

    def power_off(self, host: str) -> None:
        self.hosts[host].power_off()

    def power_on(self, host: str) -> None:
        """With its disk as it was; csnode starts by itself, machines do not."""
        self.fencing.forget(host)
        self.hosts[host].power_on(self._keep)
        assert joining.is_member(self.hosts[host]), f"{host} never joined"
        self.start_csnode(host)

    # -- csnode ----------------------------------------------------------------------------

    def start_csnode(self, host: str, *names: str) -> None:
        """The host's csnode processes, or those named, that do not run."""
        at = self.hosts[host]
        file = str(joining.file_of(at))
        for name in names or at.plan.processes:
            if not at.pid(name):
                roles = name.replace("+", ",")
                at.start(name, joining.CSNODE, "--config", file, "--roles", roles)

    def kill(self, host: str, name: str) -> None:
        """kill -9 of one csnode process, of libvirtd, or of an engine; machines run on."""
        at = self.at(host)
        below = children(at.pid(name)) if host == plan.ENGINES.name else []
        for pid in (at.pid(name), *below):
            kill(pid)
        wait_for(lambda: not at.pid(name), f"{name} on {host} is dead")

    def start(self, host: str, name: str) -> None:
        """Start one that was killed."""
        if host == plan.ENGINES.name:
            self.engines.restart(name)
        elif name == "libvirtd":
            self.hosts[host].start_libvirtd()
        else:
            self.start_csnode(host, name)

    def url(self, host: str = "c1") -> str:
        return f"http://{self.hosts[host].address}:{plan.API_PORT}"

    def client(self, host: str = "c1") -> Any:
        """A CloudStack client at the api of that host."""
        return CloudStack(
            endpoint=f"{self.url(host)}/client/api",
            key=plan.KEY,
            secret=plan.KEY_SECRET,
            timeout=30,
            poll_interval=0.2,
        )

    def wait_ready(self, seconds: float = 90) -> None:
        """Until every api says that it may take traffic, and every host with guests is Up."""
        apis = [n for n, h in self.hosts.items() if any("api" in p for p in h.plan.processes)]
        guests = {h.name for h in self.hosts.values() if h.plan.guests and h.init}
        for host in apis:
            wait_for(lambda host=host: self._is_ready(host), f"the api of {host}", seconds)
        cs = self.client()

        def up() -> set[str]:
            self._check_runs(*guests)
            return {host["name"] for host in cs.listHosts(state="Up").get("host", ())}

        wait_for(lambda: guests <= up(), f"{', '.join(sorted(guests))} are Up", seconds)

    def _is_ready(self, host: str) -> bool:
        self._check_runs(host)
        with (
            suppress(urllib.error.URLError, OSError),
            urllib.request.urlopen(f"{self.url(host)}/readyz", timeout=5) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def _check_runs(self, *hosts: str) -> None:
        """Every csnode process of the hosts, or AssertionError says how one ended."""
        for at in (self.hosts[host] for host in hosts):
            for name in at.plan.processes:
                assert at.pid(name), f"{name} on {at.name} ended:\n{at.log(name)[-4000:]}"

    # -- machines --------------------------------------------------------------------------

    def running(self) -> dict[str, list[str]]:
        """On which hosts each machine really runs, by its id: asked of the hosts themselves."""
        found: dict[str, list[str]] = {}
        for host in self.hosts.values():
            for machine in host.machines() if host.plan.guests else ():
                found.setdefault(machine, []).append(host.name)
        return found

    def console(self, vm: str) -> str:
        """All that the machine wrote to its serial console, on whatever host."""
        logs = [log for h in self.hosts.values() for log in h.folder.rglob(f"{vm}.console")]
        return "".join(log.read_text(errors="replace") for log in sorted(logs))

    def template(self, name: str = "tiny") -> str:
        """The id of the guest image's template; it is registered if nobody did."""
        cs = self.client()
        asked = {"templatefilter": "all", "name": name}
        known = cs.listTemplates(**asked) or cs.registerTemplate(
            name=name,
            displaytext=name,
            url=f"file://{IMAGE}",
            format="QCOW2",
            hypervisor="KVM",
            zoneid=cs.listZones()["zone"][0]["id"],
            ostypeid=cs.listOsTypes()["ostype"][0]["id"],
        )
        wait_for(lambda: cs.listTemplates(**asked)["template"][0]["isready"], f"{name} is ready")
        return str(known["template"][0]["id"])

    def offering(self, name: str = "tiny") -> str:
        """The id of an offering for it: 160 MiB."""
        cs = self.client()
        known = cs.listServiceOfferings(name=name)
        if not known:
            made = cs.createServiceOffering(
                name=name, displaytext=name, cpunumber=1, cpuspeed=500, memory=160
            )
            return str(made["serviceoffering"]["id"])
        return str(known["serviceoffering"][0]["id"])

    def prepared(self) -> dict[str, str]:
        """What a deploy needs: zone, template and offering."""
        zone = self.client().listZones()["zone"][0]["id"]
        return {
            "zoneid": zone,
            "templateid": self.template(),
            "serviceofferingid": self.offering(),
        }
