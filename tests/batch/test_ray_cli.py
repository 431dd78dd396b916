"""`refsr batch --engine ray` as a user types it, on a cluster that `ray start` made."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from batches import outputs, photo

pytestmark = pytest.mark.cluster
RAY = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"]
SIZE = ["--num-cpus=1", "--memory=1000000000", "--object-store-memory=100000000"]
PATIENCE = 180  # seconds: other work may share the cores


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Of a shell as docs/SCALING.md has it; Ray keeps its token in this home."""
    pytest.importorskip("ray", reason="needs the extra bulk")
    own = {"HOME": str(tmp_path_factory.mktemp("home")), "RAY_AUTH_MODE": "token"}
    slow = {"RAY_raylet_start_wait_time_s": "120"}  # a busy machine is slow to start
    return {**os.environ, **own, **slow, "RAY_USAGE_STATS_ENABLED": "0"}


@pytest.fixture(scope="module")
def cluster(environment: dict[str, str]) -> Iterator[str]:
    """The address of two nodes with one core each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    head = ["--head", f"--port={port}", "--include-dashboard=false"]
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run(
        [sys.executable, "-m", "ray.scripts.scripts", "get-auth-token", "--generate"],
        check=True,
        **quiet,
    )
    nodes = [subprocess.Popen([*RAY, *SIZE, *head], **quiet)]
    try:
        wait_for(lambda: alive(address, environment) == 1)
        nodes.append(subprocess.Popen([*RAY, *SIZE, f"--address={address}"], **quiet))
        wait_for(lambda: alive(address, environment) == 2)
        yield address
    finally:
        for node in reversed(nodes):
            node.terminate()
            node.wait(timeout=PATIENCE)


def alive(address: str, environment: dict[str, str]) -> int:
    """Nodes of the cluster."""
    program = f"import ray; ray.init({address!r}); print(sum(one['Alive'] for one in ray.nodes()))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return int(done.stdout or 0)


def wait_for(true: Any) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(1)


def batch(folder: Path, out: Path, environment: dict[str, str], *flags: str) -> Any:
    """The command, running; its answers and its words can be read."""
    command = [sys.executable, "-m", "refsr", "batch", folder, "-o", out, "--engine", "ray"]
    command += ["--model", "detail-transfer", "--max-memory", "600MB", "--json", *flags]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


def album(folder: Path, count: int, side: int = 96) -> Path:
    for number in range(count):
        photo(folder / f"{number:02}.png", side, number)
    (folder / "broken.jpg").write_bytes(b"no photo")
    return folder


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_killed_worker_ctrl_c_and_resume(
    cluster: str, environment: dict[str, str], tmp_path: Path
) -> None:
    folder, out = album(tmp_path / "in", 30), tmp_path / "out"
    process = batch(folder, out, environment, "--address", cluster)
    first = json.loads(process.stdout.readline())
    os.kill(int(first["worker"].rpartition(":")[2]), signal.SIGKILL)
    told = [first, *(json.loads(process.stdout.readline()) for _ in range(11))]
    process.send_signal(signal.SIGINT)
    rest, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    broken = f"failed: {folder / 'broken.jpg'} holds text, not a picture."
    told += [json.loads(line) for line in rest.splitlines()]
    *before, last, end = words.splitlines()
    assert before in ([], [broken])
    assert last == f"{len(told)} of 31 photos are finished; continue with --resume"
    assert end == "refsr: interrupted"
    workers = {int(one["worker"].rpartition(":")[2]) for one in told}
    wait_for(lambda: all(map(gone, workers)))

    process = batch(folder, out, environment, "--address", cluster, "--resume")
    answers, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    records = [json.loads(line) for line in answers.splitlines()]
    done = sum(one["status"] == "done" for one in told)
    assert [one["status"] for one in records].count("skipped") == done
    assert len({one["output"] for one in records}) == len(records) == 31
    assert words.splitlines() == [
        broken,
        f"{out}: {30 - done} done, {done} skipped, 1 failed",
        "refsr: 1 of 31 photos failed.",
    ]
    assert outputs(out) == {f"{number:02}.png" for number in range(30)}


@pytest.mark.parametrize("address", ["auto", "local"])
def test_the_cluster_of_this_machine(
    address: str, cluster: str, environment: dict[str, str], tmp_path: Path
) -> None:
    folder, out = album(tmp_path / "in", 3, 16), tmp_path / "out"
    process = batch(folder, out, environment, "--address", address)
    answers, words = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    records = [json.loads(line) for line in answers.splitlines()]
    assert sorted(one["status"] for one in records) == ["done", "done", "done", "failed"]
    assert words.splitlines()[1:] == [
        f"{out}: 3 done, 0 skipped, 1 failed",
        "refsr: 1 of 4 photos failed.",
    ]
    wait_for(lambda: all(gone(int(one["worker"].rpartition(":")[2])) for one in records))


def test_no_cluster_is_one_sentence(
    cluster: str, environment: dict[str, str], tmp_path: Path
) -> None:
    folder = album(tmp_path / "in", 1, 16)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, not listening: nobody answers
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        words = {
            nobody: f"No Ray cluster answers at {nobody}; start one with: ray start --head",
            "sun": "'sun' is not an address; give HOST:PORT, auto or local.",
        }
        for address, expected in words.items():
            process = batch(folder, tmp_path / "out", environment, "--address", address)
            assert process.communicate(timeout=PATIENCE) == ("", f"refsr: {expected}\n")
            assert process.returncode == 1
    refused = {**environment, "RAY_AUTH_MODE": "disabled"}
    process = batch(folder, tmp_path / "out", refused, "--address", cluster)
    answers, said = process.communicate(timeout=PATIENCE)
    assert answers == ""
    assert said.startswith(f"refsr: {cluster} is not a Ray cluster, or refuses this program")
    assert len(said.splitlines()) == 1
