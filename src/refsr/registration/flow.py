"""Dense refinement: optical flow between the LR photo and the shrunk warped reference.

Both images are compared at field resolution (2x LR), after the same shrinking and enlarging and
local contrast normalisation, so that exposure and haze do not matter.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.warp import FIELD_SCALE, Field, area_ratio, grid, sample

NORMALIZE_SIGMA = 4.0  # field pixels: of the neighbourhood whose mean and contrast are removed
CONSISTENCY_WINDOW = 5  # LR pixels
CELL = 4  # field pixels a side of the cells in which residual flow is measured
MIN_GRADIENT = 4.0  # (gray levels per pixel) squared: below it, texture is noise
NOISE = 1.5  # gray levels: standard deviation of an LR photo's rounding, noise and compression


def luma(rgb: NDArray[np.uint8] | Image) -> Image:
    """BT.601 luma of HWC RGB, 0..255: float32 (h, w)."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def enlarge2(image: Image) -> Image:
    """LR (h, w) to field resolution (2h, 2w)."""
    return cast(
        Image,
        cv2.resize(image, None, fx=FIELD_SCALE, fy=FIELD_SCALE, interpolation=cv2.INTER_CUBIC),
    )


def normalize_contrast(image: Image) -> NDArray[np.uint8]:
    """Remove local mean and contrast: (2h, 2w) float32 to uint8, the mean at 128."""
    size = (0, 0)
    mean = cv2.GaussianBlur(image, size, NORMALIZE_SIGMA)
    variance = cv2.GaussianBlur(image * image, size, NORMALIZE_SIGMA) - mean * mean
    contrast = (image - mean) / (np.sqrt(np.maximum(variance, 0.0)) + 2.0 * NOISE)
    return np.clip(contrast * 42.0 + 128.5, 0, 255).astype(np.uint8)


def dis_flow(source: NDArray[np.uint8], target: NDArray[np.uint8], finest: int = 0) -> Field:
    """DIS flow (h, w, 2) float32 pixels: source(x) looks like target(x + flow).

    ``finest``: 0 to the full resolution; 1 stops at half of it, in a quarter of the time.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(finest)
    dis.setPatchSize(12)  # 8 follows clean photos no better, and compressed ones by 0.2 to 0.4 dB
    dis.setPatchStride(4)  # worse
    dis.setGradientDescentIterations(25)
    dis.setVariationalRefinementIterations(8)
    dis.setVariationalRefinementAlpha(60.0)  # smoother, and gradients weigh more than
    dis.setVariationalRefinementGamma(20.0)  # brightness: a little better on real pairs
    return cast(Field, dis.calc(source, target, None))  # type: ignore[call-overload]


def residual_flow(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> Image:
    """The length in pixels of the small flow that remains, per cell: (h / 4, w / 4) float32.

    One Lucas-Kanade step, in a thirtieth of DIS's time; zero where there is no texture.
    """
    size = max(1, source.shape[1] // CELL), max(1, source.shape[0] // CELL)

    def pooled(product: Any) -> Image:
        small = cv2.resize(product, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.55)  # with the cells: a sigma of 2.5 pixels
        return cast(Image, small)

    a, b = source.astype(np.float32), target.astype(np.float32)
    difference = a - b
    a += b
    x = cv2.Sobel(a, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 16)
    y = cv2.Sobel(a, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 16)
    xx, yy, xy = pooled(x * x) + MIN_GRADIENT, pooled(y * y) + MIN_GRADIENT, pooled(x * y)
    xt, yt = pooled(x * difference), pooled(y * difference)
    length = np.hypot(yy * xt - xy * yt, xx * yt - xy * xt) / (xx * yy - xy * xy)
    return length.astype(np.float32)


def has_converged(length: Image, inside: NDArray[np.bool_], limit: float) -> bool:
    """Whether nine of ten flow vectors inside the reference are shorter than ``limit`` LR px.

    ``length`` (H, W) in field pixels, one per CELL x CELL of the field; ``inside`` (2h, 2w).
    """
    some = inside[CELL // 2 :: CELL, CELL // 2 :: CELL]
    height, width = min(len(length), len(some)), min(length.shape[1], some.shape[1])
    length = length[:height, :width][some[:height, :width]]
    return length.size == 0 or float(np.quantile(length, 0.9)) < FIELD_SCALE * limit


def flow_input(image: Image) -> NDArray[np.uint8]:
    """An LR luma (h, w) float32 0..255, enlarged and normalised for ``dis_flow``: (2h, 2w)."""
    return normalize_contrast(enlarge2(image))


def forward_backward_error(
    lr_norm: NDArray[np.uint8], target: NDArray[np.uint8], forward: Field | None
) -> Image:
    """Distance of each pixel from its start after forward and backward flow: (2h, 2w) field px.

    ``forward`` None is zero flow.
    """
    backward = dis_flow(target, lr_norm, 1)  # half resolution: 0.1 px is accurate enough
    if forward is None:
        return np.hypot(backward[..., 0], backward[..., 1])
    there = forward + grid(slice(0, forward.shape[0]), slice(0, forward.shape[1]))
    gap = forward + sample(backward, there)
    return np.hypot(gap[..., 0], gap[..., 1])


def window_mean(image: Image) -> Image:
    """The Gaussian-weighted mean in the consistency window around each LR pixel."""
    size = (CONSISTENCY_WINDOW, CONSISTENCY_WINDOW)
    return cast(Image, cv2.GaussianBlur(image, size, 1.25, borderType=cv2.BORDER_REPLICATE))


def local_correlation(lr: Image, shrunk: Image) -> Image:
    """NCC of the LR photo and the shrunk warped reference in 5x5 windows: (h, w) 0..1.

    Both (h, w) luma 0..255. Invariant to gain and offset. The variance of the LR photo's noise is
    added, so that nearly flat areas count as correlated.
    """
    mean_a, mean_b = window_mean(lr), window_mean(shrunk)
    var_a = np.maximum(window_mean(lr * lr) - mean_a * mean_a, 0.0)
    var_b = np.maximum(window_mean(shrunk * shrunk) - mean_b * mean_b, 0.0)
    covariance = window_mean(lr * shrunk) - mean_a * mean_b
    floor = NOISE * NOISE
    ncc = (covariance + floor) / np.sqrt((var_a + floor) * (var_b + floor))
    return np.clip(ncc, 0.0, 1.0).astype(np.float32)


def correlation(first: Image, second: Image, sigma: float = 2.0) -> Image:
    """Local correlation of two images (h, w) of levels in Gaussian windows: -1..1."""

    def mean(image: Image) -> Image:
        return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)

    mean_1, mean_2 = mean(first), mean(second)
    spread_1 = np.maximum(mean(first * first) - mean_1**2, 1)  # a level of noise is no structure
    spread_2 = np.maximum(mean(second * second) - mean_2**2, 1)
    covariance = mean(first * second) - mean_1 * mean_2
    return np.asarray(covariance / np.sqrt(spread_1 * spread_2), np.float32)


def inside_image(field: Field, image_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) points inside an image of that shape: (2h, 2w)."""
    height, width = image_shape[:2]
    x, y = field[..., 0], field[..., 1]
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def find_folds(field: Field, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) is folded or torn: (2h, 2w).

    There its area ratio is far from the median over the pixels ``inside`` (2h, 2w).
    """
    area = area_ratio(field)
    median = float(np.median(area[inside])) if inside.any() else 0.0
    folded = area * np.sign(median) < 0.15 * abs(median)
    folded |= np.abs(area) > 6.0 * abs(median)
    return folded
