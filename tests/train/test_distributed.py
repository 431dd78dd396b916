"""Distributed training: the result of a single process, and a clean end when one dies."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from networks import tiny_toml
from refsr.errors import DataError, ModelError
from refsr.train.config import RunConfig, load_config
from refsr.train.distributed import LOST, Ranks, connection_lost, on_sigterm, process_group
from refsr.train.loop import check_config, train

PATIENCE = 900  # seconds: torch starts three times, and other work may share the cores
SOURCE = Path(__file__).parents[2] / "src"
pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or sys.platform == "win32",
    reason="this torch cannot run several processes here",
)
CONFIG = f"""
out = "OUT"
[model]
{tiny_toml()}
[data]
photos = ["photos"]
real = 0
simulated = 0.6
patch = 64
[train]
steps = STEPS
batch = 4
threads = 1
bf16 = false
warmup = 2
validate_every = 2
checkpoint_minutes = 1e-9  # after every step
[adversarial]
weight = 3e-3
warmup = 1
channels = 4
"""


@pytest.fixture
def here(tmp_path: Path, natural: NDArray[np.uint8]) -> Path:
    """A folder with photos to train on."""
    (tmp_path / "photos").mkdir()
    for index, pixels in enumerate((natural, natural[::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(tmp_path / "photos" / f"{index}.png")
    return tmp_path


def write_config(here: Path, out: str, steps: int) -> Path:
    path = here / f"{out}.toml"
    path.write_text(CONFIG.replace("OUT", out).replace("STEPS", str(steps)))
    return path


def start(config: Path, *options: str) -> subprocess.Popen[str]:
    """``torchrun --nproc_per_node 2 -m refsr train CONFIG``."""
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    command = (*launcher, "--nproc_per_node", "2", "-m", "refsr", "train", str(config), *options)
    paths = (str(SOURCE), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_close(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Network and average agree to float32's rounding, the discriminator nearly so.

    Where a channel of it is active everywhere, Wasserstein leaves its bias nothing but rounding
    for a gradient, which Adam scales up to a step.
    """
    parts = [(a[part], b[part], 1e-6) for part in ("model", "ema")]
    parts.append((a["adversary"]["model"], b["adversary"]["model"], 2e-4))
    for one, other, tolerance in parts:
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert float((value - other[name]).abs().max()) < tolerance, name


def test_two_processes_train_as_one_and_one_writes(here: Path) -> None:
    """Every term of the loss and every weight, to float tolerance."""
    job = start(write_config(here, "two", 4))
    train(load_config(write_config(here, "one", 4)))
    output, errors = job.communicate(timeout=PATIENCE)
    assert job.returncode == 0, errors
    assert output.count("last.safetensors, log.jsonl") == 1
    one, two = log(here / "one"), log(here / "two")
    assert [line["step"] for line in two] == [2, 4]  # one process wrote, once
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "reconstruction", "adversarial", "discriminator", "gradient_penalty"):
            assert a[name] == pytest.approx(b[name], rel=1e-5), name
    assert_close(state(here / "one"), state(here / "two"))


def children(pid: int) -> list[int]:
    """Processes that ``pid`` started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds processes in Linux's /proc")
def test_a_killed_process_ends_the_run_and_costs_one_interval(here: Path) -> None:
    endless = write_config(here, "run", 1_000_000)
    job = start(endless)
    folder = here / "run"
    deadline = time.monotonic() + PATIENCE
    while not (folder / "state.pt").exists():
        assert job.poll() is None, job.communicate()[1]
        assert time.monotonic() < deadline, "no checkpoint came"
        time.sleep(0.05)
    ranks = {}
    for pid in children(job.pid):
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        ranks |= {int(v[5:]): pid for v in variables if v.startswith(b"RANK=")}
    os.kill(ranks[1], signal.SIGKILL)
    errors = job.communicate(timeout=PATIENCE)[1]
    assert job.returncode != 0
    sentences = [line for line in errors.splitlines() if line.startswith("refsr: ")]
    assert len(sentences) == 1, errors  # of the remaining process, without a traceback
    assert LOST in sentences[0]
    assert "--resume auto" in sentences[0]
    assert not any("src/refsr" in line for line in errors.splitlines()), errors
    with pytest.raises(ProcessLookupError):
        os.kill(ranks[0], 0)

    kept = state(folder)["step"]
    assert kept >= 1  # the checkpoint is whole
    config = load_config(endless)
    steps = kept + 2
    shorter = dataclasses.replace(config.train, steps=steps)
    train(dataclasses.replace(config, train=shorter), resume=True)
    assert state(folder)["step"] == steps


# The parts


def test_processes_share_a_batch_without_gap_or_overlap() -> None:
    parts = [Ranks(rank, 4).shard(12) for rank in range(4)]
    assert [index for part in parts for index in part] == list(range(12))
    assert {len(part) for part in parts} == {3}
    assert Ranks().shard(5) == range(5)


def test_alone_nothing_is_shared() -> None:
    ranks = Ranks()
    terms = {"a": 0.1, "b": 1 / 3}
    assert ranks.mean(terms) == terms  # to the last bit
    assert ranks.sync(1.5, True) == (1.5, True)
    assert ranks.sync(1.5, False) == (1.5, False)
    assert ranks.broadcast(lambda: "made") == "made"
    ranks.barrier()
    with ranks.local_first():
        pass
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.tensor([1.0, 2.0])
    ranks.average_gradients([weight])
    assert weight.grad.tolist() == [1.0, 2.0]


def test_a_batch_that_cannot_be_shared_is_said() -> None:
    config = RunConfig(train=dataclasses.replace(RunConfig().train, batch=7))
    with pytest.raises(DataError, match="batch = 7 cannot be split equally between 2 processes"):
        check_config(config, Ranks(0, 2))
    check_config(config, Ranks(0, 7))


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORLD_SIZE", "8")  # a batch system's, not torchrun's
    before = signal.getsignal(signal.SIGTERM)
    with process_group() as ranks:
        assert ranks == Ranks()
        assert signal.getsignal(signal.SIGTERM) is before


def test_only_a_lost_connection_is_called_one() -> None:
    assert connection_lost(
        RuntimeError("[gloo/transport/tcp/pair.cc:538] Connection closed by peer")
    )
    assert not connection_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_term_to_stop_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes once or twice: the second must not cut the sentence off."""
    handled: list[Any] = []
    monkeypatch.setattr(signal, "signal", lambda *given: handled.append(given))
    with pytest.raises(ModelError, match="--resume auto"):
        on_sigterm(signal.SIGTERM, None)
    assert handled == [(signal.SIGTERM, signal.SIG_IGN)]
