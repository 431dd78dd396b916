"""Registration through the photo's camera, where flow cannot follow what it sampled.

Structure that was aliased moves otherwise than the scene does, and optical flow on it errs by some
tenths of an LR pixel. So the reference is moved in its own resolution instead, and each movement is
seen through the camera: least squares in small windows, after Lucas and Kanade (1981).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels
from refsr.image.tiling import bands
from refsr.registration.flow import luma
from refsr.registration.fusion import Composite
from refsr.registration.misfit import LOCAL, blurred, high_pass, local_gain
from refsr.registration.reference import Reference, to_level
from refsr.registration.register import Registration
from refsr.registration.warp import (
    FIELD_SCALE,
    Field,
    compose_fields,
    field_at_hr,
    grid,
    warp_image,
)
from refsr.resize import SCALE

ROUNDS = 3  # a round for each window
CONTRAST = 2.0  # LR px: sigma of what a misfit is compared with
TOLERATED = 0.3, 2.0  # misfit that halves a weight: share of the local contrast, and levels
NOISE, MOVES = 2.0, 0.15  # levels of noise, and LR px that are usual: what pulls movements to zero
LONGEST = 0.5  # LR px that a round may move
BAND_ROWS, HALO = 64, 32  # LR rows that are seen at a time; rows beside them that matter


class Camera(Protocol):
    """How a photo shows a scene, and what of that was not in the scene."""

    def show(self, ref: Image) -> Image:
        """What it shows of an aligned reference (4h, 4w): (h, w); levels, high-passed."""
        ...

    def remove(self, lr: Image, ref: Image, validity: Image) -> Image:
        """A photo (h, w, 3) without its aliasing where a reference shows what that is.

        ``ref`` (4h, 4w, 3), aligned, and the photo in levels; ``validity`` (4h, 4w) 0..1.
        """
        ...


def realign(
    lr: NDArray[np.uint8],
    registration: Registration,
    reference: Reference,
    camera: Camera,
    windows: tuple[float, ...],
) -> Registration:
    """A registration to ``lr`` (h, w, 3) with its field moved to where the camera explains it best.

    ``windows``: sigmas in LR px of the windows that move as one, a few rounds of each in turn.
    """
    if not registration.validity.any():
        return registration
    height, width = lr.shape[:2]
    pixel_grid = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width))
    validity = cv2.resize(registration.validity, (width, height), interpolation=cv2.INTER_AREA)
    photo = luma(lr)
    pixels, level = reference.prefiltered(registration.zoom)
    gray = cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    for window in windows:
        for _ in range(ROUNDS):
            seen = see(to_level(registration.xy_ref, level), gray, camera)
            moves = find_moves(photo, seen, np.asarray(validity, np.float32), window)
            at_field = cv2.resize(moves, pixel_grid.shape[1::-1], interpolation=cv2.INTER_LINEAR)
            inner = pixel_grid + np.float32(FIELD_SCALE) * at_field
            registration = replace(registration, xy_ref=compose_fields(registration.xy_ref, inner))
    return registration


def see(field: Field, gray: Pixels, camera: Camera) -> Image:
    """What the camera shows of a reference, and how that changes as it moves right and down.

    ``field`` (2h, 2w, 2) points into ``gray`` (H, W). (3, h, w): levels, and levels per LR pixel,
    high-passed; band by band.
    """
    height, width = field.shape[0] // FIELD_SCALE, field.shape[1] // FIELD_SCALE
    found: list[Image] = []
    for rows, kept in bands(height, BAND_ROWS, HALO):
        hr = warp_image(gray, field_at_hr(field, rows, slice(0, width)))
        slopes = (cv2.Sobel(hr, cv2.CV_32F, x, 1 - x, ksize=1, scale=SCALE / 2) for x in (1, 0))
        shown = [camera.show(np.asarray(plane, np.float32)) for plane in (hr, *slopes)]
        found.append(np.stack(shown)[:, kept])
    return np.concatenate(found, axis=1)


def find_moves(photo: Image, seen: Image, validity: Image, window: float) -> Image:
    """How far the reference must move, in LR px, to be what the photo shows: (h, w, 2).

    ``photo`` (h, w) luma in levels, ``seen`` (3, h, w) of ``see``, ``validity`` (h, w) 0..1.
    """
    detail = high_pass(photo)
    shown, x, y = local_gain(detail, seen[0], LOCAL) * seen
    left = np.asarray(detail - shown, np.float32)
    tolerated = TOLERATED[0] * np.sqrt(blurred(detail**2, CONTRAST)) + TOLERATED[1]
    weight = validity / (1 + cv2.blur(left**2, (5, 5)) / tolerated**2)

    def windowed(product: Image) -> Image:
        return blurred(np.asarray(weight * product, np.float32), window)

    still = NOISE**2 / MOVES**2 / (4 * np.pi * window**2)
    xx, yy, xy = windowed(x * x) + still, windowed(y * y) + still, windowed(x * y)
    xt, yt = windowed(x * left), windowed(y * left)
    moves = np.stack([yy * xt - xy * yt, xx * yt - xy * xt], axis=2) / (xx * yy - xy**2)[..., None]
    length = np.hypot(moves[..., 0], moves[..., 1])[..., None]
    return np.asarray(moves / np.maximum(1, length / LONGEST), np.float32)


def without_aliasing(composite: Composite, camera: Camera) -> NDArray[np.uint8]:
    """The composite's photo (h, w, 3) less the aliasing that the references show in it."""
    height, width = composite.lr.shape[:2]
    found: list[NDArray[np.uint8]] = []
    for rows, kept in bands(height, BAND_ROWS, HALO):
        ref, validity = composite.aligned(rows, slice(0, width))
        plain = camera.remove(
            composite.lr[rows].astype(np.float32), ref * np.float32(255), validity
        )
        found.append(np.clip(np.rint(plain[kept]), 0, 255).astype(np.uint8))
    return np.concatenate(found)
