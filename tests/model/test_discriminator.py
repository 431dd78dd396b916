"""The discriminator's receptive field."""

from __future__ import annotations

import torch

from refsr.model.discriminator import PatchDiscriminator


def test_a_score_sees_a_patch_and_no_other_sample() -> None:
    """70x70 with three layers (Isola et al.), and nothing of another photo of the batch."""
    torch.manual_seed(1)
    model = PatchDiscriminator(4, 3)
    photo = torch.rand(2, 3, 128, 128, requires_grad=True)
    scores = model(photo)
    assert scores.shape == (2, 1, 14, 14)
    (seen,) = torch.autograd.grad(scores[0, 0, 7, 7], photo)
    rows = torch.nonzero(seen[0].abs().sum((0, 2)))
    columns = torch.nonzero(seen[0].abs().sum((0, 1)))
    assert int(rows.max() - rows.min()) + 1 == 70
    assert int(columns.max() - columns.min()) + 1 == 70
    assert not seen[1].any()
