"""Losses and schedules: against plain float64 forms and what each must do to a network."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from refsr.errors import DataError
from refsr.train.config import RunConfig, TrainConfig
from refsr.train.distributed import Ranks
from refsr.train.loop import check
from refsr.train.losses import (
    charbonnier,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    reconstruction_loss,
)
from refsr.train.schedule import learning_rate


@pytest.fixture
def pair(rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Two float64 batches (2, 3, 8, 8) in 0..1."""
    a, b = (torch.from_numpy(rng.random((2, 3, 8, 8))) for _ in range(2))
    return a, b


# Reconstruction


def test_both_readings_of_epsilon(pair: tuple[Tensor, Tensor]) -> None:
    sr, hr = pair
    squared = np.mean([math.sqrt(d * d + 0.05**2) for d in (sr - hr).flatten().tolist()])
    plain = np.mean([math.sqrt(d * d + 0.05) for d in (sr - hr).flatten().tolist()])
    assert float(reconstruction_loss(sr, hr, "charbonnier", 0.05)) == pytest.approx(squared)
    assert float(reconstruction_loss(sr, hr, "charbonnier_eps", 0.05)) == pytest.approx(plain)
    assert plain > 1.1 * squared


def test_the_papers_epsilon_in_one_reading_is_the_default_in_the_other(
    pair: tuple[Tensor, Tensor],
) -> None:
    one = reconstruction_loss(*pair, "charbonnier_eps", 1e-6)
    assert float(one) == pytest.approx(float(charbonnier(*pair, 1e-3)), rel=1e-12)


def test_l1_is_what_charbonnier_becomes(pair: tuple[Tensor, Tensor]) -> None:
    l1 = reconstruction_loss(*pair, "l1", 0.1)
    assert float(l1) == pytest.approx(float((pair[0] - pair[1]).abs().mean()))
    assert float(reconstruction_loss(*pair, "charbonnier", 1e-7)) == pytest.approx(float(l1))


@pytest.mark.parametrize("kind", ["charbonnier", "charbonnier_eps", "l1"])
def test_an_exact_result_has_a_finite_gradient(kind: str) -> None:
    sr = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    reconstruction_loss(sr, sr.detach().clone(), kind, 1e-6).backward()  # type: ignore[arg-type]
    assert sr.grad is not None
    assert torch.equal(sr.grad, torch.zeros_like(sr))


# The adversarial game


@pytest.mark.parametrize("objective", ["wgan-gp", "vanilla"])
def test_each_side_wants_its_own(objective: str) -> None:
    """The discriminator raises true scores and lowers made ones; the network raises made ones."""
    real, fake = (torch.randn(2, 1, 3, 3, requires_grad=True) for _ in range(2))
    discriminator_loss(real, fake, objective).backward()  # type: ignore[arg-type]
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake.grad = None
    generator_loss(fake, objective).backward()  # type: ignore[arg-type]
    assert (fake.grad < 0).all()


def test_the_vanilla_objective_is_cross_entropy() -> None:
    torch.manual_seed(1)
    real, fake = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    entropy = nn.BCEWithLogitsLoss()
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    assert float(discriminator_loss(real, fake, "vanilla")) == pytest.approx(float(expected))
    honest = entropy(fake, torch.ones_like(fake))
    assert float(generator_loss(fake, "vanilla")) == pytest.approx(float(honest))


def test_the_penalty_of_a_linear_score_is_known(rng: np.random.Generator) -> None:
    """The score mean(w * x) has the gradient w / n everywhere, whatever the mixing."""
    weight = torch.from_numpy(rng.normal(size=(1, 1, 6, 6)))
    photos = [torch.from_numpy(rng.random((4, 1, 6, 6))) for _ in range(2)]
    mix = torch.from_numpy(rng.random((4, 1, 1, 1)))
    penalty = gradient_penalty(lambda x: weight * x, photos[0], photos[1], mix)
    assert float(penalty) == pytest.approx((float(weight.norm()) / 36 - 1.0) ** 2)


def test_the_penalty_is_taken_where_it_was_mixed() -> None:
    """The score sum(x^2) / 2 has the gradient x: its norm tells where the penalty was taken."""
    real, fake = torch.ones(2, 1, 1, 1), torch.zeros(2, 1, 1, 1)
    mix = torch.tensor([0.25, 1.0]).view(2, 1, 1, 1)
    penalty = gradient_penalty(lambda x: x**2 / 2, real, fake, mix).detach()
    assert float(penalty) == pytest.approx(((0.25 - 1) ** 2 + (1 - 1) ** 2) / 2)


def test_minimising_the_penalty_makes_the_slope_one() -> None:
    """Double backward: without it the score's parameters would have no gradient at all."""
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 1, 3)
    real, fake = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    mix = torch.full((2, 1, 1, 1), 0.5)
    penalties: list[float] = []
    for _ in range(60):
        penalty = gradient_penalty(conv, real, fake, mix)
        penalties.append(float(penalty.detach()))
        (slope,) = torch.autograd.grad(penalty, conv.weight)
        with torch.no_grad():
            conv.weight -= 2.0 * slope
    assert penalties[0] > 0.2
    assert penalties[-1] < 0.01


# Schedules

TOP, FLOOR = 1e-3, 1e-6


def rates(**changes: object) -> list[float]:
    """The learning rate of each of 310 steps, ten of them rising, with periods of 100."""
    t = TrainConfig(steps=310, warmup=10, learning_rate=TOP, final_learning_rate=FLOOR, period=100)
    config = RunConfig(train=dataclasses.replace(t, **changes))  # type: ignore[arg-type]
    return [learning_rate(step, config) for step in range(311)]


def test_restarts_begin_at_a_lower_top_each() -> None:
    found = rates(schedule="cosine_restarts")
    assert [found[10], found[110], found[210]] == pytest.approx([TOP, 0.9 * TOP, 0.81 * TOP])
    assert found[60] == pytest.approx((TOP + FLOOR) / 2)
    assert found[160] == pytest.approx((0.9 * TOP + FLOOR) / 2)
    assert found[310] == pytest.approx(FLOOR)  # the end is the end of a period, not a new top
    for start in (10, 110, 210):
        assert all(a > b for a, b in pairwise(found[start : start + 100]))


def test_the_decayed_cosine_only_falls_and_drops_by_gamma() -> None:
    found, whole = rates(schedule="cosine_decayed"), rates()
    assert found[:110] == whole[:110]
    assert all(a > b for a, b in pairwise(found[10:]))
    for step in (110, 160, 210, 260):
        share = (found[step] - FLOOR) / (whole[step] - FLOOR)
        top = 0.9 ** ((step - 10) // 100) * TOP
        assert share == pytest.approx((top - FLOOR) / (TOP - FLOOR))
    assert found[310] == pytest.approx(FLOOR)


def test_without_gamma_the_decayed_cosine_is_the_plain_one() -> None:
    assert rates(schedule="cosine_decayed", gamma=1.0) == rates()
    assert rates(schedule="cosine_restarts", period=300, gamma=0.5) == rates()


def test_no_rate_falls_below_the_final_one() -> None:
    for schedule in ("cosine_restarts", "cosine_decayed"):
        assert min(rates(schedule=schedule, period=1, gamma=0.1)[10:]) == FLOOR


def test_a_time_limit_takes_every_schedule_with_it() -> None:
    t = TrainConfig(
        steps=310, warmup=10, learning_rate=TOP, minutes=3, schedule="cosine_restarts", period=100
    )
    config = RunConfig(train=t)
    assert learning_rate(20, config, 90) == pytest.approx(learning_rate(160, config, 0))
    assert learning_rate(20, config, 200) == pytest.approx(t.final_learning_rate)


def test_a_period_of_no_steps_is_refused() -> None:
    config = RunConfig(train=TrainConfig(schedule="cosine_restarts", period=0))
    with pytest.raises(DataError, match="period = 0 must be at least one step"):
        check(config, Ranks())
