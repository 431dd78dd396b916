"""Muon against torch's own, in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from refsr.train.optimizer import Muon, orthogonalize


@pytest.mark.parametrize("shape", [(8, 72), (40, 8)])
def test_muon_equals_torchs_in_float32(rng: np.random.Generator, shape: tuple[int, int]) -> None:
    """torch's computes in bfloat16: its updates differ by that type's 2^-8, ours do not."""
    start = torch.from_numpy(rng.standard_normal(shape, np.float32))
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    steps = (
        Muon([{"params": [ours], "lr": 0.1}]),
        torch.optim.Muon([theirs], lr=0.1, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    )
    for _ in range(3):
        gradient = torch.from_numpy(rng.standard_normal(shape, np.float32))
        for matrix, optimizer in zip((ours, theirs), steps, strict=True):
            matrix.grad = gradient.clone()
            optimizer.step()
    moved = (theirs - start).abs().max()
    assert float((ours - theirs).detach().abs().max()) < 0.03 * float(moved.detach())
    values = torch.linalg.svdvals(orthogonalize(gradient))
    assert float(values.min()) > 0.6
    assert float(values.max()) < 1.3
    steps[0].load_state_dict(steps[1].state_dict())  # runs with torch's can be resumed
