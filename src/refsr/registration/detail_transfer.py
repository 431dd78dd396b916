"""The training-free baseline: bicubic plus the aligned reference's fine detail, where it fits."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.register import Reference, Registration, align_reference
from refsr.registration.warp import BAND_ROWS, FIELD_SCALE, read_field, shrink4
from refsr.resize import SCALE, imresize

LOW, HIGH = 0.85, 1.0  # agreement at which detail begins to be added, and is added in full


def detail_transfer(
    lr: NDArray[np.uint8], registration: Registration, reference: Reference, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Upscale ``lr`` (h, w, 3) RGB uint8 by four with the reference's high frequencies: uint8.

    ``strength`` 0..1 scales what is added.

    What is added is what shrinking by four would take away again, so the result shrunk is still
    the LR photo; and it is added only as far as the shrunk reference explains the LR photo.
    """
    height, width = lr.shape[:2]
    out = imresize(lr, float(SCALE))
    if not registration.matched:
        return out
    halo = 6  # LR rows that shrinking and enlarging reach beyond a band
    for start in range(0, height, BAND_ROWS):
        stop = min(start + BAND_ROWS, height)
        top, bottom = max(start - halo, 0), min(stop + halo, height)
        detail = detail_of(lr, registration, reference, slice(top, bottom), slice(0, width))
        inner = slice((start - top) * SCALE, (stop - top) * SCALE)
        band = out[start * SCALE : stop * SCALE]
        added = np.float32(255.0 * strength) * detail[inner]
        band[:] = np.clip(band + added + 0.5, 0, 255).astype(np.uint8)
    return out


def detail_of(
    lr: NDArray[np.uint8],
    registration: Registration,
    reference: Reference,
    rows: slice,
    cols: slice,
) -> Image:
    """What a tile, in LR px, of the photo ``lr`` (h, w, 3) is given: (4H, 4W, 3), in 0..1 levels.

    Within six LR pixels of the tile's border it is not exact.
    """
    aligned, validity = align_reference(registration, reference, lr, rows, cols)
    gate = read_field(detail_gate(registration), rows, cols)
    detail = fine_detail(aligned)
    detail *= (validity * gate)[..., None]
    return detail


def fine_detail(hr: Image) -> Image:
    """What shrinking by four takes away from an HR image (4h, 4w, 3) float32."""
    return hr - imresize(shrink4(hr), float(SCALE))


def detail_gate(registration: Registration) -> Image:
    """How much detail to add: (2h, 2w) 0..1, from the consistency, smoothed over its window."""
    gate = np.clip((registration.consistency - LOW) / (HIGH - LOW), 0.0, 1.0)
    return np.clip(cast(Image, cv2.GaussianBlur(gate, (0, 0), float(FIELD_SCALE))), 0.0, 1.0)
