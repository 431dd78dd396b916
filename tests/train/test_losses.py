"""The losses: against plain float64 forms and what each must do to a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from refsr.train.losses import (
    charbonnier,
    discriminator_loss,
    generator_loss,
    gradient_penalty,
    reconstruction_loss,
)


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


# Adversarial


@pytest.mark.parametrize("objective", ["wgan-gp", "vanilla", "lsgan", "ragan"])
def test_the_two_sides_minimize_opposite_losses(objective: str) -> None:
    """The discriminator raises real scores and lowers fake ones; the generator raises fake ones."""
    real, fake = (torch.rand(2, 1, 3, 3, requires_grad=True) for _ in range(2))
    discriminator_loss(real, fake, objective).backward()  # type: ignore[arg-type]
    assert real.grad is not None
    assert fake.grad is not None
    assert (real.grad < 0).all()
    assert (fake.grad > 0).all()
    fake.grad = None
    generator_loss(fake, objective, real.detach()).backward()  # type: ignore[arg-type]
    assert (fake.grad < 0).all()


def test_the_vanilla_objective_is_cross_entropy() -> None:
    torch.manual_seed(1)
    real, fake = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    entropy = nn.BCEWithLogitsLoss()
    expected = entropy(real, torch.ones_like(real)) + entropy(fake, torch.zeros_like(fake))
    assert float(discriminator_loss(real, fake, "vanilla")) == pytest.approx(float(expected))
    honest = entropy(fake, torch.ones_like(fake))
    assert float(generator_loss(fake, "vanilla")) == pytest.approx(float(honest))


def test_least_squares_are_the_definition() -> None:
    real, fake = (
        torch.tensor([0.5, 2.0]).view(2, 1, 1, 1),
        torch.tensor([0.5, -1.0]).view(2, 1, 1, 1),
    )
    # ((0.5 - 1)^2 + (2 - 1)^2) / 4 + (0.5^2 + 1) / 4, and ((0.5 - 1)^2 + (-1 - 1)^2) / 4
    assert float(discriminator_loss(real, fake, "lsgan")) == pytest.approx(0.625)
    assert float(generator_loss(fake, "lsgan")) == pytest.approx(1.0625)


def test_relativistic_average_is_the_definition() -> None:
    torch.manual_seed(2)
    real, fake = torch.randn(2, 1, 3, 3), torch.randn(2, 1, 3, 3)
    above = torch.sigmoid(real - fake.mean())
    below = torch.sigmoid(fake - real.mean())
    expected = -torch.log(above).mean() - torch.log(1 - below).mean()
    assert float(discriminator_loss(real, fake, "ragan")) == pytest.approx(float(expected))
    expected = -torch.log(1 - above).mean() - torch.log(below).mean()
    assert float(generator_loss(fake, "ragan", real)) == pytest.approx(float(expected))


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
