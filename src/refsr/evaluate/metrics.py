"""PSNR and SSIM as super-resolution papers report them: on BT.601 luma, borders cropped.

The luma is not rounded (as in BasicSR; MATLAB's ``rgb2ycbcr`` of a uint8 image rounds it): the
protocol asks for 8-bit images, and the inputs already are.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

# MATLAB's rgb2ycbcr: the weights of R, G and B in [0, 1]; black is 16 and white 235.
LUMA_WEIGHTS = np.array([65.481, 128.553, 24.966])
LUMA_OFFSET = 16.0

SSIM_WINDOW = 11  # Wang et al. 2004: an 11x11 Gaussian of sigma 1.5, K1 = 0.01, K2 = 0.03
SSIM_SIGMA = 1.5
SSIM_C1 = (0.01 * 255.0) ** 2
SSIM_C2 = (0.03 * 255.0) ** 2


def luma(rgb: NDArray[np.uint8]) -> NDArray[np.float64]:
    """BT.601 luma of an RGB image: HWC uint8 in, HW float64 from 16 to 235 out."""
    return rgb.astype(np.float64) @ (LUMA_WEIGHTS / 255.0) + LUMA_OFFSET


def check_images(a: NDArray[np.uint8], b: NDArray[np.uint8], border: int, min_side: int) -> None:
    """Raises ValueError unless both are RGB images (HWC, uint8) of one size, and large enough.

    ``min_side``: pixels that each side must have inside the border.
    """
    if a.shape != b.shape or a.ndim != 3 or a.shape[2] != 3 or not a.dtype == b.dtype == np.uint8:
        raise ValueError(
            "two RGB images (HWC, uint8) of one size are needed, "
            f"not {a.shape} {a.dtype} and {b.shape} {b.dtype}"
        )
    if min(a.shape[:2]) < min_side + 2 * border:
        raise ValueError(
            f"an image of {a.shape[1]}x{a.shape[0]} pixels is too small to be measured: "
            f"{min_side + 2 * border} a side are needed"
        )


def _planes(
    a: NDArray[np.uint8], b: NDArray[np.uint8], border: int, use_luma: bool, min_side: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both images as HWC float64 planes (one of luma, or R, G and B) without their border."""
    check_images(a, b, border, min_side)
    inside = slice(border, -border or None)
    if use_luma:
        return luma(a)[inside, inside, None], luma(b)[inside, inside, None]
    return a[inside, inside].astype(np.float64), b[inside, inside].astype(np.float64)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8], border: int = 4, luma: bool = True) -> float:
    """Peak signal-to-noise ratio in dB between two RGB images (HWC, uint8), peak 255.

    ``border`` pixels are left out at each side (the scale, by convention). ``luma`` compares
    BT.601 luma; otherwise the squared error is averaged over R, G and B. Equal images give
    infinity.

    Raises ValueError where shapes or types differ or nothing is left inside the border.
    """
    x, y = _planes(a, b, border, luma, min_side=1)
    error = float(np.mean((x - y) ** 2))
    return math.inf if error == 0.0 else 10.0 * math.log10(255.0**2 / error)


def _local_mean(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gaussian-weighted mean around every pixel (HW) whose whole window lies inside the plane."""
    kernel = cv2.getGaussianKernel(SSIM_WINDOW, SSIM_SIGMA, cv2.CV_64F)
    half = SSIM_WINDOW // 2
    blurred = np.asarray(cv2.sepFilter2D(plane, cv2.CV_64F, kernel, kernel), np.float64)
    return blurred[half:-half, half:-half]


def _ssim_plane(x: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    """Mean SSIM of two planes (HW)."""
    mean_x, mean_y = _local_mean(x), _local_mean(y)
    var_x = _local_mean(x * x) - mean_x**2
    var_y = _local_mean(y * y) - mean_y**2
    covariance = _local_mean(x * y) - mean_x * mean_y
    similarity = ((2.0 * mean_x * mean_y + SSIM_C1) * (2.0 * covariance + SSIM_C2)) / (
        (mean_x**2 + mean_y**2 + SSIM_C1) * (var_x + var_y + SSIM_C2)
    )
    return float(similarity.mean())


def ssim(a: NDArray[np.uint8], b: NDArray[np.uint8], border: int = 4, luma: bool = True) -> float:
    """Structural similarity (Wang et al. 2004) between two RGB images (HWC, uint8), at most 1.

    An 11x11 Gaussian window of sigma 1.5, population statistics, and the mean over the windows that
    lie wholly inside the image without its ``border``. ``luma`` compares BT.601 luma; otherwise the
    values of R, G and B are averaged.

    Raises ValueError where shapes or types differ or no window fits.
    """
    x, y = _planes(a, b, border, luma, min_side=SSIM_WINDOW)
    planes = [_ssim_plane(x[..., i].copy(), y[..., i].copy()) for i in range(x.shape[2])]
    return float(np.mean(planes))
