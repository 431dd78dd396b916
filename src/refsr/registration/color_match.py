"""Color matching: a smooth gain and offset that give a warped reference the colors of the input."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.resize import SCALE

NODES = 16  # along the photo's long side
MIN_GAIN, MAX_GAIN = 0.2, 5.0  # two stops, a factor of four, and a margin
IDENTITY = np.array([[[1, 1, 1, 0, 0, 0]]], np.float32)


def color_match(lr: NDArray[np.uint8], shrunk: Image, weight: Image) -> NDArray[np.float32]:
    """Smooth gain and offset per channel that map the reference's colors to the input's.

    ``lr`` (h, w, 3) RGB; ``shrunk`` (h, w, 3), 0..255, the reference warped to it; ``weight``
    (2h, 2w) 0..1. Weighted local regressions on a coarse grid, regularised towards a global one:
    (rows, cols, 6), gain RGB and offset RGB for values 0..1.
    """
    height, width = lr.shape[:2]
    cell = max(1.0, max(height, width) / NODES)
    nodes = (max(1, round(width / cell)), max(1, round(height / cell)))
    a, b = shrunk / np.float32(255), lr.astype(np.float32) / np.float32(255)
    w = cv2.resize(weight, (width, height), interpolation=cv2.INTER_AREA)[..., None] ** 2

    def pooled(values: Image) -> Image:
        small = cast(Image, cv2.resize(values * w, nodes, interpolation=cv2.INTER_AREA))
        small = cast(Image, cv2.GaussianBlur(small, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE))
        return small.reshape(nodes[1], nodes[0], 3)

    moments = np.stack([pooled(v) for v in (np.ones_like(a), a, b, a * a, a * b)])
    total = moments.mean(axis=(1, 2), keepdims=True)
    if float(total[0].max()) <= 1e-6:
        return IDENTITY
    overall, _, _ = regress(total, np.float32(1))
    gain, mean_a, mean_b = regress(moments + np.float32(0.05) * total, overall)
    return np.concatenate([gain, mean_b - gain * mean_a], axis=2).astype(np.float32)


def regress(
    moments: Image,  # (5, rows, cols, 3): sums of weights, a, b, a * a and a * b
    prior: Image | np.float32,
) -> tuple[Image, Image, Image]:
    """Ridge regression of b on a: slope, shrunk towards ``prior``, and the means of a and b."""
    count, sum_a, sum_b, sum_aa, sum_ab = moments
    mean_a, mean_b = sum_a / count, sum_b / count
    ridge = np.float32(1e-4)  # one gray level of 100, squared
    variance = np.maximum(sum_aa / count - mean_a * mean_a, np.float32(0))
    covariance = sum_ab / count - mean_a * mean_b
    slope = (covariance + ridge * prior) / (variance + ridge)
    return np.clip(slope, MIN_GAIN, MAX_GAIN), mean_a, mean_b


def apply_color(
    pixels: Image, color: NDArray[np.float32], lr_shape: tuple[int, ...], rows: slice, cols: slice
) -> Image:
    """Apply a color match to an HR tile (4H, 4W, 3), 0..1.

    ``lr_shape``: of the whole photo; ``rows`` and ``cols``: the tile in LR pixels.
    """
    step_x = color.shape[1] / (SCALE * lr_shape[1])  # nodes from one HR pixel to the next
    step_y = color.shape[0] / (SCALE * lr_shape[0])
    to_nodes = np.array(
        [
            [step_x, 0, (SCALE * cols.start + 0.5) * step_x - 0.5],
            [0, step_y, (SCALE * rows.start + 0.5) * step_y - 0.5],
        ]
    )
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    size = pixels.shape[1], pixels.shape[0]
    gain, offset = (
        cv2.warpAffine(
            np.ascontiguousarray(part), to_nodes, size, flags=how, borderMode=cv2.BORDER_REPLICATE
        )
        for part in (color[..., :3], color[..., 3:])
    )
    out = np.asarray(cv2.multiply(pixels, gain), np.float32)
    out += offset
    return np.clip(out, np.float32(0), np.float32(1), out=out)
