"""What training minimises: the reconstruction loss, and the two sides of the adversarial game.

The paper's recipe is L_rec first, then L_rec + L_adv. What it leaves open is a switch here: what
epsilon means in Charbonnier, and the adversarial objective, where its P_r and P_g suggest
Wasserstein with a gradient penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Reconstruction = Literal["charbonnier", "charbonnier_eps", "l1"]
Objective = Literal["wgan-gp", "vanilla"]


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
    """What the discriminator minimises, from its scores (B, 1, h, w) of true and made patches.

    ``wgan-gp``: mean score of the made less that of the true (Arjovsky et al. 2017; the penalty is
    ``gradient_penalty``). ``vanilla``: cross entropy of the scores as logits (Goodfellow et al.
    2014).
    """
    if objective == "wgan-gp":
        return fake.mean() - real.mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, objective: Objective) -> Tensor:
    """L_adv, what the network minimises: its patches should score high. ``vanilla`` is the form
    that does not saturate, -log D(fake).
    """
    return -fake.mean() if objective == "wgan-gp" else F.softplus(-fake).mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor],
    real: Tensor,  # (B, 3, H, W) in 0..1
    fake: Tensor,  # (B, 3, H, W) in 0..1, without a graph
    mix: Tensor,  # (B, 1, 1, 1) in 0..1: where between the two each sample's penalty is taken
) -> Tensor:
    """Mean of (norm of the score's gradient - 1)^2 at the mixed images (Gulrajani et al. 2017).

    A sample's score is the mean over its patches, so each sample has one gradient. Its graph is
    kept: the penalty's own gradient needs the second derivative.
    """
    mixed = (mix * real + (1.0 - mix) * fake).requires_grad_(True)
    score = discriminator(mixed).mean((1, 2, 3)).sum()  # nothing mixes the samples
    (gradient,) = torch.autograd.grad(score, mixed, create_graph=True)
    return ((gradient.flatten(1).norm(dim=1) - 1.0) ** 2).mean()
