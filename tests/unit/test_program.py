"""The runner of outside programs: none passes its bounds, and no role has another."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest

from csnode.program import Bounds, run, start_daemon, way_apart
from csnode.testing.patience import patient

ROOT = Path(__file__).parents[2]
STARTS = re.compile(
    r"create_subprocess|subprocess\.(run|Popen|call|check)|os\.(system|popen|spawn)"
)
BY_HAND = {  # what a person runs in a terminal and can end; no role imports it
    "csnode/cli/machine.py", "csnode/cli/stage.py", "csnode/cli/story.py", "csnode/testing/lease.py"
}  # fmt: skip


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-S", "-c", code)


def test_no_role_starts_a_program_but_through_the_runner() -> None:
    files = [file for top in ("csnode", "roles") for file in (ROOT / top).rglob("*.py")]
    found = {str(f.relative_to(ROOT)) for f in files if STARTS.search(f.read_text())}
    assert found - BY_HAND == {"csnode/program.py"}


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_program_that_prints_without_end_is_ended_at_the_bound(stream: str) -> None:
    code = f"import sys\nwhile True: sys.{stream}.write('x' * 65536)"
    ended = await run(python(code), Bounds(output_bytes=100_000))
    assert ended.passed == "it printed more than 100000 bytes"
    assert len(ended.out) + len(ended.err) < 100_000 + 2 * 65536


async def test_the_end_of_a_program_that_prints_without_end_is_always_seen() -> None:
    """Words that nobody read kept its end from us, if it was quick enough: so several times."""
    async with asyncio.timeout(patient(20)):
        for _ in range(20):
            ended = await run(("yes",), Bounds(output_bytes=1))
            assert ended.passed == "it printed more than 1 bytes"


async def test_the_last_words_of_a_program_that_prints_much_are_kept() -> None:
    code = "import sys\nfor n in range(100000): print('line', n)\nprint('off', file=sys.stderr)"
    ended = await run(python(code), Bounds(output_bytes=100), tail=True)
    assert (ended.status, ended.passed, len(ended.out)) == (0, "", 100)
    assert ended.out.endswith(b"off\n")


@pytest.fixture(params=["as it is", "apart"])
async def apart(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return await way_apart() if request.param == "apart" else ()


async def test_a_program_that_wants_more_memory_does_not_get_it(apart: tuple[str, ...]) -> None:
    words = ("dd", "bs=900M", "count=1", "if=/dev/zero", "of=/dev/null")
    ended = await run(words, Bounds(memory_bytes=512 << 20), apart=apart)
    assert ended.status == 1
    assert "memory exhausted" in ended.said


async def test_a_program_that_computes_without_end_is_ended(apart: tuple[str, ...]) -> None:
    ended = await run(("sh", "-c", "while :; do :; done"), Bounds(cpu_s=1), apart=apart)
    assert ended.passed == "it computed for more than 1 s"


async def test_a_program_that_writes_a_large_file_is_ended(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    code += f"open({str(tmp_path / 'f')!r}, 'wb').write(bytes(1 << 20))"
    ended = await run(python(code), Bounds(file_bytes=1000))
    assert ended.passed == "it wrote a file of more than 1000 bytes"
    assert (tmp_path / "f").stat().st_size == 1000


async def test_what_a_program_started_ends_with_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    ended = await run(("sh", "-c", f"sleep 1000 & echo $! >{pid}; wait"), Bounds(wall_s=0.5))
    assert (ended.passed, ended.late) == ("it did not end within 0.5 s", True)
    await gone(int(pid.read_text()))


async def test_a_program_ends_with_whoever_waited_for_it(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    running = asyncio.create_task(run(("sh", "-c", f"echo $$ >{pid}; exec sleep 1000"), Bounds()))
    while not (pid.exists() and pid.read_text()):
        await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.wait((running,))
    await gone(int(pid.read_text()))


async def gone(pid: int) -> None:
    async with asyncio.timeout(patient(20)):
        while runs(pid):
            await asyncio.sleep(0.01)


def runs(pid: int) -> bool:
    """Whether a process has not ended; one that has, and nobody asked how, is a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_a_program_need_not_listen_to_all_it_is_told() -> None:
    ended = await run(("true",), Bounds(), text=b"x" * (1 << 20))
    assert ended.status == 0
    ended = await run(("cat",), Bounds(), text=b"hello")
    assert ended.out == b"hello"


async def test_a_daemon_goes_on_and_its_complaint_is_cut() -> None:
    ended = await start_daemon(python("import sys; sys.exit('x' * 9999)"), Bounds(output_bytes=10))
    assert (ended.status, ended.err) == (1, b"x" * 10)
    ended = await start_daemon(("sh", "-c", "exec sleep 1000"), Bounds(wall_s=0.2))
    assert ended.late


async def test_a_program_set_apart_is_nobody_and_has_no_network(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush")
    secret.chmod(0o600)
    words = await way_apart()
    assert (await run(("id", "-u"), Bounds(), apart=words)).out == b"65534\n"
    assert (await run(("cat", str(secret)), Bounds(), apart=words)).status != 0
    if words[0] == "unshare":
        links = (await run(("cat", "/proc/self/net/dev"), Bounds(), apart=words)).out
        assert [line.split(b":")[0].strip() for line in links.splitlines()[2:]] == [b"lo"]


async def test_a_program_is_the_first_to_go_when_memory_runs_out(apart: tuple[str, ...]) -> None:
    code = "until [ $(cat /proc/self/oom_score_adj) = 1000 ]; do :; done"
    ended = await run(("sh", "-c", code), Bounds(), apart=apart)
    assert (ended.status, ended.passed) == (0, "")
