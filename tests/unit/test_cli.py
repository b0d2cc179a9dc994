"""The command line: what it prints, and how it ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from csnode.cli import chain, client, ending, machine, main, systemd
from csnode.config import Config
from csnode.faults import Broken, Denied, Fault, Full, Invalid, Unavailable
from tests.system.processes import free_port, wait_for


@pytest.fixture
def csnode(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Any:
    """Runs a command line in an empty folder; answers exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CSNODE_CONFIG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["csnode", *arguments])
        with pytest.raises(SystemExit) as end:
            main.main()
        out, err = capsys.readouterr()
        code = end.value.code
        assert isinstance(code, int)
        return code, out, err

    return run


# -- what it prints -------------------------------------------------------------------------


def test_help_names_every_subcommand(csnode: Any) -> None:
    code, out, _ = csnode("--help")
    assert code == 0
    for name in main.SUBCOMMANDS:
        assert re.search(rf"^  {name}  ", out, re.MULTILINE), name


@pytest.mark.parametrize("name", main.SUBCOMMANDS)
def test_every_subcommand_explains_itself(csnode: Any, name: str) -> None:
    code, out, _ = csnode(name, "--help")
    assert code == 0
    assert len(out.splitlines()) > 5


def test_roles_are_listed_with_what_they_do(csnode: Any) -> None:
    rows = json.loads(csnode("roles", "--output", "json")[1])
    assert {
        "api",
        "compute",
        "data",
        "fabric",
        "monitor",
        "network",
        "orchestrator",
        "storage",
    } <= {row["role"] for row in rows}
    assert all(row["does"] and row["package"] for row in rows)
    table = csnode("roles")[1]
    assert all(row["role"] in table for row in rows)


def test_sagas_are_listed_with_their_undos(csnode: Any) -> None:
    sagas = json.loads(csnode("sagas", "--output", "json")[1])
    steps = {step["step"]: step["undo"] for step in sagas["deploy_vm"]}
    assert steps["host"] == "free_host"
    assert "free_host" in csnode("sagas")[1]


def test_apis_are_listed(csnode: Any) -> None:
    entries = {e["name"]: e for e in json.loads(csnode("apis", "--output", "json")[1])}
    assert entries["deployVirtualMachine"]["isasync"] is True
    assert "deployVirtualMachine" in csnode("apis")[1]
    assert "## deployVirtualMachine" in csnode("apis", "--output", "markdown")[1]


def test_config_show_tells_where_a_value_comes_from(csnode: Any, tmp_path: Path) -> None:
    (tmp_path / "csnode.toml").write_text('[node]\ncluster = "mine"\n')
    _, out, _ = csnode("--set", "api.listen=127.0.0.1:1", "config", "show", "--origin")
    assert re.search(r'^cluster = "mine" +# csnode.toml$', out, re.MULTILINE)
    assert re.search(r'^listen = "127.0.0.1:1" +# flag$', out, re.MULTILINE)
    assert re.search(r'^level = "info" +# default$', out, re.MULTILINE)


def test_config_show_hides_secrets_unless_asked(csnode: Any) -> None:
    for flag in (
        "fabric.admin_password=hush",
        "redis.url=redis://:hush@198.18.0.1/0",
        "data.url=postgresql://cloud:hush@198.18.0.1/cloud",
    ):
        shown = csnode("--set", flag, "config", "show")[1]
        assert "hush" not in shown
        assert "(hidden)" in shown
        assert "hush" in csnode("--set", flag, "config", "show", "--secrets")[1]


def test_what_config_show_prints_is_a_configuration(csnode: Any, tmp_path: Path) -> None:
    _, out, _ = csnode("--set", "node.cluster=again", "config", "show", "--secrets")
    (tmp_path / "csnode.toml").write_text(out)
    assert csnode("config", "show", "--secrets")[1] == out


def test_the_file_is_chosen_by_flag_then_variable_then_place(
    csnode: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cluster(*flags: str) -> str:
        shown = json.loads(csnode(*flags, "config", "show", "--output", "json")[1])
        return str(shown["node"]["cluster"])

    for name in ("csnode.toml", "variable.toml", "flag.toml"):
        (tmp_path / name).write_text(f'[node]\ncluster = "{name}"\n')
    assert cluster() == "csnode.toml"
    monkeypatch.setenv("CSNODE_CONFIG", "variable.toml")
    assert cluster() == "variable.toml"
    assert cluster("--config", "flag.toml") == "flag.toml"


# -- how it ends ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--set", "x", "check"), 78, "csnode: --set x: expected SECTION.KEY=VALUE"),
        (("--config", "none.toml"), 78, "csnode: none.toml: No such file or directory"),
        (("--roles", "nope"), 78, "csnode: no roles plug-in is called 'nope'; there are: "),
        (("--set", "compute.driver=nope", "--roles", "compute", "check"), 69, ""),
        (("--set", "directory.kind=nope", "status"), 78, "csnode: [directory] kind 'nope'"),
        (("--set", "directory.kind=alone", "status"), 69, "csnode: no node of this cluster"),
    ],
)
def test_a_mistake_is_one_line(
    csnode: Any, arguments: tuple[str, ...], code: int, said: str
) -> None:
    ended, out, err = csnode(*arguments)
    assert ended == code
    assert (err or out).startswith(said)
    assert len((err or out).splitlines()) == 1


def test_a_damaged_file_is_one_line(csnode: Any, tmp_path: Path) -> None:
    (tmp_path / "csnode.toml").write_text("[node\n")
    assert csnode() == (
        78,
        "",
        "csnode: csnode.toml: Expected ']' at the end of a table declaration "
        "(at line 1, column 6)\n",
    )


def test_an_unknown_subcommand_is_a_usage_error(csnode: Any) -> None:
    assert csnode("paint")[0] == ending.USAGE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Invalid("x"), 78),
        (Denied("x"), 77),
        (Unavailable("x"), 69),
        (Full("x"), 69),
        (Fault("x"), 69),
        (Broken("x", detail="y"), 70),
        (ValueError("x\ny"), 70),
        (ExceptionGroup("g", [ExceptionGroup("h", [Invalid("x")])]), 78),
    ],
)
def test_every_error_has_its_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending.told(error) == code
    err = capsys.readouterr().err
    assert err.startswith("csnode: ")
    assert err.count("\n") == 1


def test_check_and_doctor_say_what_is_missing(csnode: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = ("--roles", "data", "--set", f"health.listen={at}")
        assert csnode(*flags, "check")[:2] == (
            69,
            f"[health] listen: {at}: Address already in use\n",
        )
        code, out, _ = csnode(*flags, "doctor", "--output", "json")
    (lacking,) = (found for found in json.loads(out) if found["lack"])
    assert code == 69
    assert lacking["part"] == "[health] listen"
    assert "ss -ltnp" in lacking["remedy"]
    assert csnode("--roles", "data", "check")[:2] == (0, "defaults: fine\n")


def test_a_missing_tool_is_told_with_its_package(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "PATH", str(tmp_path))
    findings = machine.examine(Config({"node": {"roles": ["network", "storage"]}}))
    remedies = " ".join(found.remedy for found in findings)
    assert "apt-get install --no-install-recommends dnsmasq-base iproute2 nftables" in remedies
    assert "qemu-utils" in remedies


def test_why_shows_no_secret_at_any_depth() -> None:
    order = {"vm": "v1", "password": "hush", "more": [{"secret_key": "hush", "user_data": "hush"}]}
    for column in ("password", "secret_key", "api_key", "key", "public_key", "user_data"):
        assert chain.hidden(column, "hush") == chain.HIDDEN
    assert "hush" not in str(chain.hidden("order", order))
    assert chain.hidden("keypair", "mine") == "mine"
    assert chain.hidden("password", "") == ""  # that there is none is no secret


def test_why_needs_an_object_and_a_cluster(csnode: Any) -> None:
    assert csnode("why")[0] == ending.USAGE
    code, out, err = csnode("--set", "directory.kind=alone", "why", "x")
    assert (code, out) == (69, "")
    assert err.startswith("csnode: nobody serves Data")


# -- a node ---------------------------------------------------------------------------------


def started(tmp_path: Path, *arguments: str) -> subprocess.Popen[str]:
    common = ("--set", f"node.state={tmp_path}", "--set", "bus.zeromq=false")
    return subprocess.Popen(
        (sys.executable, "-m", "csnode", *common, *arguments),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )


def answers(at: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{at}/readyz", timeout=5) as answer:
            return int(answer.status)
    except (urllib.error.URLError, OSError):
        return 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_node_in_good_order(tmp_path: Path, number: signal.Signals) -> None:
    at = f"127.0.0.1:{free_port()}"
    with started(tmp_path, "--roles", "data", "--set", f"health.listen={at}") as node:
        try:
            wait_for(lambda: answers(at) == 200, 30, "the node is ready")
            node.send_signal(number)
            _, err = node.communicate(timeout=30)
        finally:
            node.kill()
    assert node.returncode == 0
    assert "Traceback" not in err


def test_a_signal_ends_a_node_that_waits_for_others(tmp_path: Path) -> None:
    with started(tmp_path, "--roles", "monitor", "--set", "bus.zeromq=false") as node:
        try:
            wait_for(lambda: _handles(node.pid, signal.SIGTERM), 30, "it listens to signals")
            node.send_signal(signal.SIGTERM)
            _, err = node.communicate(timeout=30)
        finally:
            node.kill()
    assert node.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err


def _handles(pid: int, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for the signal; see proc(5)."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = re.search(r"^SigCgt:\s+(\w+)$", status, re.MULTILINE)
    return bool(caught and int(caught[1], 16) >> (number - 1) & 1)


def test_a_port_in_use_ends_a_node_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        with started(tmp_path, "--roles", "data", "--set", f"health.listen={at}") as node:
            _, err = node.communicate(timeout=30)
    assert node.returncode == ending.CONFIG
    last = err.splitlines()[-1]
    assert last.startswith(f"csnode: [health] listen: cannot serve at {at}: ")
    assert "Traceback" not in err


# -- what systemd hears, and how requests are signed ----------------------------------------


def test_systemd_is_told_by_datagram(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as hearing:
        hearing.bind(str(tmp_path / "notify"))
        hearing.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        systemd.tell("READY=1")
        assert hearing.recv(100) == b"READY=1"
    systemd.tell("STOPPING=1")  # nobody hears it, and nothing happens


def test_a_request_is_signed_as_cloudstack_has_it() -> None:
    params = {"command": "listUsers", "response": "json", "apiKey": "K-y", "name": "a b~*ü"}
    text = "apikey=k-y&command=listusers&name=a%20b%7e*%c3%bc&response=json"
    expected = hmac.digest(b"secret", text.encode(), hashlib.sha1)
    assert client.signature(params, "secret") == base64.b64encode(expected).decode()


def test_join_writes_over_a_configuration_that_sets_nothing(tmp_path: Path) -> None:
    from csnode.cli.join import _says_anything

    listed, said = tmp_path / "listed.toml", tmp_path / "said.toml"
    listed.write_text('# all defaults\n[node]\n# cluster = "csnode"\n')
    said.write_text('[node]\ncluster = "mine"\n')
    (tmp_path / "broken.toml").write_text("[node")
    assert not _says_anything(tmp_path / "none.toml")
    assert not _says_anything(listed)
    assert _says_anything(said)
    assert _says_anything(tmp_path / "broken.toml")
