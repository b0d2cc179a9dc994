"""The Debian package: what is in it, and that a clean Debian 12 can be a cloud with it.

The clean Debian and the second build take minutes: `make nightly` asks for them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.nightly
LIVE = """
set -e
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x49))'
sed "s|var/sim|/var/lib/csnode|" /usr/share/csnode/profiles/sim.toml >/etc/csnode/csnode.toml
install -d -o csnode -g csnode /var/lib/csnode
limited="setpriv --reuid=csnode --regid=csnode --clear-groups --bounding-set=-all --inh-caps=-all"
cd /
export CSNODE_KEEPER_DRIVER=sim CSNODE_MONITOR_PROBER=sim
$limited csnode check
$limited csnode >/tmp/log 2>&1 & node=$!
for turn in $(seq 200); do
    $limited csnode status --output json 2>/dev/null | grep -q '"state": "Up"' && break
    kill -0 $node
done
python3 -c 'import urllib.request as u; print(u.urlopen("http://127.0.0.1:8080/readyz").read())'
kill $node
wait $node
"""


@pytest.fixture(scope="module")
def deb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("deb"))


def built(folder: Path) -> Path:
    said = subprocess.run(
        ("config/deb/build.sh", str(folder)),
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-4000:]
    (made,) = folder.glob("*.deb")
    return made


def output(*command: str) -> str:
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode == 0, f"{command}: {said.stdout[-4000:]}{said.stderr[-4000:]}"
    return said.stdout


def test_the_package_has_everything_and_nothing_of_this_machine(deb: Path, tmp_path: Path) -> None:
    output("dpkg-deb", "-R", str(deb), str(tmp_path))
    for name in ("usr/share/csnode/profiles/edge.toml", "etc/csnode/csnode.toml",
                 "lib/systemd/system/csnode@.service", "lib/systemd/system/csnode.target",
                 "lib/systemd/system/csnode@hypervisor.service.d/roles.conf"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    assert (tmp_path / "opt/csnode/bin/csnode").read_text().startswith("#!/opt/csnode/bin/python3")
    assert os.readlink(tmp_path / "opt/csnode/bin/python3") == "/usr/bin/python3"
    assert (tmp_path / "DEBIAN/conffiles").read_text() == "/etc/csnode/csnode.toml\n"
    bill = (tmp_path / "usr/share/doc/csnode/sbom.txt").read_text().splitlines()
    assert {"aiohttp", "pyzmq", "libvirt-python"} < {line.split()[0] for line in bill}
    assert "pytest" not in {line.split()[0] for line in bill}
    found = subprocess.run(
        ("grep", "-rlF", str(ROOT), str(tmp_path)), capture_output=True, check=False
    )
    assert (found.returncode, found.stdout) == (1, b"")


def test_the_same_sources_make_the_same_bytes(deb: Path, tmp_path: Path) -> None:
    assert built(tmp_path).read_bytes() == deb.read_bytes()


@pytest.fixture
def debian(tmp_path: Path) -> Iterator[Path]:
    """A clean Debian 12."""
    root = tmp_path / "debian"
    output("mmdebstrap", "--variant=minbase", "--include=ca-certificates", "bookworm", str(root))
    shutil.copytree("/etc/apt", root / "etc/apt", dirs_exist_ok=True, symlinks=True)
    yield root
    shutil.rmtree(root)


def inside(root: Path, script: str, *more: str) -> str:
    """The script, as root in there; its mounts go with it."""
    mounts = f"mount --rbind /dev {root}/dev && mount -t proc p {root}/proc"
    mounted = f'{mounts} && chroot {root} bash -c "$0"'
    return output("unshare", "-m", "-p", "-f", *more, "--propagation=private", "--kill-child",
                  "bash", "-c", mounted, script)  # fmt: skip


@pytest.mark.real
def test_a_clean_debian_becomes_a_cloud_and_is_clean_again(deb: Path, debian: Path) -> None:
    shutil.copy(deb, debian / "tmp/csnode.deb")
    apt = "export DEBIAN_FRONTEND=noninteractive LC_ALL=C; apt-get -qq"
    inside(debian, f"{apt} update; {apt} install -y --no-install-recommends /tmp/csnode.deb")
    assert "csnode, version" in inside(debian, "csnode --version")
    assert "b'ok" in inside(debian, LIVE, "-n")
    inside(debian, f"{apt} purge -y csnode")
    left = output("find", str(debian), "-xdev", "-name", "*csnode*", "-not", "-path", "*/tmp/*",
                  "-not", "-path", "*/var/lib/systemd/*")  # fmt: skip
    assert left == ""
    assert "csnode" not in (debian / "etc/passwd").read_text()
