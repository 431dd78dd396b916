"""Adversarial fine-tuning: the discriminator, its part in a step, and what a checkpoint keeps."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from networks import TINY
from refsr.arrays import Pixels
from refsr.errors import DataError, ModelError
from refsr.model.checkpoint import load_weights
from refsr.model.discriminator import PatchDiscriminator
from refsr.train.adversarial import DiscriminatorTrainer
from refsr.train.collate import batches
from refsr.train.config import AdversarialConfig, DataConfig, RunConfig, TrainConfig
from refsr.train.distributed import Ranks
from refsr.train.loop import check_config, train
from refsr.train.sampler import PatchSampler
from refsr.train.trainer import Trainer

SMALL = AdversarialConfig(weight=3e-3, warmup=1, channels=4)
OBJECTIVES = pytest.mark.parametrize("objective", ["wgan-gp", "vanilla", "lsgan", "ragan"])


@pytest.fixture
def photos(tmp_path: Path, natural: Pixels) -> Path:
    """A folder with a photo."""
    (tmp_path / "photos").mkdir()
    Image.fromarray(natural).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def run_config(photos: Path, out: Path, adversarial: AdversarialConfig, steps: int) -> RunConfig:
    return RunConfig(
        out=str(out),
        model=TINY,
        data=DataConfig(photos=(str(photos),), real=0.0, simulated=0.6, patch=64),
        train=TrainConfig(
            steps=steps, batch=2, threads=1, bf16=False, warmup=1, validate_every=2, seed=5
        ),
        adversarial=adversarial,
    )


def run_batches(config: RunConfig) -> Any:
    t = config.train
    return batches(PatchSampler(config.data, t.seed), 0, t.steps, t.batch)


def equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two dictionaries of tensors are equal to the last bit."""
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def trained(
    config: AdversarialConfig,
) -> tuple[DiscriminatorTrainer, dict[str, float], Tensor, Tensor]:
    """A discriminator after 30 steps of noise against blurred noise, and its last batch."""
    torch.manual_seed(2)
    discriminator = DiscriminatorTrainer(config, 1, torch.device("cpu"))
    rng = np.random.default_rng(3)
    real = blurred = torch.empty(0)
    terms: dict[str, float] = {}
    for step in range(30):
        real = torch.from_numpy(rng.random((2, 3, 32, 32), np.float32))
        blurred = torch.nn.functional.avg_pool2d(real, 3, 1, 1)
        terms = discriminator.update(real, blurred, step, Ranks())
    return discriminator, terms, real, blurred


@OBJECTIVES
def test_the_discriminator_learns_to_tell_blurred_from_sharp(objective: Any) -> None:
    config = dataclasses.replace(SMALL, objective=objective, learning_rate=5e-3)
    discriminator, terms, real, blurred = trained(config)
    assert terms["score/real"] > terms["score/fake"] + 0.3
    loss = discriminator.generator_loss
    assert float(loss(real, blurred)) > float(loss(real, real))


def test_the_penalty_holds_the_slope() -> None:
    config = dataclasses.replace(SMALL, learning_rate=5e-3)
    held = trained(config)[1]["gradient_penalty"]
    free = trained(dataclasses.replace(config, gradient_penalty=0.0))[1]["gradient_penalty"]
    assert held < 0.5
    assert free > 5 * held


def test_each_term_moves_its_own_network_only() -> None:
    discriminator = DiscriminatorTrainer(SMALL, 1, torch.device("cpu"))
    fake, real = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    discriminator.update(real, fake, 0, Ranks())
    assert fake.grad is None  # the discriminator's update does not reach the network
    before = {name: value.clone() for name, value in discriminator.model.state_dict().items()}
    for parameter in discriminator.model.parameters():
        parameter.grad = None
    discriminator.generator_loss(real, fake).backward()
    assert fake.grad is not None
    assert fake.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in discriminator.model.parameters())
    assert equal(before, discriminator.model.state_dict())


def test_a_broken_batch_does_not_reach_the_discriminator() -> None:
    discriminator = DiscriminatorTrainer(SMALL, 1, torch.device("cpu"))
    before = {name: value.clone() for name, value in discriminator.model.state_dict().items()}
    broken = torch.full((1, 3, 32, 32), math.nan)
    discriminator.update(torch.rand(1, 3, 32, 32), broken, 0, Ranks())
    assert equal(before, discriminator.model.state_dict())


# The run


def test_relativistic_scores_want_the_whole_batch(photos: Path) -> None:
    config = run_config(photos, photos, dataclasses.replace(SMALL, objective="ragan"), 1)
    check_config(config, Ranks())
    with pytest.raises(DataError, match=r"ragan.*one process"):
        check_config(config, Ranks(0, 2))


def test_a_named_score_chooses_the_best_weights_of_an_adversarial_run(
    photos: Path, tmp_path: Path
) -> None:
    config = run_config(photos, tmp_path / "run", SMALL, 4)
    data = dataclasses.replace(config.data, benchmark=str(photos))
    named = dataclasses.replace(config.train, best=("simulated/given/haarpsi",))
    train(dataclasses.replace(config, data=data, train=named))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    scores = {line["step"]: line["simulated/given/haarpsi"] for line in lines}
    about = load_weights(tmp_path / "run" / "best.safetensors")[1]
    assert about["simulated/given/haarpsi"] == max(scores.values())


@pytest.mark.parametrize("layers", [3, 4, 5])
def test_a_patch_too_small_for_the_discriminator_is_said(photos: Path, layers: int) -> None:
    """A patch of 64 leaves a score with four layers, none with five."""
    config = run_config(photos, photos, dataclasses.replace(SMALL, layers=layers), 1)
    if layers < 5:
        check_config(config, Ranks())
        assert (
            PatchDiscriminator(2, layers)(torch.rand(1, 3, 64, 64)).shape[2] == 64 // 2**layers - 2
        )
    else:
        with pytest.raises(DataError, match=r"64 pixels is too small .* layers = 5"):
            check_config(config, Ranks())


def test_while_the_discriminator_warms_up_the_network_trains_as_without(
    photos: Path, tmp_path: Path
) -> None:
    patient = dataclasses.replace(SMALL, warmup=2)
    config = run_config(photos, tmp_path, patient, 3)
    plain = Trainer(dataclasses.replace(config, adversarial=AdversarialConfig()))
    fine = Trainer(config)
    assert plain.discriminator is None
    for step, batch in enumerate(run_batches(config)):
        plain.train_step(batch)
        fine.train_step(batch)
        assert equal(plain.model.state_dict(), fine.model.state_dict()) == (step < 2)
    assert set(plain.terms) == {"loss"}


@OBJECTIVES
def test_the_loss_is_the_sum_of_its_terms(photos: Path, tmp_path: Path, objective: Any) -> None:
    config = run_config(photos, tmp_path, dataclasses.replace(SMALL, objective=objective), 2)
    trainer = Trainer(config)
    for step, batch in enumerate(run_batches(config)):
        loss, terms = trainer.train_step(batch), trainer.terms
        weight = SMALL.weight if step else 0.0
        assert loss == pytest.approx(terms["reconstruction"] + weight * terms["adversarial"])
        assert ("gradient_penalty" in terms) == (objective == "wgan-gp")


@OBJECTIVES
def test_interrupted_and_continued_is_the_same_run(
    photos: Path, tmp_path: Path, objective: Any
) -> None:
    adversarial = dataclasses.replace(SMALL, objective=objective)
    whole = train(run_config(photos, tmp_path / "whole", adversarial, 4))
    parts = run_config(photos, tmp_path / "parts", adversarial, 4)
    first = Trainer(parts)  # the first half, and then a fresh process
    (tmp_path / "parts").mkdir()
    for batch in list(run_batches(parts))[:2]:
        first.train_step(batch)
    first.save(tmp_path / "parts")
    train(parts, resume=True)
    one, other = (
        torch.load(folder / "state.pt", weights_only=True) for folder in (whole, tmp_path / "parts")
    )
    for part in ("model", "ema"):
        assert equal(one[part], other[part])
    assert equal(one["adversary"]["model"], other["adversary"]["model"])
    moments = [state["adversary"]["optimizer"]["state"] for state in (one, other)]
    assert moments[0]
    for index, values in moments[0].items():
        assert equal(values, moments[1][index])


def test_every_term_is_logged_and_no_best_is_claimed(photos: Path, tmp_path: Path) -> None:
    config = run_config(photos, tmp_path / "run", SMALL, 4)
    benchmark = dataclasses.replace(config.data, benchmark=str(photos))
    train(dataclasses.replace(config, data=benchmark))
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    terms = {"loss", "reconstruction", "adversarial", "discriminator", "gradient_penalty"}
    perceptual = {f"simulated/given/{name}" for name in ("haarpsi", "detail")}
    assert [line["step"] for line in lines] == [2, 4]
    for line in lines:
        assert line.keys() >= terms | perceptual | {"score/real", "score/fake", "simulated/gap"}
        assert all(math.isfinite(value) for value in line.values())
    assert not (
        tmp_path / "run" / "best.safetensors"
    ).exists()  # by PSNR the first weights would be the best
    assert load_weights(tmp_path / "run" / "last.safetensors")[1]["steps"] == 4


def test_fine_tuning_does_not_mix_with_another_run(photos: Path, tmp_path: Path) -> None:
    fine = run_config(photos, tmp_path / "fine", SMALL, 1)
    plain = run_config(photos, tmp_path / "plain", AdversarialConfig(), 1)
    train(fine)
    train(plain)
    for config, adversarial in ((fine, AdversarialConfig()), (plain, SMALL)):
        with pytest.raises(ModelError, match="differ in having an adversarial term"):
            train(dataclasses.replace(config, adversarial=adversarial), resume=True)
    wider = dataclasses.replace(SMALL, channels=8)
    with pytest.raises(ModelError, match="another optimizer or discriminator"):
        train(dataclasses.replace(fine, adversarial=wider), resume=True)
