"""Simulated references: the photo itself with registration errors and another camera's look."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels

MARGIN = 24  # HR pixels around a patch that its simulated reference may sample


def smooth_field(rng: np.random.Generator, size: int, cells: int) -> NDArray[np.float32]:
    """A smooth random field (size, size) of about unit deviation, ``cells`` knots a side."""
    knots = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    field = cv2.resize(knots, (size, size), interpolation=cv2.INTER_CUBIC)
    return np.asarray(field, np.float32)


def misalign(rng: np.random.Generator, image: Pixels, size: int) -> Pixels:
    """Resample the center of ``image`` with a smooth residual misregistration.

    Mostly a few tenths of an LR pixel, occasionally several LR pixels.
    """
    margin = (image.shape[0] - size) // 2
    grid = np.arange(size, dtype=np.float32) + margin
    x, y = np.meshgrid(grid, grid)
    residual = 4.0 * min(float(rng.exponential(0.12)), 4.0)  # HR pixels
    if rng.random() < 0.15:
        residual = float(rng.uniform(2.0, 12.0))
    shift = rng.normal(0.0, residual / 2, 2)
    cells = int(rng.integers(1, 5))
    x = x + np.float32(shift[0]) + residual / 2 * smooth_field(rng, size, cells)
    y = y + np.float32(shift[1]) + residual / 2 * smooth_field(rng, size, cells)
    warped = cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(warped, np.uint8)


def simulate_camera(rng: np.random.Generator, image: Pixels) -> Pixels:
    """Another camera: resolution, exposure, white balance, shading, noise, JPEG."""
    size = image.shape[0]
    if rng.random() < 0.4:  # farther away, or out of focus
        zoom = float(rng.uniform(1.0, 3.0))
        small = max(8, round(size / zoom))
        shrunk = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
        image = np.asarray(
            cv2.resize(shrunk, (size, size), interpolation=cv2.INTER_CUBIC), np.uint8
        )
    pixels = image.astype(np.float32) / 255.0
    if rng.random() < 0.7:
        gamma = float(np.exp(rng.normal(0.0, 0.08)))
        gain = np.exp(rng.normal(0.0, 0.06, 3)).astype(np.float32)
        bias = rng.normal(0.0, 0.02, 3).astype(np.float32)
        pixels = np.maximum(pixels, 0) ** gamma * gain + bias
    if rng.random() < 0.3:  # shading that no global color match can undo
        field = smooth_field(rng, size, 2)[..., None]
        pixels = pixels * (1.0 + 0.08 * field)
    if rng.random() < 0.4:
        pixels = pixels + rng.normal(0.0, rng.uniform(0.0, 0.015), pixels.shape).astype(np.float32)
    out = np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        quality = int(rng.integers(60, 98))
        success, data = cv2.imencode(".jpg", out, [cv2.IMWRITE_JPEG_QUALITY, quality])
        assert success
        out = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)
    return out


def random_mask(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """A random mask (size, size): a half plane or a smooth blob."""
    if rng.random() < 0.5:
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(-0.4, 0.4) * size
        grid = np.arange(size) - size / 2
        return np.cos(angle) * grid[None, :] + np.sin(angle) * grid[:, None] > offset
    return smooth_field(rng, size, 3) > rng.uniform(0.3, 1.2)


def simulate_reference(
    rng: np.random.Generator,
    image: Pixels,  # (size + 2 * MARGIN)^2 RGB around the HR patch
    other: Pixels,  # at least as large as the patch: the pixels of an occluder
    size: int,
) -> tuple[Pixels, Pixels]:
    """A reference (size, size, 3) uint8 for the patch and its validity (size, size) 0 or 255."""
    ref = simulate_camera(rng, misalign(rng, image, size))
    if rng.random() < 0.25:  # an occluder that the validity does not exclude
        mask = random_mask(rng, size)
        ref = np.where(mask[..., None], other[:size, :size], ref)
    validity = np.full((size, size), 255, np.uint8)
    if rng.random() < 0.25:
        validity[random_mask(rng, size)] = 0
    return ref, validity
