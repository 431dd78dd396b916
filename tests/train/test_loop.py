"""The loop: interrupted and continued runs are equal bit for bit; limits; refusals."""

from __future__ import annotations

import dataclasses
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from networks import TINY, tiny_toml
from refsr.cli import main
from refsr.errors import DataError, ModelError
from refsr.model.checkpoint import load_weights
from refsr.train import loop
from refsr.train.collate import Batch
from refsr.train.loop import train
from refsr.train.trainer import Trainer
from runs import tiny_run


def state(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "state.pt", weights_only=True)


def assert_same_run(a: dict[str, Any], b: dict[str, Any]) -> None:
    """Weights, averages and the optimizer's memory are equal to the last bit."""
    assert a["step"] == b["step"]
    for part in ("model", "ema"):
        assert a[part].keys() == b[part].keys()
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), f"{part} {name}"
    for one, other in zip(a["optimizer"], b["optimizer"], strict=True):
        for index, moments in one["state"].items():
            for name, value in moments.items():
                assert torch.equal(value, other["state"][index][name]), f"{index} {name}"


@pytest.fixture
def stop_after(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Ctrl-C in the middle of the given step of this process."""

    def at(steps: int) -> None:
        calls: list[int] = []
        untouched = Trainer.train_step

        def step(self: Trainer, arrays: Batch) -> float:
            calls.append(1)
            if len(calls) == steps:
                signal.raise_signal(signal.SIGINT)
            return untouched(self, arrays)

        monkeypatch.setattr(Trainer, "train_step", step)

    return at


@pytest.mark.parametrize("optimizer", ["adam", "muon"])
def test_interrupted_and_continued_is_the_same_run(
    photos: Path, tmp_path: Path, stop_after: Callable[[int], None], optimizer: str
) -> None:
    whole = train(tiny_run(photos, tmp_path / "whole", optimizer=optimizer))
    parts = tiny_run(photos, tmp_path / "parts", workers=3, optimizer=optimizer)
    stop_after(3)
    with pytest.raises(KeyboardInterrupt):
        train(parts)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert state(tmp_path / "parts")["step"] == 3
    assert load_weights(tmp_path / "parts" / "last.safetensors")[1]["steps"] == 3
    with pytest.raises(ModelError, match="already holds a run; continue it with --resume auto"):
        train(parts)
    assert train(parts, resume=True) == tmp_path / "parts"
    assert_same_run(state(whole), state(tmp_path / "parts"))
    assert train(parts, resume=True) == tmp_path / "parts"  # nothing is left to do
    assert json.loads((whole / "config.json").read_text())["train"]["steps"] == 6
    lines = (whole / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [6]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_the_command_line_trains_and_continues(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (
        f'out = "run"\n[model]\n{tiny_toml()}\n'
        f'[data]\nphotos = ["{photos.name}"]\nreal = 0\nsimulated = 0.6\npatch = 64\n'
        "[train]\nbatch = 2\nthreads = 1\nbf16 = false\nwarmup = 2\nvalidate_every = 100\n"
    )
    three = write(tmp_path / "three.toml", f"{text}steps = 3\n")
    assert main(["train", str(three)]) == 0
    assert state(tmp_path / "run")["step"] == 3
    capsys.readouterr()
    assert main(["train", str(three)]) == 1
    assert "continue it with --resume auto" in capsys.readouterr().err
    five = write(tmp_path / "five.toml", f"{text}steps = 5\n")
    assert main(["train", str(five), "--resume", "auto"]) == 0
    assert "best.safetensors" in capsys.readouterr().out
    assert state(tmp_path / "run")["step"] == 5


def test_a_second_interrupt_is_not_held_back() -> None:
    with loop.deferred_interrupt() as interrupted:
        signal.raise_signal(signal.SIGINT)
        assert interrupted.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_time_limit_ends_the_run(photos: Path, tmp_path: Path) -> None:
    folder = train(tiny_run(photos, tmp_path / "run", minutes=1e-9))
    assert state(folder)["step"] == 1
    assert (folder / "best.safetensors").exists()


def test_a_run_only_continues_with_its_own_network(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path / "run", steps=1)
    train(config)
    other = dataclasses.replace(config, model=dataclasses.replace(TINY, channels=16))
    with pytest.raises(ModelError, match="is of another network"):
        train(other, resume=True)
    (tmp_path / "run" / "state.pt").write_bytes(b"torn")
    with pytest.raises(ModelError, match="cannot be read"):
        train(config, resume=True)


def test_a_patch_that_does_not_fit_the_network_is_said(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path / "run")
    odd = dataclasses.replace(config, data=dataclasses.replace(config.data, patch=48))
    with pytest.raises(DataError, match=r"patch = 48 does not fit .* a multiple of 32"):
        train(odd)
    assert not (tmp_path / "run").exists()
