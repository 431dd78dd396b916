"""The training step: its start, what it learns, and batches that produce NaN."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from networks import TINY
from refsr.errors import ModelError
from refsr.model.checkpoint import save_weights
from refsr.model.ssen import SSEN
from refsr.train.collate import batches
from refsr.train.losses import charbonnier
from refsr.train.sampler import PatchSampler
from refsr.train.trainer import Trainer
from runs import tiny_run


def test_training_may_start_from_weights_of_the_same_network(photos: Path, tmp_path: Path) -> None:
    torch.manual_seed(9)
    start, path = SSEN(TINY), tmp_path / "start.safetensors"
    save_weights(start, path, {})
    config = tiny_run(photos, tmp_path / "run", start=str(path))
    for a, b in zip(start.parameters(), Trainer(config).model.parameters(), strict=True):
        assert torch.equal(a, b)
    other = dataclasses.replace(config, model=dataclasses.replace(TINY, channels=16))
    with pytest.raises(ModelError, match=r"start\.safetensors.*another network"):
        Trainer(other)


@pytest.mark.parametrize(("optimizer", "bf16"), [("adam", False), ("adam", True), ("muon", False)])
def test_the_loss_falls_on_one_batch(
    photos: Path, tmp_path: Path, optimizer: str, bf16: bool
) -> None:
    schedule = {"steps": 40, "learning_rate": 5e-3, "ema": 0.8, "batch": 1}
    config = tiny_run(photos, tmp_path, **schedule, bf16=bf16, optimizer=optimizer)
    trainer = Trainer(config)
    batch = next(iter(batches(PatchSampler(config.data, 1), 0, 1, 1)))
    batch["ref"], batch["validity"] = batch["hr"], np.ones_like(batch["validity"])
    losses = [trainer.train_step(batch) for _ in range(40)]
    assert np.mean(losses[-3:]) < 0.5 * losses[0]
    trainer.ema.eval()
    with torch.no_grad():
        sr, _ = trainer.ema(*(torch.from_numpy(batch[key]) for key in ("lr", "ref", "validity")))
    assert float(charbonnier(sr, torch.from_numpy(batch["hr"]), 1e-3)) < 0.7 * losses[0]


def test_a_broken_batch_changes_no_weight(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path)
    trainer = Trainer(config)
    batch = next(iter(batches(PatchSampler(config.data, 1), 0, 1, 1)))
    batch["hr"] = np.full_like(batch["hr"], np.nan)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    assert math.isnan(trainer.train_step(batch))
    for a, b in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(a, b)
