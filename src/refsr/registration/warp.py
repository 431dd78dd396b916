"""Grids, fields and warps.

Coordinates are ``(x, y)`` with pixel centres at integers, so the left edge of an image is at -0.5.
The same point has the coordinate ``(x + 0.5) * k - 0.5`` in an image ``k`` times larger. Three
grids cover the input: LR (h, w), *field* (2h, 2w) and HR (4h, 4w). A field holds, for each pixel of
the field grid, the coordinates of the corresponding point in another image.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.tiling import bands
from refsr.resize import SCALE, imresize

FIELD_SCALE = 2  # field pixels per LR pixel
BAND_ROWS = 64  # LR rows warped at a time: bounds memory whatever the size of the input
REMAP_MAX_SIDE = 32000  # OpenCV's remap takes at most 32767 pixels a side

Field = NDArray[np.float32]


def grid(rows: slice, cols: slice, ratio: float = 1.0) -> Field:
    """(H, W, 2) coordinates of the pixels in ``rows`` x ``cols``, in an image ``ratio`` larger."""
    xy = np.empty((rows.stop - rows.start, cols.stop - cols.start, 2), np.float32)
    xy[..., 0] = (np.arange(cols.start, cols.stop, dtype=np.float32) + 0.5) * ratio - 0.5
    xy[..., 1] = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * ratio - 0.5)[:, None]
    return xy


def sample(image: NDArray[np.float32], xy: Field, interpolation: int = cv2.INTER_LINEAR) -> Image:
    """Sample ``image`` (HW or HWC float32) at ``xy`` (H, W, 2); the border is replicated."""
    height, width = xy.shape[:2]
    if max(height, width) > REMAP_MAX_SIDE:
        axis, half = (0, height // 2) if height > width else (1, width // 2)
        parts = (xy[:half], xy[half:]) if axis == 0 else (xy[:, :half], xy[:, half:])
        return np.concatenate([sample(image, part, interpolation) for part in parts], axis=axis)
    if max(image.shape[:2]) > REMAP_MAX_SIDE:
        image, xy = crop_to(image, xy)
    return cast(Image, cv2.remap(image, xy, None, interpolation, borderMode=cv2.BORDER_REPLICATE))  # type: ignore[call-overload]


def crop_to(image: NDArray[Any], xy: Field) -> tuple[NDArray[Any], Field]:
    """The part of an image that sampling at ``xy`` reads, and ``xy`` in the pixels of that part."""
    margin = 5  # Lanczos4 reads four pixels to each side
    parts: list[slice] = []
    coordinates: list[Any] = []
    for channel, size in enumerate((image.shape[1], image.shape[0])):
        value = np.clip(cv2.extractChannel(xy, channel), np.float32(-1), np.float32(size))
        low = min(max(int(np.floor(value.min())) - margin, 0), size - 1)
        parts.append(slice(low, int(np.ceil(value.max())) + margin + 1))
        value -= np.float32(low)
        coordinates.append(value)
    return image[parts[1], parts[0]], cast(Field, cv2.merge(coordinates))


def field_at_hr(field: Field | Image, rows: slice, cols: slice) -> Field:
    """A tile of a field (2h, 2w[, C]) upsampled to HR: (4H, 4W[, C]); the tile in LR pixels."""
    parts: list[slice] = []
    inner: list[slice] = []
    for part, length in ((rows, field.shape[0]), (cols, field.shape[1])):
        start, stop = max(0, FIELD_SCALE * part.start - 1), min(length, FIELD_SCALE * part.stop + 1)
        first = (FIELD_SCALE * part.start - start) * SCALE // FIELD_SCALE
        parts.append(slice(start, stop))
        inner.append(slice(first, first + SCALE * (part.stop - part.start)))
    near = np.ascontiguousarray(field[parts[0], parts[1]])
    ratio = SCALE // FIELD_SCALE
    large = cv2.resize(near, None, fx=ratio, fy=ratio, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(large[inner[0], inner[1]], np.float32)


def warp_image(pixels: NDArray[np.uint8], xy: Field, interpolation: int = cv2.INTER_CUBIC) -> Image:
    """Sample uint8 ``pixels`` (HW or HWC) at ``xy`` (H, W, 2): float32 0..255.

    The border is replicated. Only the part that is read is converted to float, so a large reference
    costs no more than the tile.
    """
    part, xy_part = crop_to(pixels, xy)
    return sample(part.astype(np.float32), xy_part, interpolation)


def shrink4(hr: Image) -> Image:
    """Shrink float32 (4h, 4w[, C]) by four, MATLAB's antialiased bicubic, without rounding."""
    return imresize(hr, scale=1 / SCALE)


def warp_to_lr(pixels: NDArray[np.uint8], field: Field) -> Image:
    """Warp uint8 ``pixels`` by a field (2h, 2w, 2) to HR, shrink by four: (h, w[, C]) 0..255."""
    height, width = field.shape[0] // FIELD_SCALE, field.shape[1] // FIELD_SCALE
    halo = 2  # LR rows that the shrinking kernel reaches beyond a band
    found: list[Image] = []
    for rows, kept in bands(height, BAND_ROWS, halo):
        warped = warp_image(pixels, field_at_hr(field, rows, slice(0, width)))
        found.append(shrink4(warped)[kept])
    return np.concatenate(found)


def compose_fields(outer: Field, inner: Field) -> Field:
    """``outer(inner(x))``: ``inner`` (2h, 2w, 2) points into the grid of ``outer`` (2h, 2w, 2).

    Outside its grid ``outer`` is extrapolated by its mean slope.
    """
    height, width = outer.shape[:2]
    if min(height, width) < 4:
        return sample(outer, inner)
    slope_x = (outer[:, -1] - outer[:, 0]).mean(axis=0) / (width - 1)
    slope_y = (outer[-1] - outer[0]).mean(axis=0) / (height - 1)

    slope = np.stack([slope_x, slope_y], axis=1)
    plane = cv2.transform(grid(slice(0, height), slice(0, width)), slope)
    bent = cast(Field, cv2.subtract(outer, plane))
    return sample(bent, inner) + cast(Field, cv2.transform(inner, slope))


def area_ratio(field: Field) -> Image:
    """Signed area of each field pixel in the target image, in its pixels: (2h, 2w).

    The Jacobian determinant; it is negative where the field folds or mirrors.
    """
    dx = np.gradient(field, axis=1) if field.shape[1] > 1 else np.zeros_like(field)
    dy = np.gradient(field, axis=0) if field.shape[0] > 1 else np.zeros_like(field)
    return (dx[..., 0] * dy[..., 1] - dx[..., 1] * dy[..., 0]).astype(np.float32)
