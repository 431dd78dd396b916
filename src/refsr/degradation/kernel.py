"""The photo's point spread function, measured from the photo and its aligned reference.

The pipeline and its networks expect a photo that was downscaled by MATLAB's bicubic. What a lens,
motion or a camera's sharpening did beside that is a kernel k of a few LR pixels: LR = k * S, with S
the aligned reference downscaled like that. It is estimated by weighted least squares, and undone by
its Wiener inverse (docs/decisions/2026-11-27.md has the measurements).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.flow import correlation
from refsr.registration.misfit import high_pass

RADIUS = 4  # LR pixels: kernels are 9 x 9
RIDGE = 1e-3  # of the mean diagonal, at the center; times 1 + 2 r^2 at r LR pixels from it
ROUNDS = 3  # of reweighting by the local residual
TOLERATED = 0.15, 1.5  # residual that halves a weight: share of the local contrast, and levels
AGREEMENT = 0.75, 0.95  # local correlation with k * S between which a place begins to count
BAND_ROWS = 64  # rows of the equations that are set up at a time
MIN_PLACES = 5_000  # LR pixels that count: fewer leave 81 unknowns to chance
MANY_PLACES = 10_000  # ... from which registration errors matter little
FINE, COARSE, LARGE = 0.4, 0.15, 0.1  # cycles per LR pixel: a camera changes ratios of these
BLURRED = -0.17  # log response at FINE over COARSE; clean photos have -0.14 to 0.01
BLURRED_OF_FEW = -0.3  # with fewer places: clean photos down to -0.28
SHARPENED = 0.1  # ... at 0.2 to FINE over LARGE; clean photos have up to 0.05
MAX_CONTRAST = 1.3  # response at LARGE: more is other light
DIRECTIONS = 16  # in which a response is averaged
INVERSE_SIDE = 65  # LR pixels a side of the inverse filter: motion and defocus ring far

Kernel = NDArray[np.float64]  # (9, 9), sum 1; LR pixels


@dataclass(frozen=True)
class KernelEstimate:
    """A kernel, and how much better it explains the photo than a change of contrast does."""

    kernel: Kernel
    residual: float  # energy left by the kernel over that left by a contrast alone: evidence if < 1
    places: float  # LR pixels that counted

    @property
    def is_evident(self) -> bool:
        """Whether the pair shows that the photo is not MATLAB's; else nothing must be done.

        Other light or tones in the reference change all but the coarsest structure alike; a camera
        changes the finest most. Registration errors blur the reference's evidence a little, too.
        """
        if self.places < MIN_PLACES or self.residual >= 1:
            return False
        if response(self.kernel, LARGE) > MAX_CONTRAST:
            return False
        blurred = log_response(self.kernel, FINE) - log_response(self.kernel, COARSE)
        finest = max(log_response(self.kernel, frequency) for frequency in (0.2, 0.3, FINE))
        sharpened = finest - log_response(self.kernel, LARGE)
        least = BLURRED if self.places >= MANY_PLACES else BLURRED_OF_FEW
        return blurred < least or sharpened > SHARPENED


def estimate_kernel(
    lr: Image,  # (h, w) luma of the photo, 0..255
    ref: Image,  # (h, w) luma of the aligned reference downscaled by four, 0..255
    weight: Image,  # (h, w) 0..1, where the reference may be trusted
) -> KernelEstimate | None:
    """The kernel k with lr = k * ref; None where nothing determines it."""
    detail, source = high_pass(lr), high_pass(ref)
    inside = np.zeros_like(weight)
    inside[RADIUS:-RADIUS, RADIUS:-RADIUS] = 1
    trusted = weight * inside
    if trusted.sum() < MIN_PLACES:
        return None
    contrast = np.sqrt(cv2.GaussianBlur(detail * detail, (0, 0), 2.0))
    tolerated = np.float32(TOLERATED[0]) * contrast + np.float32(TOLERATED[1])
    weights, kernel = trusted, np.zeros(0)
    for _ in range(ROUNDS + 1):
        kernel = solve(detail, source, weights)
        if kernel is None:
            return None
        left = detail - convolve(source, kernel)
        rms = np.sqrt(cv2.blur(left * left, (5, 5)))
        weights = (trusted / (1 + (rms / tolerated) ** 2)).astype(np.float32)
    total = float(kernel.sum())
    if not 0.3 < total < 3.0:  # the reference's contrast; beyond, the two show different things
        return None
    explained = convolve(source, kernel)
    start, end = AGREEMENT
    agreement = correlation(lr, convolve(ref, kernel / total))
    counted = trusted * np.clip((agreement - start) / (end - start), 0, 1)
    plain = float((counted * detail * source).sum() / max((counted * source**2).sum(), 1e-9))
    by_contrast = float((counted * (detail - np.float32(plain) * source) ** 2).sum())
    by_kernel = float((counted * (detail - explained) ** 2).sum())
    return KernelEstimate(kernel / total, by_kernel / max(by_contrast, 1e-9), float(counted.sum()))


def response(kernel: Kernel, frequency: float) -> float:
    """A kernel's response at a frequency in cycles per LR pixel, the mean of all directions."""
    return float(responses(kernel, frequency).mean())


def responses(kernel: Kernel, frequency: float) -> Kernel:
    """A kernel's responses (DIRECTIONS,) at a frequency in cycles per LR pixel; phase left out."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    angles = np.arange(DIRECTIONS) * np.pi / DIRECTIONS
    phases = [x * np.cos(angle) + y * np.sin(angle) for angle in angles]
    waves = np.cos(2 * np.pi * frequency * np.stack(phases))
    return np.asarray((kernel * waves).sum(axis=(1, 2)), np.float64)


def log_response(kernel: Kernel, frequency: float) -> float:
    """The log of ``response``, cut off at a thousandth."""
    return float(np.log(max(response(kernel, frequency), 1e-3)))


def solve(detail: Image, source: Image, weights: Image) -> Kernel | None:
    """The ridge regression of ``detail`` on the shifted ``source``: (9, 9), or None."""
    side = 2 * RADIUS + 1
    padded = np.pad(source, RADIUS, mode="reflect")
    normal, right = normal_equations(partial(neighborhoods, padded), detail, weights)
    scale = float(np.trace(normal)) / side**2
    if scale <= 0:
        return None
    solved = np.linalg.solve(normal + np.diag(scale * ridge()), right)
    return np.asarray(solved, np.float64).reshape(side, side)


def normal_equations(
    matrix: Callable[[slice], Image], values: Image, weights: Image
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of the weighted least squares ``matrix`` x = ``values``: squares (n, n) and products (n,).

    ``matrix``: its equations (pixels, n) for some rows; ``values`` and ``weights`` (h, w).
    """
    normal, right = 0.0, 0.0
    for top in range(0, len(values), BAND_ROWS):
        rows = slice(top, min(len(values), top + BAND_ROWS))
        root = np.sqrt(weights[rows].ravel())
        weighted = matrix(rows) * root[:, None]
        normal += (weighted.T @ weighted).astype(np.float64)  # symmetric: half the time
        right += (weighted.T @ (root * values[rows].ravel())).astype(np.float64)
    return np.asarray(normal, np.float64), np.asarray(right, np.float64)


def neighborhoods(padded: Image, rows: slice) -> Image:
    """What a kernel sees at each pixel of some rows: (pixels, 81).

    ``padded``: the image with RADIUS pixels around it.
    """
    side = 2 * RADIUS + 1
    part = padded[rows.start : rows.stop + 2 * RADIUS]
    windows = np.lib.stride_tricks.sliding_window_view(part, (side, side))
    # a convolution: the kernel's first tap meets the window's last pixel
    return windows[..., ::-1, ::-1].reshape(-1, side * side)


def ridge() -> Kernel:
    """The ridge (81,) of a kernel's taps, in units of the mean diagonal."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    return np.asarray(RIDGE * (1 + 2 * (x**2 + y**2)).ravel(), np.float64)


def convolve(image: Image, kernel: Kernel) -> Image:
    """An image (h, w[, C]) convolved with a kernel, its border mirrored; float32."""
    flipped = np.ascontiguousarray(kernel[::-1, ::-1], np.float32)
    return np.asarray(
        cv2.filter2D(image, cv2.CV_32F, flipped, borderType=cv2.BORDER_REFLECT_101), np.float32
    )


def wiener_inverse(kernel: Kernel, noise_to_signal: float) -> Kernel:
    """The filter (65, 65), sum 1, that undoes ``kernel`` as far as noise allows.

    ``noise_to_signal``: of the energies, at every frequency alike. The filter is tapered: where the
    kernel lets nothing pass, its inverse rings for ever.
    """
    size = 4 * (INVERSE_SIDE - 1)
    placed = np.zeros((size, size))
    side, half = len(kernel), len(kernel) // 2
    placed[:side, :side] = kernel
    spectrum = np.fft.rfft2(np.roll(placed, (-half, -half), (0, 1)))
    inverse = np.conj(spectrum) / (np.abs(spectrum) ** 2 + noise_to_signal)
    centered = np.roll(np.fft.irfft2(inverse, s=placed.shape), (INVERSE_SIDE // 2,) * 2, (0, 1))
    taper = np.hanning(INVERSE_SIDE + 2)[1:-1]
    cut = centered[:INVERSE_SIDE, :INVERSE_SIDE] * np.outer(taper, taper)
    return cut / cut.sum()


def describe_kernel(kernel: Kernel) -> str:
    """What a kernel did to a photo, in words: "sharpened", "blurred by about 1.2 pixels", ..."""
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    if kernel[RADIUS, RADIUS] > 1:
        return "sharpened"
    spread_out = np.where(kernel > 0.03 * kernel.max(), kernel, 0)  # the rim is noise
    spread_out /= spread_out.sum()
    second = [float((spread_out * product).sum()) for product in (x * x, x * y, y * y)]
    spread = np.linalg.eigvalsh(np.array([[second[0], second[1]], [second[1], second[2]]]))
    wide, narrow = (float(np.sqrt(max(value, 0.0))) for value in spread[::-1])
    if wide > 2 * max(narrow, 0.25):
        return f"blurred by motion of about {wide * 12**0.5:.1f} pixels"
    return f"blurred by about {(wide + narrow) / 2:.1f} pixels"
