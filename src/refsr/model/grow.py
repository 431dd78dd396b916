"""A larger network that computes, at first, exactly what a trained smaller one does."""

from __future__ import annotations

from dataclasses import replace

import torch

from refsr.errors import ModelError
from refsr.model.config import SSENConfig
from refsr.model.ssen import SSEN
from refsr.model.trunk import ResBlock


def grown(model: SSEN, config: SSENConfig) -> SSEN:
    """``model`` with as many reconstruction blocks more as ``config`` has: they start as nothing.

    Raises ModelError where the two differ in anything else, or there would be fewer.
    """
    have, want = model.config.reconstruction_blocks, config.reconstruction_blocks
    if replace(model.config, reconstruction_blocks=want) != config or want < have:
        raise ModelError(
            "The weights are of another network than the configuration describes, which may have "
            "more reconstruction_blocks and nothing else."
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
