"""Grids, fields and warps: how a place in one image is carried to another.

Every image is addressed by ``(x, y)`` with pixel centres at integers, so the left edge of an image
lies at -0.5. The same place has the coordinate ``(x + 0.5) * k - 0.5`` in the image that is ``k``
times larger. Three grids cover the input: LR (h, w), *field* (2h, 2w) and HR (4h, 4w). A field
holds, for each pixel of the field grid, the place in another image that shows the same thing.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.resize import SCALE, contributions

FIELD = 2  # field pixels per LR pixel
BAND_ROWS = 64  # LR rows rendered at a time: bounds memory whatever the size of the input
REMAP_SIDE = 32000  # OpenCV's remap takes at most 32767 pixels a side

Image = NDArray[np.float32]
Field = NDArray[np.float32]


def grid(rows: slice, cols: slice, ratio: float = 1.0) -> Field:
    """(H, W, 2) coordinates of the pixels in ``rows`` x ``cols``, in an image ``ratio`` larger."""
    x = (np.arange(cols.start, cols.stop, dtype=np.float32) + 0.5) * ratio - 0.5
    y = (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * ratio - 0.5
    return np.ascontiguousarray(np.stack(np.meshgrid(x, y), axis=-1).astype(np.float32))


def sample(image: NDArray[np.float32], xy: Field, interpolation: int = cv2.INTER_LINEAR) -> Image:
    """Read ``image`` (HW or HWC float32) at the places ``xy`` (H, W, 2); the border repeats."""
    height, width = xy.shape[:2]
    if max(height, width) > REMAP_SIDE:
        axis, half = (0, height // 2) if height > width else (1, width // 2)
        parts = (xy[:half], xy[half:]) if axis == 0 else (xy[:, :half], xy[:, half:])
        return np.concatenate([sample(image, part, interpolation) for part in parts], axis=axis)
    if max(image.shape[:2]) > REMAP_SIDE:
        image, xy = cut(image, xy)
    return cast(Image, cv2.remap(image, xy, None, interpolation, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


def cut(image: NDArray[Any], xy: Field) -> tuple[NDArray[Any], Field]:
    """The part of an image that ``xy`` looks at, and ``xy`` in that part: nothing else changes."""
    size = np.array([image.shape[1], image.shape[0]])
    margin = 5  # Lanczos4 reads four pixels to each side
    xy = np.clip(xy, np.float32(-1), size.astype(np.float32))
    x, y = xy[..., 0], xy[..., 1]
    low = np.clip(np.floor([x.min(), y.min()]).astype(int) - margin, 0, size - 1)
    high = np.ceil([x.max(), y.max()]).astype(int) + margin + 1
    return image[low[1] : high[1], low[0] : high[0]], xy - low.astype(np.float32)


def read_field(field: Field, rows: slice, cols: slice) -> Field:
    """The field (2h, 2w, 2) at HR resolution (rows and cols in LR pixels): (4H, 4W, 2)."""
    hr_rows = slice(rows.start * SCALE, rows.stop * SCALE)
    hr_cols = slice(cols.start * SCALE, cols.stop * SCALE)
    return sample(field, grid(hr_rows, hr_cols, FIELD / SCALE))


def render(pixels: NDArray[np.uint8], xy: Field, interpolation: int = cv2.INTER_CUBIC) -> Image:
    """Warp uint8 ``pixels`` (HW or HWC) to the places ``xy``: float32 0..255, the border repeats.

    Only the part of the image that is looked at is converted to float, so a large reference costs
    no more than the tile that is drawn from it.
    """
    part, xy_part = cut(pixels, xy)
    return sample(part.astype(np.float32), xy_part, interpolation)


def shrink4(hr: Image) -> Image:
    """MATLAB's antialiased bicubic shrink by four without rounding: float32 (4h, 4w[, C])."""
    height, width = hr.shape[:2]
    weights, _ = contributions(64, 16, 1 / SCALE)  # the same weights for every output pixel
    kernel = weights[8].astype(np.float32)
    before = (len(kernel) - SCALE) // 2
    padded = cv2.copyMakeBorder(hr, before, before, before, before, cv2.BORDER_REPLICATE)
    blurred = cv2.sepFilter2D(padded, cv2.CV_32F, kernel, kernel, anchor=(0, 0))
    return cast(Image, np.ascontiguousarray(blurred[:height:SCALE, :width:SCALE]))


def shrunk_warp(pixels: NDArray[np.uint8], field: Field) -> Image:
    """The warped image as the LR camera would see it: float32 (h, w[, C]) 0..255."""
    height, width = field.shape[0] // FIELD, field.shape[1] // FIELD
    halo = 2  # LR rows that the shrinking kernel reaches beyond a band
    bands: list[Image] = []
    for start in range(0, height, BAND_ROWS):
        stop = min(start + BAND_ROWS, height)
        top, bottom = max(start - halo, 0), min(stop + halo, height)
        warped = render(pixels, read_field(field, slice(top, bottom), slice(0, width)))
        bands.append(shrink4(warped)[start - top : stop - top])
    return np.concatenate(bands)


def compose(outer: Field, inner: Field) -> Field:
    """``outer(inner(x))``: ``inner`` (2h, 2w, 2) points into the grid of ``outer`` (2h, 2w, 2).

    Outside its grid ``outer`` continues with its own mean slope.
    """
    height, width = outer.shape[:2]
    if min(height, width) < 4:
        return sample(outer, inner)
    slope_x = (outer[:, -1] - outer[:, 0]).mean(axis=0) / (width - 1)
    slope_y = (outer[-1] - outer[0]).mean(axis=0) / (height - 1)

    def plane(xy: Field) -> Field:
        return xy[..., :1] * slope_x + xy[..., 1:] * slope_y

    here = grid(slice(0, height), slice(0, width))
    return sample(outer - plane(here), inner) + plane(inner)


def area_ratio(field: Field) -> Image:
    """Signed area of each field pixel, in pixels of the target: (2h, 2w); it changes its sign
    where the field folds."""
    dx = np.gradient(field, axis=1) if field.shape[1] > 1 else np.zeros_like(field)
    dy = np.gradient(field, axis=0) if field.shape[0] > 1 else np.zeros_like(field)
    return (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).astype(np.float32)
