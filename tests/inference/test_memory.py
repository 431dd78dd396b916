"""Cores and memory on systems other than Linux, within limits, and as a user names them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest

from refsr.batch.local_engine import WorkerBudget
from refsr.errors import DataError
from refsr.inference import memory, network
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


@pytest.mark.parametrize("files", memory.CGROUP_FILES)
def test_a_containers_limit_counts(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, text in zip(files, ("300000000\n", "100000000\n"), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert memory.free_memory() == 200_000_000
    (tmp_path / files[0]).write_text("max\n", encoding="utf-8")
    free = memory.free_memory()
    assert free is not None
    assert free > 200_000_000


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
