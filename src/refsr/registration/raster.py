"""The raster of a reference: print dots, scanlines, moire; found in its spectrum and removed.

A raster is one lattice all over a picture: its peaks stand at the same frequencies in most windows,
flat ones included, while real texture is local. Lines are multiplied onto the picture, and narrow
notches at their peaks remove them. Dots are the picture cut into black and white: around each peak
lies a copy of the picture's spectrum, so only what is coarser than the lattice is left to use
(docs/decisions/2026-11-27.md, "Rasters of references").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels

WINDOW = 128  # pixels a side of the windows whose spectra are compared
STEP, MAX_WINDOWS, MIN_WINDOWS = 64, 64, 6  # pixels between them at least; how many are looked at
DARKEST, BRIGHTEST = 15, 240  # levels of mean luma; beyond them a print has no dots
PLAIN, PLACE = 12, 9  # levels of change in a flat place, and its pixels a side
MIN_PAPER = 0.12  # flat share of a window: pages 0.15 to 0.7, prints and screens seldom above 0.1
LONGEST, COARSEST = 14, 36  # pixels; where periods between these are stronger, it is a texture
NEIGHBORHOOD = 15  # bins a side in which the spectrum without peaks is the median
STANDS_OUT = 4.5  # times that median; of noise 1 in 1e6 bins does
SHARE = 0.85  # of the windows must have the peak
MIN_AMPLITUDE = 4.0  # levels
MAX_FINE = 48.0  # levels; stochastic prints 51 to 68, photos to 21, pages of the smallest text 46
HARMONIC = 0.05  # of the strongest peak: smaller ones belong to it, too
STRONG = 0.3  # of it: these tell lines from dots, and the lattice's pitch
OFF_LINE = 2.5 / WINDOW  # cycles per pixel; all strong peaks of lines are so near to one axis
LINE_NOTCH, DOT_NOTCH, DOT_CUTOFF = 0.1, 0.05, 0.6  # times the lowest strong peak's frequency

_AXIS = np.arange(WINDOW) - WINDOW // 2
FREQUENCY = np.stack(np.meshgrid(_AXIS, _AXIS, indexing="ij"), axis=-1) / WINDOW  # y, x; cycles/px
DISTANCE = np.hypot(FREQUENCY[..., 0], FREQUENCY[..., 1])
_FADE = np.hanning(WINDOW + 1)[:-1]
FADE = np.outer(_FADE, _FADE).astype(np.float32)  # 1 in the middle of a window

Spectrum = NDArray[np.float32]  # (WINDOW, WINDOW), frequency 0 in the middle


@dataclass(frozen=True)
class Raster:
    """Lines or dots in a lattice, and its peaks; or dots without one, and no peaks."""

    kind: Literal["lines", "dots", "stochastic"]
    peaks: NDArray[np.float64]  # (n, 2) y, x in cycles per pixel; with each its opposite
    amplitude: float  # levels of luma of the strongest peak; of stochastic dots their RMS
    lowest: float = 0.0  # cycles per pixel of the lowest strong peak: one over the lattice's pitch


def without_raster(pixels: Pixels) -> tuple[Pixels, Raster | None]:
    """A photo (HWC RGB uint8) without its raster, and what that was.

    The same array where it has none, or one that cannot be removed.
    """
    raster = find_raster(pixels)
    if raster is None or raster.kind == "stochastic":
        return pixels, raster
    clean = remove_raster(pixels, raster)
    return (pixels if find_raster(clean) else clean), raster


def find_raster(pixels: Pixels) -> Raster | None:
    """The raster of a photo (HWC RGB uint8); None where there is none, or the photo is small."""
    spectra = window_spectra(cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)))
    if len(spectra) < MIN_WINDOWS:
        return None
    amplitudes = common([what_stands_out(spectrum) for spectrum in spectra])
    short = DISTANCE >= 1 / LONGEST
    top = float(amplitudes[short].max())
    if top > MIN_AMPLITUDE and top > amplitudes[~short & (DISTANCE >= 1 / COARSEST)].max():
        return describe_lattice(np.where(short, amplitudes, 0), top)
    fine = common([fine_detail(spectrum) for spectrum in spectra])
    return Raster("stochastic", np.empty((0, 2)), float(fine)) if fine > MAX_FINE else None


def describe_lattice(amplitudes: NDArray[np.float32], top: float) -> Raster:
    """The raster that has these amplitudes, of which the highest is ``top``."""
    highest = cv2.dilate(amplitudes, np.ones((5, 5), np.uint8))
    at_peak = (amplitudes >= highest) & (amplitudes > HARMONIC * top)
    peaks, heights = FREQUENCY[at_peak], amplitudes[at_peak]
    strong = peaks[heights > STRONG * top]
    y, x = peaks[heights.argmax()]
    off_line = np.abs(strong[:, 0] * x - strong[:, 1] * y) / np.hypot(x, y)
    kind: Literal["lines", "dots"] = "lines" if off_line.max() < OFF_LINE else "dots"
    lowest = float(np.hypot(*strong.T).min()) + 1 / WINDOW  # peaks are a bin wider than they are
    return Raster(kind, peaks, top, lowest)


def common(values: list[Spectrum] | list[float]) -> NDArray[np.float32]:
    """What SHARE of the windows reach or exceed."""
    return np.quantile(np.stack(values), 1 - SHARE, axis=0).astype(np.float32)


def window_spectra(luma: Pixels) -> list[Spectrum]:
    """Amplitudes in levels in windows of a photo (H, W), less those of black, white or paper."""
    spectra: list[Spectrum] = []
    for y, x in window_corners(luma.shape):
        part = luma[y : y + WINDOW, x : x + WINDOW].astype(np.float32)
        mean = part.mean()
        if DARKEST < mean < BRIGHTEST and not shows_paper(luma[y : y + WINDOW, x : x + WINDOW]):
            waves = cv2.dft((part - mean) * FADE, flags=cv2.DFT_COMPLEX_OUTPUT)
            amplitude = np.fft.fftshift(np.hypot(waves[..., 0], waves[..., 1]))
            spectra.append(amplitude * np.float32(2 / FADE.sum()))
    return spectra


def shows_paper(part: Pixels) -> bool:
    """Whether a window (WINDOW, WINDOW) has flat places: a page or a screen, with lines of its own.

    In a raster there is a dot or a line almost everywhere.
    """
    around = np.ones((PLACE, PLACE), np.uint8)
    lightest, darkest = cv2.dilate(part, around), cv2.erode(part, around)
    return bool((lightest - darkest <= PLAIN).mean() > MIN_PAPER)


def window_corners(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    """Top left corners of at most MAX_WINDOWS windows, evenly spread over a photo."""
    height, width = shape
    if min(height, width) < WINDOW:
        return []
    rows, cols = ((side - WINDOW) // STEP + 1 for side in (height, width))
    shrink = max(1.0, np.sqrt(rows * cols / MAX_WINDOWS))
    ys = np.linspace(0, height - WINDOW, max(1, int(rows / shrink))).astype(int)
    xs = np.linspace(0, width - WINDOW, max(1, int(cols / shrink))).astype(int)
    return [(int(y), int(x)) for y in ys for x in xs]


def what_stands_out(amplitude: Spectrum) -> Spectrum:
    """The amplitudes that stand out of a window's spectrum, zero elsewhere.

    A bin wider than they are: a print that is not quite flat has its peaks not quite in one place.
    """
    half = NEIGHBORHOOD // 2
    scale = 25.0  # steps of 4 %: OpenCV's fast median is of 8 bits
    log = np.clip((np.log(amplitude + 0.02) + 4) * scale, 0, 255).astype(np.uint8)
    median = cv2.medianBlur(np.pad(log, half, mode="wrap"), NEIGHBORHOOD)[half:-half, half:-half]
    stands_out = log > median + scale * np.log(STANDS_OUT)
    peaks = np.where(stands_out, amplitude, 0).astype(np.float32)
    return cast(Spectrum, cv2.dilate(peaks, np.ones((3, 3), np.uint8)))


def fine_detail(amplitude: Spectrum) -> float:
    """RMS of the finest waves (0.3 to 0.5 cycles per pixel) of a window, were they in all bins."""
    finest = amplitude[(DISTANCE > 0.3) & (DISTANCE < 0.5)] * (FADE.sum() / 2)
    return float(np.sqrt((finest**2).mean() / (FADE**2).sum()))


def remove_raster(pixels: Pixels, raster: Raster) -> Pixels:
    """A photo (HWC RGB uint8) less its raster: a filter that keeps the phase of what it lets by."""
    passed = pass_band(raster)
    kernel = np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(passed)).real) * np.sqrt(FADE)
    kernel = kernel[1:, 1:] / kernel.sum()  # odd, so that it has a middle
    return cast(
        Pixels, cv2.filter2D(pixels, -1, kernel.astype(np.float32), borderType=cv2.BORDER_REFLECT)
    )


def pass_band(raster: Raster) -> NDArray[np.float64]:
    """The share of each frequency (WINDOW, WINDOW) that passes: notches, and of dots a low pass."""
    width = raster.lowest * (LINE_NOTCH if raster.kind == "lines" else DOT_NOTCH)
    passed = np.ones((WINDOW, WINDOW))
    for peak in raster.peaks:
        away = (FREQUENCY - peak + 0.5) % 1 - 0.5  # frequencies repeat after 1
        squared = (away**2).sum(axis=-1) / (2 * width**2)
        passed *= 1 - np.exp(-(squared**2))  # flat at the bottom
    if raster.kind == "dots":
        squared = (DISTANCE / (DOT_CUTOFF * raster.lowest)) ** 2
        passed *= np.exp2(-(squared**2))
    passed[WINDOW // 2, WINDOW // 2] = 1  # the mean stays
    return passed
