"""csnode.toml: where values come from, and what is said of wrong ones."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from csnode.cli.chosen import Chosen, setting
from csnode.cli.config import toml
from csnode.config import Config, NodeConfig
from csnode.drivers.driver import Driver
from csnode.faults import Invalid
from csnode.node import known_sections
from csnode.plugins import load

ROOT = Path(__file__).parents[2]
DRIVERS = {
    "compute": "drivers.hypervisor/libvirt",
    "network": "drivers.network/linux",
    "storage": "drivers.storage/dir",
}


def read(file: Path | None, flags: dict[str, Any] | None = None, **env: str) -> Config:
    config = Config.read(file, flags or {}, env)
    config.check(known_sections())
    return config


def refused(file: Path | None, flags: dict[str, Any] | None = None, **env: str) -> str:
    with pytest.raises(Invalid) as refusal:
        read(file, flags, **env)
    return refusal.value.message


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "csnode.toml"


# -- where values come from -----------------------------------------------------------------


def test_each_source_is_stronger_than_the_one_before(file: Path) -> None:
    parts = file.parent / "csnode.d"
    parts.mkdir()
    seen = [read(None).node.cluster]
    file.write_text('[node]\ncluster = "file"\n')
    seen.append(read(file).node.cluster)
    (parts / "10.toml").write_text('[node]\ncluster = "ten"\n')
    seen.append(read(file).node.cluster)
    (parts / "20.toml").write_text('[node]\ncluster = "twenty"\n')
    seen.append(read(file).node.cluster)
    seen.append(read(file, CSNODE_NODE_CLUSTER="variable").node.cluster)
    flag = {"node": {"cluster": "flag"}}
    seen.append(read(file, flag, CSNODE_NODE_CLUSTER="variable").node.cluster)
    assert seen == ["csnode", "file", "ten", "twenty", "variable", "flag"]


def test_every_value_knows_its_origin(file: Path) -> None:
    file.write_text('[node]\nhost = "h1"\n')
    config = read(file, {"api": {"listen": "[::1]:1"}}, CSNODE_LOG_LEVEL="debug")
    assert config.origins["node", "host"] == str(file)
    assert config.origins["api", "listen"] == "flag"
    assert config.origins["log", "level"] == "CSNODE_LOG_LEVEL"
    assert ("node", "cluster") not in config.origins


def test_variables_become_what_the_setting_is() -> None:
    config = read(None, CSNODE_NODE_ROLES="data,api", CSNODE_NODE_DRAIN_SECONDS="1.5")
    assert config.node.roles == ("data", "api")
    assert config.node.drain_seconds == 1.5


def test_empty_means_empty(file: Path) -> None:
    file.write_text('[api]\nlisten = "127.0.0.1:1"\n')
    config = read(file, CSNODE_API_LISTEN="")
    section: Any = config.section("api", known_sections()["api"])
    assert section.listen == ""


def test_the_host_id_depends_on_cluster_and_name_only() -> None:
    ids = {NodeConfig(host="h1", name=name).host_id for name in ("", "other")}
    assert len(ids) == 1
    assert ids != {NodeConfig(host="h1", cluster="another").host_id}


# -- what is said of wrong ones -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[node]\n\nclutser = 'x'\n", "{file}:3: [node] unknown key `clutser`"),
        ("[nodes]\n", "{file}:1: [nodes] is no section; there are: node, bus"),
        ("cluster = 'x'\n", "cluster stands outside every [section]"),
        ("[node\n", "{file}: Expected ']' at the end of a table declaration (at line 1, column 6)"),
        ("[api]\nbody_max = 'much'\n", "{file}:2: [api] Expected `int`, got `str`"),
        ("[compute]\nhosts = 2\n", "{file}:2: [compute] several hosts need the driver sim"),
    ],
)
def test_a_mistake_is_told_with_its_place(file: Path, text: str, said: str) -> None:
    file.write_text(text)
    assert said.format(file=file) in refused(file)


def test_a_mistake_in_a_flag_or_variable_is_told_with_its_name() -> None:
    assert refused(None, {"api": {"body_max": "much"}}).startswith("flag: [api] ")
    assert refused(None, CSNODE_API_BODY_MAX="much").startswith("CSNODE_API_BODY_MAX: [api] ")
    assert "CSNODE_API_BODYMAX: no setting is called so" in refused(None, CSNODE_API_BODYMAX="1")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.toml") == f"{tmp_path}/none.toml: No such file or directory"
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    assert refused(binary).startswith(f"{binary}: ")


# -- flags ----------------------------------------------------------------------------------


def test_a_flag_is_toml_or_else_a_text() -> None:
    texts = ("bus.zeromq=false", "node.roles=['a']", "api.listen=[::1]:80", "log.level = debug")
    assert setting(None, None, texts) == {  # type: ignore[arg-type]
        "bus": {"zeromq": False},
        "node": {"roles": ["a"]},
        "api": {"listen": "[::1]:80"},
        "log": {"level": "debug"},
    }


@pytest.mark.parametrize("text", ["", "x", "api=1", "api.listen", ".x=1", "api.=1"])
def test_a_flag_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"expected SECTION\.KEY=VALUE"):
        setting(None, None, [text])  # type: ignore[arg-type]


def test_an_unknown_role_is_refused_before_anything_starts() -> None:
    with pytest.raises(Invalid, match="'nope'; there are: api, compute"):
        Chosen(None, {"node": {"roles": ["nope"]}}).config()


@pytest.mark.parametrize("value", [True, 7, 1.5, 'a "b" \\ ü\n', ["a", 1], {"a b": [True]}, {}])
def test_what_we_write_is_toml(value: object) -> None:
    assert tomllib.loads(f"v = {toml(value)}") == {"v": value}


# -- the files we ship ----------------------------------------------------------------------


def test_csnode_toml_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    text = (ROOT / "csnode.toml").read_text()
    assert all(not values for values in _without_tables(tomllib.loads(text)).values())
    spoken = tomllib.loads(re.sub(r"^# (\w+ = )", r"\1", text, flags=re.MULTILINE))
    for name, kind in known_sections().items():
        defaults: dict[str, Any] = msgspec.to_builtins(kind())
        options = spoken[name].pop("options", {})
        defaults.pop("options", None)
        assert spoken[name] == msgspec.json.decode(msgspec.json.encode(defaults)), name
        if name in DRIVERS:
            driver: type[Driver] = load(*DRIVERS[name].split("/"))
            assert options == msgspec.json.decode(msgspec.json.encode(driver.options_type()))


def _without_tables(sections: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {k: v for k, v in section.items() if not isinstance(v, dict)}
        for name, section in sections.items()
    }


@pytest.mark.parametrize("profile", sorted((ROOT / "config/profiles").glob("*.toml")), ids=str)
def test_each_profile_is_valid(profile: Path) -> None:
    config = read(profile)
    for role, group in (("compute", "hypervisor"), ("network", "network"), ("storage", "storage")):
        section: Any = config.section(role, known_sections()[role])
        driver: type[Driver] = load(f"drivers.{group}", section.driver)
        msgspec.convert(section.options, driver.options_type)
