"""The losses: reconstruction, discriminator, generator and gradient penalty.

The paper trains with L_rec first, then with L_rec + L_adv. What it leaves open is an option here:
the meaning of epsilon in Charbonnier, and the adversarial objective, where its P_r and P_g suggest
Wasserstein with a gradient penalty; the others are those that super-resolution uses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reconstruction = Literal["charbonnier", "charbonnier_eps", "l1"]
Objective = Literal["wgan-gp", "vanilla", "lsgan", "ragan"]


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float) -> Tensor:
    """Charbonnier loss sqrt(d^2 + epsilon^2), averaged over pixels and channels; values in 0..1."""
    return torch.sqrt((sr - hr) ** 2 + epsilon**2).mean()


def reconstruction_loss(sr: Tensor, hr: Tensor, kind: Reconstruction, epsilon: float) -> Tensor:
    """L_rec of the SR and HR photos (B, 3, H, W) in 0..1, a scalar.

    ``charbonnier`` reads the paper's epsilon as sqrt(d^2 + epsilon^2), ``charbonnier_eps`` as
    sqrt(d^2 + epsilon); ``l1`` is the mean absolute difference, which both become as epsilon goes
    to zero. The paper's 1e-6 in the second reading is 1e-3 in the first.
    """
    if kind == "l1":
        return F.l1_loss(sr, hr)
    return charbonnier(sr, hr, epsilon if kind == "charbonnier" else epsilon**0.5)


def discriminator_loss(real: Tensor, fake: Tensor, objective: Objective) -> Tensor:
    """The discriminator's loss, from its scores (B, 1, h, w) of real and fake patches.

    ``wgan-gp``: mean fake score minus mean real score (Arjovsky et al. 2017), to which
    ``gradient_penalty`` is added. ``vanilla``: binary cross entropy with the scores as logits
    (Goodfellow et al. 2014). ``lsgan``: half the squared distance of real scores from 1 and of fake
    ones from 0 (Mao et al. 2017). ``ragan``: relativistic average, cross entropy of each score less
    the mean of the other kind (Jolicoeur-Martineau 2019, as in ESRGAN, Wang et al. 2018).
    """
    if objective == "wgan-gp":
        return fake.mean() - real.mean()
    if objective == "lsgan":
        return ((real - 1.0) ** 2).mean() / 2 + (fake**2).mean() / 2
    if objective == "ragan":
        real, fake = real - fake.mean(), fake - real.mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, objective: Objective, real: Tensor | None = None) -> Tensor:
    """L_adv, the generator's loss from the scores (B, 1, h, w) of its patches.

    ``vanilla`` is the non-saturating form, -log D(fake). ``ragan`` needs the scores of ``real``
    patches, too, and is the discriminator's loss with the two exchanged.
    """
    if objective == "wgan-gp":
        return -fake.mean()
    if objective == "lsgan":
        return ((fake - 1.0) ** 2).mean() / 2
    if objective == "ragan":
        assert real is not None
        return discriminator_loss(fake, real, objective)
    return F.softplus(-fake).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,  # (B, 3, H, W) in 0..1
    fake: Tensor,  # (B, 3, H, W) in 0..1, detached
    mix: Tensor,  # (B, 1, 1, 1) in 0..1: the weight of the real image in each interpolation
) -> Tensor:
    """Mean of (norm of the score's gradient - 1)^2 at interpolated images (Gulrajani et al. 2017).

    The score of a sample is the mean over its patches, so each sample has one gradient. Its graph
    is kept, since the penalty is differentiated again.
    """
    mixed = (mix * real + (1.0 - mix) * fake).requires_grad_(True)
    score = discriminator(mixed).mean((1, 2, 3)).sum()  # samples do not interact
    (gradient,) = torch.autograd.grad(score, mixed, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()
