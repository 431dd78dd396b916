"""A photo at its own size: what it really holds of its pixels, and its own detail in the result.

A large photo that is blurred, noisy or compressed holds no more than a smaller one would. It is
shrunk, and the pipeline enlarges it again. Where the photo has fine detail all the same (a sharp
background behind a blurred subject, what lies across a motion), its own remains.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.degradation.blind import gray_of
from refsr.degradation.blind_estimate import BlindEstimate
from refsr.image.levels import Levels
from refsr.image.photo import Photo
from refsr.resize import SCALE, imresize

FACTORS = (4, 3, 2)  # that are tried: how much smaller could the photo be?
BLUR = 0.5  # sigma of the Gaussian that keeps what shrinking by one keeps; pixels, times the factor
MAX_LOST = 0.25  # energy of the detail that shrinking loses, over that which twice as much loses:
# Gaussian blur of 4 and 2 pixels at factor 4 has 0.10 and 0.17, sharp photos at factor 2 from 0.34
SHARP_FROM = 0.38  # of it at factor 4: 14 pixels of motion and a blur of 1 have 0.32 at most, sharp
# photos 0.48 to 0.57, with noise from 0.42
OWN_SIGMA, OWN_SIGMA_SHARP = 2.4, 4.0  # pixels: the detail that is weighed against the result's
PER_CHANNEL = 1.5  # deviation of noise in a channel over that in luma
NOISE = 3.0  # levels: leaves and masonry with noise of 4 show 2.6, and would lose 0.2 to 0.3 dB
JPEG_QUALITY = 25  # below it a sharp photo gains; of 30 nothing, and of 50 and 75 it loses
SMALLEST = 96  # pixels a side; smaller photos are taken to hold all that they have
CELL = 16  # pixels a side of the cells in which the lost detail is measured
FLATTEST, NOISE_MARGIN = 0.1, 1.5  # share of the cells that show noise alone, and how much more
MAX_NOISE = 200.0  # squared levels: more is texture all over the photo, not noise
ROUNDING = 0.1  # squared levels: less than this is no detail
GATE_SIGMA = 3.0  # pixels: the window in which detail is weighed against noise
BAND_ROWS, HALO = 256, 32  # rows that are filtered at a time: multiples of four


@dataclass(frozen=True)
class OwnSize:
    """What a photo holds of its pixels."""

    held: int  # it holds no more detail than if it were smaller by this, 1 to 4
    sharp: bool
    noise: float  # energy of noise in its fine detail, squared levels

    @property
    def sigma(self) -> float:
        """The Gaussian, in pixels, beyond which detail is fine."""
        return OWN_SIGMA_SHARP if self.sharp else OWN_SIGMA


@dataclass(frozen=True)
class OwnDetail:
    """A result with the photo's own fine detail."""

    pixels: Levels  # (H, W, 3), as large as the photo
    share: Image  # (h, w) 0..1, of the shrunk photo's size: how much of the fine detail is its own
    amount: Image  # (h, w) 0..1: mean absolute own detail


def measure_own_size(photo: Photo) -> OwnSize:
    """Measure how much smaller a photo could be and hold as much."""
    gray = gray_of(photo)
    lost = {factor: lost_share(gray, factor) for factor in FACTORS}
    held = next((factor for factor in FACTORS if lost[factor] < MAX_LOST), 1)
    sharp = lost[SCALE] > SHARP_FROM
    noise = floor_of(cell_energies(photo.pixels, OWN_SIGMA_SHARP if sharp else OWN_SIGMA))
    return OwnSize(held, sharp, noise)


def without_texture(own: OwnSize, seen: BlindEstimate) -> OwnSize:
    """With no more noise than was seen: in a sharp photo, texture all over looks the same."""
    most = max(ROUNDING, NOISE_MARGIN * (PER_CHANNEL * seen.noise) ** 2)
    return replace(own, noise=min(own.noise, most)) if own.sharp else own


def is_complete(own: OwnSize, seen: BlindEstimate) -> bool:
    """Whether there is nothing to improve without a reference.

    ``seen``: how the photo was taken. Some compression does not count: of a sharp photo, the
    network takes more than JPEG has.
    """
    compressed = seen.jpeg is not None and seen.jpeg < JPEG_QUALITY
    return own.sharp and not compressed and seen.noise < NOISE


def lost_share(gray: NDArray[np.uint8], factor: int) -> float:
    """Energy of what shrinking ``gray`` (h, w) loses, over what twice the factor loses; no noise.

    1 where there is nothing to measure.
    """
    if min(gray.shape) < SMALLEST:
        return 1.0
    cells = [cell_energies(gray, BLUR * times * factor) for times in (1, 2)]
    lost, twice = (float(np.maximum(one - floor_of(one), 0).mean()) for one in cells)
    return lost / twice if twice > ROUNDING else 1.0


def cell_energies(pixels: Levels, sigma: float) -> NDArray[np.float64]:
    """Energy a channel of an image's (h, w[, C]) fine detail, in squared levels, in each cell."""
    tops = range(0, len(pixels), BAND_ROWS)
    return np.concatenate([band_energies(pixels, top, sigma) for top in tops])


def band_energies(pixels: Levels, top: int, sigma: float) -> NDArray[np.float64]:
    """``cell_energies`` of the band of rows from ``top``."""
    band, inside = levels_of_band(pixels, top)
    detail = fine_detail(band, sigma)[inside]
    np.square(detail, out=detail)
    energy = detail.reshape(*detail.shape[:2], -1).mean(axis=2)
    height, width = (side // CELL for side in energy.shape)
    parts = energy[: height * CELL, : width * CELL].reshape(height, CELL, width, CELL)
    return parts.mean(axis=(1, 3), dtype=np.float64).ravel()


def floor_of(cells: NDArray[np.float64]) -> float:
    """The energy that noise alone has, from the energies of cells."""
    if not cells.size:
        return ROUNDING
    noise = NOISE_MARGIN * float(np.quantile(cells, FLATTEST))
    return min(max(noise, ROUNDING), MAX_NOISE)


def shrink(photo: Photo) -> Photo:
    """The photo without its alpha, shrunk by four; its sides are rounded up.

    Its file's JPEG quality is forgotten: of noise and blocks a mean of 16 pixels shows little.
    """
    height, width = (-(-side // SCALE) for side in photo.pixels.shape[:2])
    out = np.empty((height, width, 3), photo.pixels.dtype)
    for top in range(0, photo.height, BAND_ROWS):
        first, last = max(0, top - HALO), min(photo.height, top + BAND_ROWS + HALO)
        beyond = [(0, -(last - first) % SCALE), (0, -photo.width % SCALE), (0, 0)]
        band = np.pad(photo.pixels[first:last], beyond, mode="edge")
        start, stop = top // SCALE, min(height, (top + BAND_ROWS) // SCALE)
        small = imresize(band, scale=1 / SCALE)
        out[start:stop] = small[start - first // SCALE :][: stop - start]
    return replace(photo, pixels=out, alpha=None, jpeg_quality=None)


def keep_own_detail(result: Levels, photo: Photo, own: OwnSize) -> OwnDetail:
    """The result at the photo's size, with the photo's own fine detail where it has more.

    ``result`` (4h, 4w, 3) was made from the shrunk photo (h, w). The photo's detail
    takes the place of the result's as far as its energy stands above the noise and reaches that of
    the result's: in a blurred place it does not.
    """
    height, width = (side // SCALE for side in result.shape[:2])
    out = np.empty_like(photo.pixels)
    share, amount = np.empty((2, height, width), np.float32)
    top_level, noise = np.iinfo(out.dtype).max, np.float32(own.noise)
    for top in range(0, photo.height, BAND_ROWS):
        before, inside = levels_of_band(photo.pixels, top)
        after = levels_of_band(result[: photo.height, : photo.width], top)[0]
        mine, made = fine_detail(before, own.sigma), fine_detail(after, own.sigma)
        signal = np.maximum(local_energy(mine) - noise, 0)
        reached = signal / np.maximum(local_energy(made), np.float32(ROUNDING))
        gate = signal / (signal + noise) * np.minimum(reached, 1)
        kept = (after + gate[..., None] * (mine - made))[inside]
        bottom = min(photo.height, top + BAND_ROWS)
        out[top:bottom] = np.clip(np.rint(kept * (top_level / 255)), 0, top_level)
        rows = slice(top // SCALE, min(height, (top + BAND_ROWS) // SCALE))
        own_detail = gate * np.abs(mine).mean(axis=2) / np.float32(255)
        share[rows] = shrunk_means(np.asarray(gate[inside], np.float32))
        amount[rows] = shrunk_means(np.asarray(own_detail[inside], np.float32))
    return OwnDetail(out, share, amount)


def shrunk_means(plane: Image) -> Image:
    """Means of 4 x 4 pixels of a plane (h, w), its sides rounded up."""
    height, width = plane.shape
    whole = np.pad(plane, [(0, -height % SCALE), (0, -width % SCALE)], mode="edge")
    size = whole.shape[1] // SCALE, whole.shape[0] // SCALE
    return np.asarray(cv2.resize(whole, size, interpolation=cv2.INTER_AREA), np.float32)


def levels_of_band(pixels: Levels, top: int) -> tuple[Image, slice]:
    """A band of rows from ``top`` with its halo, in levels 0..255, and the rows inside it."""
    first, bottom = max(0, top - HALO), min(len(pixels), top + BAND_ROWS)
    band = pixels[first : bottom + HALO].astype(np.float32)
    band *= np.float32(255 / np.iinfo(pixels.dtype).max)
    return band, slice(top - first, bottom - first)


def fine_detail(image: Image, sigma: float) -> Image:
    """An image (h, w[, C]) less its Gaussian blur."""
    blurred = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    return np.subtract(image, blurred, out=blurred)


def local_energy(detail: Image) -> Image:
    """Energy of detail (h, w, C) around each pixel: (h, w), mean of the channels."""
    energy = (detail * detail).mean(axis=2)
    return np.asarray(cv2.GaussianBlur(energy, (0, 0), GATE_SIGMA), np.float32)
