"""The training step: its start, what it learns, and batches that produce NaN."""

from __future__ import annotations

import copy
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


@pytest.mark.parametrize(
    ("beta2", "clip", "ema"), [(0.99, 0.02, 0.9), (0.999, 0.0, 0.0), (0.5, 0.02, 0.0)]
)
def test_a_step_is_adam_with_clip_offset_rate_and_average(
    photos: Path, tmp_path: Path, beta2: float, clip: float, ema: float
) -> None:
    """Three steps, written out with torch's own parts."""
    changes = {"gradient_clip": clip, "adam_beta2": beta2, "ema": ema, "warmup": 0}
    config = tiny_run(
        photos, tmp_path, **changes, schedule="constant", offset_learning_rate=0.25, steps=3
    )
    trainer = Trainer(config)
    plain = copy.deepcopy(trainer.model)
    means = [value.clone() for value in plain.parameters()]
    named = dict(plain.named_parameters())
    offsets = [value for name, value in named.items() if name.startswith("estimators.")]
    rest = [value for name, value in named.items() if not name.startswith("estimators.")]
    rate = config.train.learning_rate
    adam = torch.optim.Adam(
        [{"params": rest}, {"params": offsets, "lr": rate / 4}], rate, betas=(0.9, beta2)
    )
    norms: list[float] = []
    for step, batch in enumerate(batches(PatchSampler(config.data, 1), 0, 3, 2)):
        trainer.train_step(batch)
        lr, hr, ref, validity = (
            torch.from_numpy(batch[name]) for name in ("lr", "hr", "ref", "validity")
        )
        plain.zero_grad()
        torch.sqrt((plain(lr, ref, validity)[0] - hr) ** 2 + 1e-6).mean().backward()
        gradient = torch.cat([value.grad.flatten() for value in plain.parameters()])  # type: ignore[union-attr]
        norms.append(float(gradient.norm()))
        if clip:
            for value in plain.parameters():
                assert value.grad is not None
                value.grad *= min(1.0, clip / norms[-1])
        adam.step()
        decay = min(ema, (1 + step) / (10 + step))
        for mean, value in zip(means, plain.parameters(), strict=True):
            mean.mul_(decay).add_(value.detach(), alpha=1 - decay)
    assert max(norms) > 2 * 0.02  # the clip is felt
    for got, wanted, average, mean in zip(
        trainer.model.parameters(),
        plain.parameters(),
        trainer.ema.parameters(),
        means,
        strict=True,
    ):
        assert torch.allclose(got, wanted, rtol=0, atol=2e-6)  # a step moves a weight by 4e-4
        assert torch.allclose(average, mean, rtol=0, atol=2e-6)
