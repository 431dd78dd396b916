"""Adversarial training: the discriminator's optimizer and step, and the generator's loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from refsr.model.discriminator import PatchDiscriminator
from refsr.train.config import AdversarialConfig
from refsr.train.distributed import Ranks
from refsr.train.losses import discriminator_loss, generator_loss, gradient_penalty


class DiscriminatorTrainer:
    """The discriminator and its optimizer. In a step, ``update`` comes before ``generator_loss``.

    It computes in float32 outside autocast: a Wasserstein loss depends on small differences of
    scores, and the penalty is differentiated twice.
    """

    def __init__(self, config: AdversarialConfig, seed: int, device: torch.device) -> None:
        """``seed``: of the penalty's mixing weights; torch's generator initializes the network."""
        self.config, self.seed = config, seed
        self.model = PatchDiscriminator(config.channels, config.layers).to(device)
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # stubs
        self.optimizer = torch.optim.Adam(
            self.model.parameters(), config.learning_rate, betas=(0.0, 0.9)
        )  # the betas of Gulrajani et al.: no momentum, since the generator changes as well

    def update(self, real: Tensor, fake: Tensor, step: int, ranks: Ranks) -> dict[str, float]:
        """One step on HR and SR patches (B, 3, H, W) in 0..1; returns the terms to be logged.

        The mixing weights are a function of (seed, step, index) alone, like the samples.
        """
        c = self.config
        fake = fake.detach()
        self.model.requires_grad_(True).zero_grad(set_to_none=True)
        scores = self.model(torch.cat([real, fake]))
        real_score, fake_score = scores.chunk(2)
        loss = discriminator_loss(real_score, fake_score, c.objective)
        terms = {
            "discriminator": float(loss.detach()),
            "score/real": float(real_score.detach().mean()),
            "score/fake": float(fake_score.detach().mean()),
        }
        if c.objective == "wgan-gp":
            draws = [
                np.random.default_rng((self.seed, step, index, 1)).random()
                for index in ranks.shard(len(real) * ranks.size)
            ]
            mix = torch.tensor(draws, dtype=torch.float32, device=real.device).view(-1, 1, 1, 1)
            penalty = gradient_penalty(self.model, real, fake, mix)
            loss = loss + c.gradient_penalty * penalty
            terms["gradient_penalty"] = float(penalty.detach())
        loss.backward()
        parameters = list(self.model.parameters())
        ranks.average_gradients(parameters)
        if all(bool(torch.isfinite(p.grad).all()) for p in parameters if p.grad is not None):
            self.optimizer.step()
        return terms

    def generator_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """L_adv of SR patches (B, 3, H, W) in 0..1, without gradients for the discriminator.

        ``real``: the HR patches, with which ``ragan`` compares them.
        """
        self.model.requires_grad_(False)
        objective = self.config.objective
        scores = self.model(real) if objective == "ragan" else None
        return generator_loss(self.model(fake), objective, scores)

    def state_dict(self) -> dict[str, Any]:
        """Everything a resumed run needs."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from ``state``. Raises RuntimeError, ValueError or KeyError on a mismatch."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
