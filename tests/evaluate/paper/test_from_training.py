"""From training to a table of the paper: a network with its switches, trained for two steps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from networks import TINY
from refsr.arrays import Pixels
from refsr.evaluate.paper.reproduce import reproduce
from refsr.evaluate.paper.sections import Request
from refsr.model.export import export_checkpoint
from refsr.train.config import DataConfig, RunConfig, TrainConfig
from refsr.train.loop import train


@pytest.mark.slow
def test_train_export_reproduce(tmp_path: Path, natural: Pixels) -> None:
    """On CUFED's layout alone: unregistered pairs train it, held-out ones choose its weights."""
    for name in ("input", "ref"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for index in range(12):
            patch = natural[8 * index : 8 * index + 64, 4 * index : 4 * index + 64]
            turned = np.ascontiguousarray(patch if name == "input" else patch[::-1])
            Image.fromarray(turned).save(tmp_path / "train" / name / f"{index:03}.png")
    model = dataclasses.replace(
        TINY, deform_residual=False, ref_inputs="rgb", modulation_bias=0.0, hr_transfer=False
    )
    model = dataclasses.replace(model, attention_window=0, attention_scaled=False)
    shares = {"real": 0.0, "simulated": 0.0, "mismatched": 0.0, "unregistered": 1.0}
    data = DataConfig(patch_pairs=str(tmp_path / "train"), patch=64, flips=False, **shares)
    steps = TrainConfig(steps=2, batch=2, threads=1, bf16=False, validate_every=1)
    steps = dataclasses.replace(steps, ema=0.0, gradient_clip=0.0, best=("patch_pairs/given",))
    run = train(RunConfig(str(tmp_path / "run"), model, data, steps))
    onnx = tmp_path / "paper.onnx"
    assert export_checkpoint(run / "best.safetensors", onnx) < 1e-4
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    training = json.loads(onnx.with_suffix(".json").read_text())["training"]
    assert training["patch_pairs/given"] == max(line["patch_pairs/given"] for line in lines)
    folder = tmp_path / "data" / "set5"
    folder.mkdir(parents=True)
    Image.fromarray(natural[:64, :96]).save(folder / "bird.png")
    request = Request(tmp_path / "data", tmp_path / "out", str(onnx), baseline="bicubic")
    _, written = reproduce("table2", request)
    record = json.loads(written.read_text())["measured"]["set5"][f"{onnx}, alone"]
    assert record["run_by"]["precision"] in ("float32", "bf16")
    assert np.isfinite(record["mean"]["all"]["psnr"])
    assert record["mean"]["all"]["psnr"] != record["mean"]["all"]["bicubic_psnr"]
