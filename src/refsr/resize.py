"""Bicubic resizing that matches MATLAB's ``imresize``: the field's protocol for making LR images.

Shrinking is antialiased: the cubic kernel (Keys, a = -0.5) is stretched by the shrink factor. The
border pixel is repeated, every output pixel's weights are normalised to sum to one, and integer
images are rounded after each axis: so did the MATLAB that made the field's LR images (its LR Set5
is matched within one gray level everywhere; with mirrored borders, as newer releases use, the first
rows differ by up to 7 levels).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCALE = 4  # HR pixels per LR pixel, of every model
BLOCK = 1 << 16  # source values gathered at a time: they stay in the cache
KERNEL_WIDTH = 4.0  # support of the cubic kernel in source pixels, before antialiasing stretches it


def cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keys' cubic convolution kernel with a = -0.5, MATLAB's choice."""
    a = np.abs(x)
    inner = (1.5 * a - 2.5) * a * a + 1.0
    outer = ((-0.5 * a + 2.5) * a - 4.0) * a + 2.0
    return np.where(a <= 1.0, inner, np.where(a <= 2.0, outer, 0.0))


@lru_cache(maxsize=64)
def contributions(
    in_size: int, out_size: int, scale: float
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Weights and source indices of every output pixel along one axis.

    Returns ``weights`` (out_size, taps), rows summing to one, and ``indices`` (out_size, taps) into
    the source axis, the border repeated (``contributions`` in MATLAB's ``imresize.m``).
    """
    stretch = max(1.0, 1.0 / scale)  # antialias only when shrinking
    centre = (np.arange(1, out_size + 1) / scale) + 0.5 * (1.0 - 1.0 / scale)
    left = np.floor(centre - KERNEL_WIDTH * stretch / 2.0)
    taps = math.ceil(KERNEL_WIDTH * stretch) + 2
    index = left[:, None] + np.arange(taps)[None, :]
    weights = cubic((centre[:, None] - index) / stretch) / stretch
    weights /= weights.sum(axis=1, keepdims=True)
    indices = np.clip(index.astype(np.intp) - 1, 0, in_size - 1)
    used = np.any(weights != 0.0, axis=0)
    return np.ascontiguousarray(weights[:, used]), np.ascontiguousarray(indices[:, used])


def _weigh_rows(
    image: NDArray[np.float32], weights: NDArray[np.float64], indices: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Resize along the first axis, some rows at a time: a sum over taps of weighted source rows.

    By NumPy's own loops, not by BLAS, whose sums depend on the processor and its threads.
    """
    flat = image.reshape(len(image), -1)
    taps = weights.astype(np.float32)
    out = np.empty((len(taps), flat.shape[1]), np.float32)
    step = max(1, BLOCK // (taps.shape[1] * flat.shape[1]))
    for start in range(0, len(taps), step):
        part = slice(start, start + step)
        np.einsum("ot,otn->on", taps[part], flat[indices[part]], out=out[part])
    return out.reshape(-1, *image.shape[1:])


def _add_rows(
    image: NDArray[np.float32], weights: NDArray[np.float64], indices: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Resize along the first axis: a sum over taps, in MATLAB's order, of weighted source rows.

    Slower than ``_weigh_rows``, but integers are rounded as in MATLAB.
    """
    shape = (len(weights),) + (1,) * (image.ndim - 1)
    out = np.zeros((len(weights), *image.shape[1:]), np.float32)
    for tap in range(weights.shape[1]):
        out += weights[:, tap].astype(np.float32).reshape(shape) * image[indices[:, tap]]
    return out


def imresize(
    image: NDArray[Any], scale: float | None = None, size: tuple[int, int] | None = None
) -> NDArray[Any]:
    """Resize like MATLAB's ``imresize(image, scale)`` or ``imresize(image, size)``, bicubic.

    ``image`` is HW or HWC; uint8 or uint16 (the result is rounded and clipped to the same type) or
    float32 (the result may overshoot the input's range, as bicubic does). Give ``scale`` (output
    size is rounded up, as MATLAB does) or ``size`` (height, width) in pixels.

    Raises ValueError where neither or both are given or a size is below one pixel.
    """
    if (scale is None) == (size is None):
        raise ValueError("give either scale or size")
    height, width = image.shape[:2]
    if size is None:
        assert scale is not None
        size = (math.ceil(height * scale), math.ceil(width * scale))
        scales = (scale, scale)
    else:
        scales = (size[0] / max(1, height), size[1] / max(1, width))
    if min(size) < 1 or min(height, width) < 1:
        raise ValueError(f"cannot resize {height}x{width} to {size[0]}x{size[1]}")
    levels = np.iinfo(image.dtype).max if image.dtype.type in (np.uint8, np.uint16) else None
    out = np.asarray(image, np.float32)
    axes = sorted((0, 1), key=lambda axis: scales[axis])  # the stronger shrink first
    if levels is None and scales[1] >= 1:
        axes = [1, 0]  # columns first: they are transposed, cheaper while there are few
    for axis in axes:
        weights, indices = contributions(image.shape[axis], size[axis], scales[axis])
        rows = np.ascontiguousarray(np.swapaxes(out, 0, axis))
        resized = (_weigh_rows if levels is None else _add_rows)(rows, weights, indices)
        out = np.swapaxes(resized, 0, axis)
        if levels is not None:
            out = np.clip(np.floor(out + 0.5), 0, levels)
    return np.ascontiguousarray(
        out.astype(image.dtype if levels is not None else np.float32, copy=False)
    )
