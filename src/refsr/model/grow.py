"""Grows a trained network to a deeper one with the same function."""

from __future__ import annotations

from dataclasses import replace

import torch

from refsr.errors import ModelError
from refsr.model.config import SSENConfig
from refsr.model.ssen import SSEN
from refsr.model.trunk import ResBlock


def grow(model: SSEN, config: SSENConfig) -> SSEN:
    """``model`` with the reconstruction blocks and conditions of ``config``.

    New blocks are zero-initialized, and so is what new conditions change. Raises ModelError where
    ``config`` has fewer of them or differs in anything else.
    """
    have, want = model.config.reconstruction_blocks, config.reconstruction_blocks
    told = model.config.conditions or config.conditions
    fitted = replace(
        model.config,
        reconstruction_blocks=want,
        conditions=told,
        self_reference=config.self_reference,
    )
    deeper = want > have and model.config.conditions  # what is told is told to every block
    if fitted != config or want < have or deeper:
        raise ModelError(
            "The weights are of another network than the configuration, which may differ from them "
            "only in self_reference, or in having more reconstruction_blocks or, at first, "
            "conditions."
        )
    larger = SSEN(config)
    larger.load_state_dict(model.state_dict(), strict=False)
    blocks = list(larger.reconstruct.children())
    with torch.no_grad():
        for block in blocks[have:want]:
            assert isinstance(block, ResBlock)
            for value in block.conv2.parameters():
                value.zero_()
    return larger.train(model.training)
