"""Pixel values of 8 and 16 bits, and conversions between them."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.errors import PhotoError

Levels = NDArray[np.uint8] | NDArray[np.uint16]  # 0..255 or 0..65535

_TO_8_BITS = ((np.arange(65536, dtype=np.uint32) + 128) // 257).astype(np.uint8)


def to_levels(array: NDArray[Any], name: str) -> Levels:
    """Pixels of any supported type as uint8 or uint16, copied; floating point becomes uint16.

    Raises PhotoError for other types, and for floating point outside 0..1.
    """
    if array.dtype.kind == "u" and array.itemsize <= 2:
        return array.astype(array.dtype.newbyteorder("="))
    if np.issubdtype(array.dtype, np.floating):
        # A resize or a conversion may exceed 1 by a rounding error; NaN fails both comparisons.
        if not (array.min() >= -1e-5 and array.max() <= 1 + 1e-5):
            raise PhotoError(f"{name} has floating-point values that are not all in 0..1.")
        out = np.clip(array, 0, 1) * np.asarray(65535, np.promote_types(array.dtype, np.float32))
        return np.rint(out).astype(np.uint16)
    raise PhotoError(
        f"{name} has pixels of type {array.dtype}; give uint8, uint16 or floating point in 0..1."
    )


def to_8_bits(levels: Levels) -> NDArray[np.uint8]:
    """Levels of any shape rounded to 8 bits; no copy where they have 8 bits already."""
    if levels.dtype == np.uint8:
        return cast(NDArray[np.uint8], levels)
    return _TO_8_BITS[levels]


def luma(pixels: Levels) -> Any:
    """HW of HWC RGB, the same dtype; of three equal channels exactly their value."""
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
