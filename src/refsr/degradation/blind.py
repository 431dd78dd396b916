"""Degradation of a small photo: JPEG blocks, noise and blur, from its pixels and its file."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.image.photo import Photo

BLOCK = 8  # pixels a side of JPEG's blocks, and of the cells in which noise is measured
FLATTEST = 0.1  # share of the cells in which noise is measured
DARKEST, BRIGHTEST = 12, 243  # levels; beyond them noise is clipped away
MAX_STEP = 12.0  # levels; a greater step is an edge of the scene
JPEG_ALONE = 91  # file quality up to which the model for damaged photos is better, by itself
JPEG_WITH_REFERENCE = 96  # ... and where a reference is used: it is not misled by the blocks
MIN_SIDE = 24  # pixels; smaller photos hold too little of the JPEG grid


@dataclass(frozen=True)
class Degradation:
    """What distinguishes a clean small photo from a degraded one."""

    jpeg_quality: int | None  # of the file, 1 to 100; None where it is no JPEG
    blocks: float  # log of the steps on JPEG's grid over those off it, rows plus columns
    noise: float  # log of the noise's deviation in levels, where the photo is flattest
    sharpness: float  # log of the energy in the finest octave over the next


def estimate_degradation(photo: Photo) -> Degradation:
    """Measure a small photo."""
    gray = np.asarray(cv2.cvtColor(photo.as_uint8(), cv2.COLOR_RGB2GRAY), np.float32)
    if min(gray.shape) < MIN_SIDE:
        return Degradation(photo.jpeg_quality, 0.0, 0.0, 0.0)
    return Degradation(photo.jpeg_quality, blocks(gray), noise(gray), sharpness(gray))


def blocks(gray: Image) -> float:
    """How far the steps between JPEG's blocks stand out from the steps inside them."""
    total = 0.0
    for image in (gray, gray.T):
        step = np.abs(np.diff(image, axis=1))
        beyond = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2  # an edge of the photo is wider
        by_column = np.clip(beyond, 0, MAX_STEP).mean(axis=0)
        phase = (np.arange(by_column.size) + 2) % BLOCK  # 0: between one block and the next
        means = np.array([by_column[phase == p].mean() for p in range(BLOCK)])
        total += float(np.log((means[0] + 0.02) / (np.median(means) + 0.02)))
    return total


def noise(gray: Image) -> float:
    """Log of the standard deviation of white noise in levels (Immerkaer 1996), in flat cells."""
    kernel = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6
    rest = np.abs(cv2.filter2D(gray, -1, kernel))
    height, width = (side // BLOCK * BLOCK for side in gray.shape)

    def cells(image: Image) -> Image:
        shape = height // BLOCK, BLOCK, width // BLOCK, BLOCK
        return np.asarray(image[:height, :width].reshape(shape).mean(axis=(1, 3)), np.float32)

    level, deviation = cells(gray), cells(np.asarray(rest, np.float32)) * np.sqrt(np.pi / 2)
    usable = deviation[(level > DARKEST) & (level < BRIGHTEST)]
    usable = usable if usable.size >= BLOCK else deviation.ravel()
    return float(np.log(np.quantile(usable, FLATTEST) + 0.05))


def sharpness(gray: Image) -> float:
    """Log of the energy finer than 0.7 pixels (Gaussian) over that between 0.7 and 1.4."""
    fine, coarse = (np.asarray(cv2.GaussianBlur(gray, (0, 0), s), np.float32) for s in (0.7, 1.4))
    return float(
        np.log((((gray - fine) ** 2).mean() + 0.01) / (((fine - coarse) ** 2).mean() + 0.01))
    )


def is_degraded(
    condition: Degradation,
    jpeg_quality: float = JPEG_ALONE,
    blocks: float = 0.3,
    noise: float = 1.7,
    sharpness: float = -0.7,
) -> bool:
    """Whether a photo wants the model for damaged ones, by limits that were measured.

    ``research/fit_degradation_limits.py`` finds them; the table is in docs/DECISIONS.md.
    """
    compressed = condition.jpeg_quality is not None and condition.jpeg_quality <= jpeg_quality
    return (
        compressed
        or condition.blocks > blocks
        or condition.noise > noise
        or condition.sharpness < sharpness
    )
