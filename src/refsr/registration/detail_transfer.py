"""The training-free baseline: bicubic plus the aligned reference's high frequencies."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.register import Reference, Registration, align_reference
from refsr.registration.warp import BAND_ROWS, FIELD_SCALE, field_at_hr, shrink4
from refsr.resize import SCALE, imresize

LOW, HIGH = 0.85, 1.0  # consistency from which detail is added, and at which it is added in full


def detail_transfer(
    lr: NDArray[np.uint8], registration: Registration, reference: Reference, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Upscale ``lr`` (h, w, 3) RGB uint8 by four with the reference's high frequencies: uint8.

    ``strength`` 0..1 scales the added detail. Only detail that shrinking by four removes is added,
    so that the result still shrinks to the LR photo, and only where the reference is consistent.
    """
    height, width = lr.shape[:2]
    out = imresize(lr, float(SCALE))
    if not registration.matched:
        return out
    halo = 6  # LR rows that shrinking and enlarging reach beyond a band
    for start in range(0, height, BAND_ROWS):
        stop = min(start + BAND_ROWS, height)
        top, bottom = max(start - halo, 0), min(stop + halo, height)
        rows, cols = slice(top, bottom), slice(0, width)
        detail = transferred_detail(lr, registration, reference, rows, cols)
        inner = slice((start - top) * SCALE, (stop - top) * SCALE)
        band = out[start * SCALE : stop * SCALE]
        added = np.float32(255.0 * strength) * detail[inner]
        band[:] = np.clip(band + added + 0.5, 0, 255).astype(np.uint8)
    return out


def transferred_detail(
    lr: NDArray[np.uint8],
    registration: Registration,
    reference: Reference,
    rows: slice,
    cols: slice,
) -> Image:
    """The detail (4H, 4W, 3) that is added to a tile, in LR px, of ``lr`` (h, w, 3); 1 is white.

    It is not exact within six LR pixels of the tile's border.
    """
    aligned, validity = align_reference(registration, reference, lr, rows, cols)
    gate = field_at_hr(detail_gate(registration), rows, cols)
    detail = fine_detail(aligned)
    detail *= (validity * gate)[..., None]
    return detail


def fine_detail(hr: Image) -> Image:
    """The high frequencies of an HR image (4h, 4w, 3) float32 that shrinking by four removes."""
    return hr - imresize(shrink4(hr), float(SCALE))


def detail_gate(registration: Registration) -> Image:
    """The weight of the added detail, (2h, 2w) 0..1: a ramp of the consistency, smoothed."""
    gate = np.clip((registration.consistency - LOW) / (HIGH - LOW), 0.0, 1.0)
    return np.clip(cast(Image, cv2.GaussianBlur(gate, (0, 0), float(FIELD_SCALE))), 0.0, 1.0)
