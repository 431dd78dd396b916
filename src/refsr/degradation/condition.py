"""What a network is told of how its photo was taken: five numbers beside the pixels.

An aliased photo looks like a sharper one, and noise like texture; told which it is, a network need
not hedge between the two (docs/decisions/2026-11-27.md, "A network that is told").
"""

from __future__ import annotations

import math

import numpy as np

from refsr.arrays import Image
from refsr.degradation.kernel import FINE, Kernel, log_response

CONDITIONS = ("known", "aliasing", "noise", "compression", "amplified")
MAX_ALIASING = 1.5
MAX_NOISE = 30.0  # levels


def condition(
    aliasing: float,  # share of the finest detail that no kernel explains: 0 to about 1
    noise: float,  # levels, standard deviation in luma
    quality: int | None,  # of JPEG, as libjpeg counts
    undone: Kernel | None,  # whose inverse was applied to the photo
) -> Image:
    """The condition (5,) float32 of a photo, each number about 0 to 2; zeros: nothing known."""
    amplified = 0.0 if undone is None else -log_response(undone, FINE)
    return np.array(
        [
            1.0,
            min(max(aliasing, 0.0), MAX_ALIASING),
            math.log1p(min(max(noise, 0.0), MAX_NOISE)) / 2,
            compression_of(quality) / 2,
            min(max(amplified, -1.0), 2.5),
        ],
        np.float32,
    )


def nothing_told() -> Image:
    """The condition (5,) of a photo of which nothing is known."""
    return np.zeros(len(CONDITIONS), np.float32)


def compression_of(quality: int | None) -> float:
    """JPEG quality as the log of its quantisation: 0 for none, about 2 for 35."""
    if quality is None:
        return 0.0
    scale = 5000 / max(quality, 1) if quality < 50 else 200 - 2 * quality
    return math.log1p(scale / 20)
