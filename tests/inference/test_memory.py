"""Cores and memory on systems other than Linux, within limits, and as a user names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from refsr.batch.local_engine import WorkerBudget
from refsr.errors import DataError
from refsr.inference import cgroup, memory, network
from refsr.inference.cores import usable_cores
from refsr.inference.memory import parse_memory
from refsr.inference.network import Network
from refsr.weights.models import find_model


@pytest.fixture
def no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS with Python 3.12: nothing tells the affinity."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(psutil.Process, "cpu_affinity", raising=False)


@pytest.mark.usefixtures("no_affinity")
def test_a_system_without_affinity_uses_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    assert usable_cores() == os.cpu_count()
    assert Network(find_model("ssen-tiny"), "cpu", runtime="onnx").provider
    assert WorkerBudget.of("100GB", 0).workers == os.cpu_count()
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


def test_the_affinity_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on Windows
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: [4, 5, 6], raising=False)
    assert usable_cores() == 3
    monkeypatch.setattr(os, "process_cpu_count", lambda: 2, raising=False)  # Python 3.13
    assert usable_cores() == 2


@pytest.fixture
def no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file of Linux can be read here, and POSIX's own numbers are absent, as on Windows."""

    def none(self: Path, *_: object) -> Any:
        raise FileNotFoundError(self)

    monkeypatch.setattr(Path, "read_text", none)
    monkeypatch.setattr(Path, "read_bytes", none)
    monkeypatch.delattr(os, "sysconf", raising=False)


@pytest.mark.usefixtures("no_proc")
def test_memory_of_a_system_without_proc() -> None:
    free, total = memory.free_memory(), psutil.virtual_memory().total
    assert free is not None
    assert 0 < free <= total
    before = memory.resident()
    held = bytearray(os.urandom(1 << 26))
    grown = memory.resident()
    assert grown - before >= len(held) * 0.9
    del held
    assert memory.resident() <= grown - (1 << 25)  # what is held now, not the peak


@pytest.mark.usefixtures("no_proc")
def test_memory_of_a_system_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "virtual_memory", refuse)
    monkeypatch.setattr(psutil, "Process", refuse)
    assert memory.free_memory() is None
    assert memory.default_memory() == memory.DEFAULT_LIMIT
    assert memory.resident() == 0


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of a test's own: tmp_path/mount and tmp_path/own."""
    monkeypatch.setattr(cgroup, "MOUNT", tmp_path / "mount")
    monkeypatch.setattr(cgroup, "OWN_GROUPS", tmp_path / "own")
    return tmp_path


def write(folder: Path, **texts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n", encoding="ascii")


GROUPS = {  # kernel's line of the process, folder of the mount, files
    "v1": (
        "4:memory:{path}",
        "memory",
        ("memory__limit_in_bytes", "memory__usage_in_bytes", "total_inactive_file"),
    ),
    "v2": ("0::{path}", "", ("memory__max", "memory__current", "inactive_file")),
    "hybrid": ("0::{path}", "unified", ("memory__max", "memory__current", "inactive_file")),
}


@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize(
    ("path", "limited"),
    [
        ("/", "."),
        ("/docker/abc", "."),  # the mount begins at the container's group
        ("/a/b/c", "a/b/c"),
        ("/a/b/c", "a"),  # of a group above: a service's slice
        ("/../other", "."),  # the namespace of another group
    ],
)
def test_a_containers_limit_counts(kind: str, path: str, limited: str, container: Path) -> None:
    line, mount, (limit, used, cache) = GROUPS[kind]
    (container / "own").write_text(f"1:name=systemd:/x\n{line.format(path=path)}\n")
    folder = container / "mount" / mount / limited
    write(folder, **{limit: "300000000", used: "290000000"})
    assert memory.free_memory() == 10_000_000
    stat = f"cache 250000000\n{cache} 200000000\nmapped_file 5"  # read files, given up on demand
    write(folder, memory__stat=stat)
    assert memory.free_memory() == 210_000_000
    tighter = container / "mount" / mount / "." / "elsewhere"  # not above this process
    write(tighter, **{limit: "2000", used: "1000"})
    assert memory.free_memory() == 210_000_000
    write(folder, **{limit: "max"})
    free = memory.free_memory()
    assert free is not None
    assert free > 300_000_000


def test_the_tightest_limit_of_all_groups_above_counts(container: Path) -> None:
    (container / "own").write_text("0::/system.slice/refsr.service\n")
    top = container / "mount" / "system.slice"
    write(top, memory__max="900000000", memory__current="500000000")
    own = top / "refsr.service"
    write(own, memory__max="max", memory__current="100000000", memory__high="600000000")
    assert memory.free_memory() == 400_000_000
    write(own, memory__high="200000000")  # above it the kernel holds the process up
    assert memory.free_memory() == 100_000_000


@pytest.mark.parametrize(
    ("version", "files", "cores"),
    [
        ("v2", {"cpu__max": "150000 100000"}, 2),
        ("v2", {"cpu__max": "20000 100000"}, 1),
        ("v2", {"cpu__max": "max 100000"}, 64),
        ("v1", {"cpu__cfs_quota_us": "300000", "cpu__cfs_period_us": "100000"}, 3),
        ("v1", {"cpu__cfs_quota_us": "-1", "cpu__cfs_period_us": "100000"}, 64),
    ],
)
def test_a_containers_cpu_time_counts(
    version: str,
    files: dict[str, str],
    cores: int,
    container: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("refsr.inference.cores.affinity_cores", lambda: 64)
    (container / "own").write_text("0::/a/b\n" if version == "v2" else "1:cpuacct,cpu:/a/b\n")
    mount = container / "mount" / ("" if version == "v2" else "cpu")
    write(mount / "a", **files)
    assert usable_cores() == cores


@pytest.mark.parametrize("amount", ["9" * 400, "9" * 400 + "GB", "1." + "0" * 400, "inf", "1e9"])
def test_amounts_beyond_all_reason_are_refused_in_words(amount: str) -> None:
    with pytest.raises(DataError, match="not an amount of memory") as error:
        parse_memory(amount)
    assert len(str(error.value)) < 200
    assert parse_memory("900000000000000TB") > 10**26


def test_more_threads_than_cores_are_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = list[int]()

    def note(runtime: str, model: object, device: str, threads: int, concurrency: int) -> object:
        seen.append(threads)
        return object()

    monkeypatch.setattr(network, "open_session", note)
    for threads in (0, 1, 100_000):
        Network(find_model("ssen-tiny"), "cpu", threads, "onnx")
    assert seen == [usable_cores(), 1, usable_cores()]
