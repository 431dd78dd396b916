"""Black and white in a color file: whether a photo's colors are one tone, and which.

In a gray or toned photo (sepia, cyanotype, gray under a tint) luma decides the color: colors lie on
one curve over luma. The curve is fitted here; the photo can then be worked on in gray, and be given
its tone again exactly. Colors are compared as means of small cells, in which JPEG's halved chroma
and noise have little say.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.levels import Levels, luma, to_8_bits
from refsr.image.photo import Photo

CELL = 8  # pixels a side of the cells whose mean colors are compared
MIN_PIXELS = 64 * CELL**2  # a smaller photo has too few cells: it is gray if all pixels are
NODES = 17  # of the curve, at equal steps of luma
BAND_ROWS = 16 * CELL  # looked at together; a multiple of JPEG's blocks
SAMPLE_BANDS = 8  # looked at first: most photos are in color, which is seen there
SMOOTHNESS = 1e-3  # of the curve: the weight of its bends, against the mean cell
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

# Levels off the curve: root mean square, the worst cell of a hundred, the worst cell. Measured on
# 940 photos (docs/decisions/2026-11-27.md, "Black and white").
GRAY = (0.3, 0.5, 0.75)  # off gray: rounding and other conversions
TONED = (0.4, 1.0, 2.0)  # off a tone: a snowy forest, the nearest in color, has 0.7, 1.8 and 3.0
JPEG_QUALITY = 80  # from which toned files are recognised; below it, faint color is lost too
JPEG_EXCESS = (1.1, 1.18, 1.4)  # times what JPEG leaves of a photo of exactly this tone
SURELY_COLOR = 6.0  # levels, root mean square: more than JPEG leaves of any tone
MAX_FALL = 2.0  # levels by which the fitted curve may fall where luma rises

Curve = NDArray[np.float64]  # (NODES, 2): R and B less luma, in levels of 8 bits
NO_COLOR = np.zeros((NODES, 2))


@dataclass(frozen=True, eq=False)
class Tone:
    """The color of every level of luma."""

    table: Levels  # (256, 3) or (65536, 3), of the photo's type; no channel ever falls
    gray: bool  # every color is gray

    @property
    def note(self) -> str:
        """What was seen, for the report."""
        if self.gray:
            return "black and white: worked on in gray, so no reference can tint it"
        return "a single tone: worked on in gray, so no reference can tint it, and toned again"

    def in_gray(self, photo: Photo) -> Photo:
        """The photo's luma in three equal channels, as a gray photo."""
        gray = luma(photo.pixels)
        return dataclasses.replace(photo, pixels=np.repeat(gray[..., None], 3, axis=2), gray=True)

    def give_to(self, photo: Photo, pixels: Levels) -> Photo:
        """Tone gray pixels (H, W, 3) of the photo's type, in place; the photo as one in color."""
        if not self.gray:
            for row in pixels:  # a row at a time: the result may be large
                row[:] = self.table[row[:, 0]]
        return dataclasses.replace(photo, gray=False)


def find_tone(photo: Photo) -> Tone | None:
    """The tone of a photo that a file stores in color; None where it has more colors than one.

    None, too, of a photo that is stored gray.
    """
    if photo.gray:
        return None
    if photo.height * photo.width < MIN_PIXELS:
        channels = photo.pixels[..., :1] == photo.pixels
        return Tone(table_of(NO_COLOR, photo.bits), gray=True) if channels.all() else None
    bands = [photo.pixels[top : top + BAND_ROWS] for top in range(0, photo.height, BAND_ROWS)]
    sample = bands[:: max(1, len(bands) // SAMPLE_BANDS)]
    curve = fit_curve(sample)
    if distances(sample, curve)[0] > SURELY_COLOR:
        return None
    if within(distances(bands, NO_COLOR), GRAY):
        return Tone(table_of(NO_COLOR, photo.bits), gray=True)
    curve = fit_curve(bands) if len(sample) < len(bands) else curve
    off = distances(bands, curve)
    if not within(off, TONED):
        quality = photo.jpeg_quality
        if quality is None or quality < JPEG_QUALITY:
            return None
        left = distances((compressed(band, curve, quality) for band in bands), curve)
        limits = np.maximum(np.multiply(left, JPEG_EXCESS), TONED)
        if not within(off, limits):
            return None
    return None if falls(curve) else Tone(table_of(curve, photo.bits), gray=False)


def without_tone(photo: Photo) -> tuple[Photo, Tone | None]:
    """The photo to work on, in gray where it has but one tone; and that tone."""
    tone = find_tone(photo)
    return (tone.in_gray(photo) if tone else photo), tone


def within(off: tuple[float, ...], limits: Iterable[float]) -> bool:
    """Whether no distance exceeds its limit."""
    return all(a <= b for a, b in zip(off, limits, strict=True))


def fit_curve(bands: Iterable[Levels]) -> Curve:
    """The smooth curve that explains the mean colors of cells best (least squares)."""
    bends = np.diff(np.eye(NODES), 2, axis=0)
    left, right, count = np.zeros((NODES, NODES)), np.zeros((NODES, 2)), 0
    for band in bands:
        shares, colors = cells(band)
        left += shares.T @ shares
        right += shares.T @ colors
        count += len(shares)
    left += count * (SMOOTHNESS * bends.T @ bends + 1e-9 * np.eye(NODES))
    return np.asarray(np.linalg.solve(left, right), np.float64)


def distances(bands: Iterable[Levels], curve: Curve) -> tuple[float, float, float]:
    """How far cells lie off a curve, in 8-bit levels: rms, the worst of a hundred, the worst."""
    parts = [cells(band) for band in bands]
    off = np.concatenate([np.hypot(*(colors - shares @ curve).T) for shares, colors in parts])
    return float(np.sqrt((off**2).mean())), float(np.quantile(off, 0.99)), float(off.max())


def cells(band: Levels) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of every cell of a band (H, W, 3): the mean shares of the curve's nodes, and mean color.

    The shares are (cells, NODES), with sum 1; the colors (cells, 2), R and B less luma. Cells at
    the right and lower border may be smaller.
    """
    height, width = band.shape[:2]
    pixels = band.astype(np.float32) / np.float32(257 if band.itemsize == 2 else 1)
    level = pixels @ LUMA
    across = -(-width // CELL)
    index = (np.arange(height) // CELL)[:, None] * across + np.arange(width) // CELL
    count = across * -(-height // CELL)
    place = np.clip(level * ((NODES - 1) / 255), 0, NODES - 1.001)
    node = place.astype(np.intp)
    above = place - node
    slots = (index * NODES + node).ravel()
    shares = np.bincount(slots, (1 - above).ravel(), count * NODES)
    shares += np.bincount(slots + 1, above.ravel(), count * NODES)
    sizes = np.bincount(index.ravel(), minlength=count)[:, None]
    colors = [
        np.bincount(index.ravel(), (pixels[..., channel] - level).ravel(), count)
        for channel in (0, 2)
    ]
    return shares.reshape(count, NODES) / sizes, np.stack(colors, axis=1) / sizes


def toned(level: Image, curve: Curve) -> Image:
    """Luma (...), 0..255, as colors (..., 3) of the curve, not clipped; their luma is the same."""
    nodes = np.linspace(0, 255, NODES)
    red, blue = (level + np.interp(level, nodes, curve[:, channel]) for channel in (0, 1))
    green = (level - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return np.stack([red, green, blue], axis=-1).astype(np.float32)


def table_of(curve: Curve, bits: int) -> Levels:
    """The color (2^bits, 3) of every level; no channel falls."""
    top = 2**bits - 1
    colors = toned(np.linspace(0, 255, top + 1, dtype=np.float32), curve)
    rising = np.maximum.accumulate(np.clip(colors, 0, 255), axis=0)
    return np.rint(rising * (top / 255)).astype(np.uint8 if bits == 8 else np.uint16)


def falls(curve: Curve) -> bool:
    """Whether a channel falls where luma rises: false colors, not a tone."""
    colors = np.clip(toned(np.arange(256, dtype=np.float32), curve), 0, 255)
    return float((np.maximum.accumulate(colors, axis=0) - colors).max()) > MAX_FALL


def compressed(band: Levels, curve: Curve, quality: int) -> NDArray[np.uint8]:
    """What JPEG (4:2:0) would leave of a band if it were exactly of a curve's tone."""
    level = to_8_bits(band).astype(np.float32) @ LUMA
    exact = np.clip(np.rint(toned(level, curve)), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    PIL.Image.fromarray(exact).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.array(PIL.Image.open(file))
