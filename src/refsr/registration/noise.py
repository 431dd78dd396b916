"""The noise of a reference: its spectrum, and a copy of the photo without it.

Noise is not detail and must not reach a result. Its spectrum is measured in the flattest blocks of
the photo itself: of white noise it is level, of texture it falls towards the finest waves.
Coefficients of overlapping block DCTs below a multiple of it are set to zero, which keeps far more
of a texture than non-local means (docs/decisions/2026-11-27.md, "Noise is not detail").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels

BLOCK = 8  # pixels a side of the transform
SHIFT = 4  # pixels between the sets of blocks: four of them overlap
FLATTEST = 0.05  # share of the blocks in which noise is measured
DARKEST, BRIGHTEST = 15, 240  # levels; beyond them noise is clipped away
MIN_BLOCKS = 400  # a smaller photo has too few flat ones
MAX_BLOCKS = 20_000  # looked at, evenly spread
THRESHOLD = 2.7  # times the noise; 2.0 leaves half of it in flat places
BAND_ROWS = 256  # denoised at a time

# Levels of luma in the finest waves, and their share of the coarsest. Of 75 clean references the
# noisiest have 4.1 and 0.16, 2.1 and 0.39 (textures); white noise of 5 levels 3.0 and 0.9.
MIN_NOISE, MIN_FLATNESS = 2.4, 0.6
COARSEST, FINEST = (1, 8, 9), (54, 62, 63)  # coefficients of a block

Spectrum = NDArray[np.float32]  # (3, 64): deviation of each coefficient of Y, Cb, Cr, in levels

_WAVES = np.cos(np.pi * np.outer(np.arange(BLOCK), np.arange(BLOCK) + 0.5) / BLOCK)
_WAVES[1:] *= np.sqrt(2)
DCT = np.asarray(np.kron(_WAVES, _WAVES) / BLOCK, np.float32)  # (64, 64), orthonormal
TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]], np.float32
)
TO_RGB = np.linalg.inv(TO_YCC).astype(np.float32)


def without_noise(pixels: Pixels) -> Pixels:
    """A photo (HWC RGB uint8) without its white noise; the same array where it has little."""
    noise = measure_noise(pixels)
    return pixels if noise is None or not is_noisy(noise) else denoise(pixels, noise)


def is_noisy(noise: Spectrum) -> bool:
    """Whether a spectrum is that of noise worth removing, and not of texture or of little noise."""
    luma = noise[0]
    finest, coarsest = float(luma[list(FINEST)].mean()), float(luma[list(COARSEST)].mean())
    return finest > MIN_NOISE and finest > MIN_FLATNESS * coarsest


def measure_noise(pixels: Pixels) -> Spectrum | None:
    """The spectrum of the flattest blocks of a photo (HWC RGB uint8); None of a small photo."""
    height, width = (side // BLOCK for side in pixels.shape[:2])
    if height * width < MIN_BLOCKS:
        return None
    step = max(1, round(np.sqrt(height * width / MAX_BLOCKS)))
    rows, cols = np.arange(0, height, step), np.arange(0, width, step)
    inside = np.arange(BLOCK)
    y = (BLOCK * rows[:, None] + inside).ravel()
    x = (BLOCK * cols[:, None] + inside).ravel()
    planes = to_planes(pixels[y[:, None], x])
    waves = [to_waves(plane) for plane in planes]
    level = waves[0][:, 0] / BLOCK
    usable = np.flatnonzero((level > DARKEST) & (level < BRIGHTEST))
    if len(usable) < MIN_BLOCKS // 2:
        return None
    energy = (waves[0][usable, 1:] ** 2).sum(axis=1)
    count = max(MIN_BLOCKS // 10, int(FLATTEST * len(usable)))
    flattest = usable[np.argpartition(energy, count)[:count]]
    return np.stack([np.sqrt((wave[flattest] ** 2).mean(axis=0)) for wave in waves])


def denoise(pixels: Pixels, noise: Spectrum) -> Pixels:
    """A photo (HWC RGB uint8) less what does not stand out from its noise; a band at a time."""
    out = np.empty_like(pixels)
    for top in range(0, len(pixels), BAND_ROWS):
        bottom = min(len(pixels), top + BAND_ROWS)
        first, last = max(0, top - BLOCK), min(len(pixels), bottom + BLOCK)
        planes = to_planes(pixels[first:last])
        clean = [shrink_waves(*pair) for pair in zip(planes, noise, strict=True)]
        rgb = np.stack(clean, axis=-1) @ TO_RGB.T
        out[top:bottom] = np.clip(np.rint(rgb[top - first : bottom - first]), 0, 255)
    return out


def shrink_waves(plane: Image, noise: NDArray[np.float32]) -> Image:
    """A plane (H, W) less the coefficients below THRESHOLD times ``noise`` (64), averaged."""
    height, width = plane.shape
    padding = [(BLOCK, BLOCK + -side % BLOCK) for side in (height, width)]
    padded = np.pad(plane, padding, mode="symmetric")
    limit = THRESHOLD * noise
    limit[0] = 0  # the mean stays
    total, weights = np.zeros_like(padded), np.zeros_like(padded)
    for dy in range(0, BLOCK, SHIFT):
        for dx in range(0, BLOCK, SHIFT):
            stop_y, stop_x = (
                side - (BLOCK - shift) % BLOCK
                for side, shift in zip(padded.shape, (dy, dx), strict=True)
            )
            part = slice(dy, stop_y), slice(dx, stop_x)
            waves = to_waves(padded[part])
            kept = np.abs(waves) >= limit
            weight = (1 / (1 + kept.sum(axis=1, keepdims=True))).astype(np.float32)
            waves *= kept * weight
            shape = padded[part].shape
            total[part] += from_blocks(waves @ DCT, shape)
            weights[part] += from_blocks(np.repeat(weight, BLOCK * BLOCK, axis=1), shape)
    inner = slice(BLOCK, BLOCK + height), slice(BLOCK, BLOCK + width)
    return np.asarray(total[inner] / weights[inner], np.float32)


def to_planes(pixels: Pixels) -> list[Image]:
    """Y, Cb and Cr (H, W), float32, of RGB (H, W, 3)."""
    return [np.ascontiguousarray(p) for p in np.moveaxis(pixels @ TO_YCC.T, -1, 0)]


def to_waves(plane: Image) -> Image:
    """The DCT of every block of a plane whose sides are multiples of BLOCK: (blocks, 64)."""
    height, width = plane.shape
    blocks = plane.reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK).swapaxes(1, 2)
    return blocks.reshape(-1, BLOCK * BLOCK) @ DCT.T


def from_blocks(blocks: Image, shape: tuple[int, ...]) -> Image:
    """Blocks (blocks, 64), put together to a plane of ``shape``."""
    across = shape[0] // BLOCK, shape[1] // BLOCK, BLOCK, BLOCK
    return blocks.reshape(across).swapaxes(1, 2).reshape(shape)
