"""Degradation of a small photo: JPEG blocks, noise and blur, from its pixels and its file."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.levels import luma, to_8_bits
from refsr.image.photo import Photo

Gray = NDArray[np.uint8]  # (h, w)

BLOCK = 8  # pixels a side of JPEG's blocks, and of the cells in which noise is measured
FLATTEST = 0.1  # share of the cells in which noise is measured
DARKEST, BRIGHTEST = 12, 243  # levels; beyond them noise is clipped away
MAX_STEP = 12.0  # levels; a greater step is an edge of the scene
JPEG_ALONE = 91  # file quality up to which the model for damaged photos is better, by itself
JPEG_WITH_REFERENCE = 96  # ... and where a reference is used: it is not misled by the blocks
BAND_ROWS = 256  # rows measured at a time: a multiple of the cells
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
    gray = gray_of(photo)
    if min(gray.shape) < MIN_SIDE:
        return Degradation(photo.jpeg_quality, 0.0, 0.0, 0.0)
    return Degradation(photo.jpeg_quality, blocks(gray), noise(gray), sharpness(gray))


def gray_of(photo: Photo) -> Gray:
    """The photo's luma (h, w) in 8 bits, made a band at a time."""
    gray = np.empty((photo.height, photo.width), np.uint8)
    for top in range(0, photo.height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        gray[rows] = luma(to_8_bits(photo.pixels[rows]))
    return gray


def blocks(gray: Gray | Image) -> float:
    """How far the steps between JPEG's blocks stand out from the steps inside them."""
    across, down = np.zeros(max(0, gray.shape[1] - 3)), [np.zeros(0)]
    for top in range(0, len(gray), BAND_ROWS):
        band = gray[top : top + BAND_ROWS + 3].astype(np.float32)  # a step down needs four rows
        across += lone_steps(band[:BAND_ROWS]).sum(axis=0, dtype=np.float64)
        down.append(lone_steps(band.T).mean(axis=0, dtype=np.float64))
    return on_the_grid(across / len(gray)) + on_the_grid(np.concatenate(down))


def lone_steps(image: Image) -> Image:
    """Steps from column to column (h, w - 3), in levels, beyond the mean of their neighbors."""
    step = np.abs(np.diff(image, axis=1))
    beyond = step[:, 1:-1] - (step[:, :-2] + step[:, 2:]) / 2  # an edge of the photo is wider
    return np.asarray(np.clip(beyond, 0, MAX_STEP), np.float32)


def on_the_grid(steps: NDArray[np.float64]) -> float:
    """Log of the mean step on JPEG's grid over that off it."""
    phase = (np.arange(steps.size) + 2) % BLOCK  # 0: between one block and the next
    means = np.array([steps[phase == p].mean() for p in range(BLOCK)])
    return float(np.log((means[0] + 0.02) / (np.median(means) + 0.02)))


def noise(gray: Gray | Image) -> float:
    """Log of the standard deviation of white noise in levels (Immerkaer 1996), in flat cells."""
    kernel = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 6
    levels, deviations = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for band, inside in bands_of(gray, 1):
        rest = np.abs(cv2.filter2D(band, -1, kernel))
        levels.append(cell_means(band[inside]))
        deviations.append(cell_means(rest[inside]) * np.float32(np.sqrt(np.pi / 2)))
    level, deviation = np.concatenate(levels), np.concatenate(deviations)
    usable = deviation[(level > DARKEST) & (level < BRIGHTEST)]
    usable = usable if usable.size >= BLOCK else deviation
    return float(np.log(np.quantile(usable, FLATTEST) + 0.05))


def cell_means(image: Image) -> Image:
    """Means of the whole cells of an image (h, w), in a row."""
    height, width = (side // BLOCK * BLOCK for side in image.shape)
    cells = image[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(cells.mean(axis=(1, 3)), np.float32).ravel()


def sharpness(gray: Gray | Image) -> float:
    """Log of the energy finer than 0.7 pixels (Gaussian) over that between 0.7 and 1.4."""
    energy = np.zeros(2)
    for band, inside in bands_of(gray, 8):
        fine, coarse = (cv2.GaussianBlur(band, (0, 0), sigma) for sigma in (0.7, 1.4))
        for octave, detail in enumerate((band - fine, fine - coarse)):
            energy[octave] += (detail[inside] ** 2).sum(dtype=np.float64)
    finest, next_finest = energy / gray.size + 0.01
    return float(np.log(finest / next_finest))


def bands_of(gray: Gray | Image, halo: int) -> Generator[tuple[Image, slice]]:
    """Bands of rows with ``halo`` rows around them, and the rows inside: a large photo is large."""
    for top in range(0, len(gray), BAND_ROWS):
        first, bottom = max(0, top - halo), min(len(gray), top + BAND_ROWS)
        yield gray[first : bottom + halo].astype(np.float32), slice(top - first, bottom - first)


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
