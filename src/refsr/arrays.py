"""Array types of images, and padding to a network's grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]  # (H, W) or (H, W, C); 0..1 unless stated otherwise
Pixels = NDArray[np.uint8]  # (H, W, 3) RGB unless stated otherwise


def pad_to_multiple(image: NDArray[Any], multiple: int) -> NDArray[Any]:
    """An image (H, W[, C]) padded below and at the right to a multiple by repeating its border."""
    down, right = (-side % multiple for side in image.shape[:2])
    if not down and not right:
        return image
    return np.pad(image, ((0, down), (0, right), *[(0, 0)] * (image.ndim - 2)), "edge")


def network_input(image: Image, multiple: int) -> Image:
    """An image (H, W[, C]) as a network's input: float32 (1, C, H, W), padded to ``multiple``."""
    padded = np.atleast_3d(pad_to_multiple(image, multiple))
    return np.ascontiguousarray(padded.transpose(2, 0, 1)[None], np.float32)
