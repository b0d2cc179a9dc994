"""Real CloudStack clients, as they come from PyPI, drive the cloud unchanged."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cs import CloudStack

from tests.system.processes import KEY, SECRET, SPLIT, Cloud, wait_for

URL = "http://images.example/tiny.qcow2"


def client(cloud: Cloud) -> Any:
    return CloudStack(endpoint=cloud.url, key=KEY, secret=SECRET, timeout=30, poll_interval=0.1)


def prepared(cs: Any) -> dict[str, str]:
    """Zone, offering and a ready template."""
    hosts = wait_for(lambda: cs.listHosts(state="Up").get("host"), 30, "a host is Up")
    zone = hosts[0]["zoneid"]
    offering = cs.listServiceOfferings(name="Small Instance")["serviceoffering"][0]["id"]
    known = cs.listTemplates(templatefilter="all", name="tiny") or cs.registerTemplate(
        name="tiny", displaytext="tiny", url=URL, format="QCOW2", hypervisor="KVM", zoneid=zone,
        ostypeid=cs.listOsTypes()["ostype"][0]["id"],
    )  # fmt: skip
    template = known["template"][0]["id"]
    wait_for(
        lambda: cs.listTemplates(templatefilter="all", id=template)["template"][0]["isready"],
        30, "the template is ready",
    )  # fmt: skip
    return {"zoneid": zone, "serviceofferingid": offering, "templateid": template}


def ended(cs: Any, job: str) -> dict[str, Any]:
    """The job's answer, once it has ended."""

    def answer() -> dict[str, Any] | None:
        said = cs.queryAsyncJobResult(jobid=job)
        return said if said["jobstatus"] else None

    return wait_for(answer, 60, "the job ends")  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=["one process", "four processes"])
def cloud(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cloud]:
    """The same configuration, played by one process or split over four."""
    folder = tmp_path_factory.mktemp("cloud")
    with Cloud(folder) as made:
        for roles in SPLIT if request.param == "four processes" else ((),):
            made.start(*roles)
        made.wait_ready()
        yield made


def test_cs_deploys_stops_starts_and_destroys(cloud: Cloud) -> None:
    cs = client(cloud)
    params = prepared(cs)
    vm = cs.deployVirtualMachine(**params, name="by-cs", fetch_result=True)["virtualmachine"]
    assert vm["state"] == "Running"
    assert [v["id"] for v in cs.listVirtualMachines(name="by-cs", fetch_list=True)] == [vm["id"]]
    for verb, state in (("stop", "Stopped"), ("start", "Running"), ("reboot", "Running")):
        call = getattr(cs, f"{verb}VirtualMachine")
        assert call(id=vm["id"], fetch_result=True)["virtualmachine"]["state"] == state
    cs.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    assert cs.listVirtualMachines(name="by-cs") == {}


def test_libcloud_deploys_stops_starts_and_destroys(cloud: Cloud) -> None:
    from libcloud.compute.drivers.cloudstack import CloudStackNodeDriver

    params = prepared(client(cloud))
    driver: Any = CloudStackNodeDriver(  # libcloud has no types
        key=KEY, secret=SECRET, secure=False, host="127.0.0.1", port=cloud.port, path="/client/api"
    )
    size = next(s for s in driver.list_sizes() if s.id == params["serviceofferingid"])
    image = next(i for i in driver.list_images() if i.id == params["templateid"])
    location = driver.list_locations()[0]
    node = driver.create_node(name="by-libcloud", size=size, image=image, location=location,
                              ex_start_vm=True)  # fmt: skip
    assert node.state == "running"
    assert node.private_ips
    assert [n.name for n in driver.list_nodes()] == ["by-libcloud"]
    driver.ex_stop(node)
    assert driver.ex_get_node(node.id).state == "stopped"
    driver.ex_start(node)
    assert driver.ex_get_node(node.id).state == "running"
    assert driver.list_volumes()
    assert driver.ex_list_networks()
    assert driver.destroy_node(node, ex_expunge=True)
    assert driver.list_nodes() == []


def test_listapis_describes_every_command_as_cmk_needs_it(cloud: Cloud) -> None:
    apis = client(cloud).listApis()
    assert apis["count"] == len(apis["api"])
    for api in apis["api"]:
        assert isinstance(api["description"], str)
        assert isinstance(api["isasync"], bool)
        assert isinstance(api["params"], list)
        assert isinstance(api["response"], list)
        for param in api["params"]:
            assert isinstance(param["required"], bool)
            assert param["description"], (api["name"], param)


def test_a_terminated_process_finishes_its_work_first(tmp_path: Path) -> None:
    slow = {"driver": "sim", "options": {"latency_s": 0.5}}
    with Cloud(tmp_path, compute=slow) as cloud:
        process = cloud.start()
        cloud.wait_ready()
        cs = client(cloud)
        params = prepared(cs)
        job = cs.deployVirtualMachine(**params)["jobid"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, cloud.log("all")
        del cloud.processes["all"]
        cloud.start()
        cloud.wait_ready()
        assert ended(cs, job)["jobstatus"] == 1


def test_everything_acknowledged_survives_kill_9_of_everything(tmp_path: Path) -> None:
    """Hosts are slow: no machine runs before the kill, for a simulated one would end with it."""
    with Cloud(tmp_path, compute={"options": {"latency_s": 4.0}}) as cloud:
        for roles in SPLIT:
            cloud.start(*roles)
        cloud.wait_ready()
        cs = client(cloud)
        params = prepared(cs)
        jobs = [cs.deployVirtualMachine(**params, name=f"kept-{n}") for n in range(8)]
        for name in tuple(cloud.processes):
            cloud.kill(name)
        for roles in SPLIT:
            cloud.start(*roles)
        cloud.wait_ready()
        for job in jobs:
            assert ended(cs, job["jobid"])["jobstatus"] == 1
        found = cs.listVirtualMachines(fetch_list=True)
        assert sorted(vm["id"] for vm in found) == sorted(job["id"] for job in jobs)
        assert {vm["state"] for vm in found} == {"Running"}


def test_a_port_in_use_is_one_clear_line(cloud: Cloud, tmp_path: Path) -> None:
    with Cloud(tmp_path, api={"listen": f"127.0.0.1:{cloud.port}"}) as second:
        process = second.start()
        assert process.wait(30) not in (0, None)
        said = [line for line in second.log("all").splitlines() if line.startswith("csnode:")]
        assert len(said) == 1
        assert str(cloud.port) in said[0]
        assert "Traceback" not in second.log("all")
        second.processes.clear()
    assert os.path.exists(tmp_path)
