"""Dense refinement: optical flow between the LR photo and the shrunk warped reference.

Both images are compared at field resolution (2x LR), both having passed through the same shrinking
and enlarging, and both locally contrast-normalised, so that exposure and haze do not matter.
"""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.warp import FIELD_SCALE, Field, area_ratio, grid, sample

NORMALISE_SIGMA = 4.0  # field pixels: the neighbourhood whose mean and contrast are taken out
CONSISTENCY_WINDOW = 5  # LR pixels
CELL = 4  # field pixels a side of the places where it is asked whether flow is left over
LEAST_SLOPE = 4.0  # squared gray levels a pixel: below it, texture is noise
NOISE = 1.5  # gray levels that rounding, noise and compression put into an LR photo


def luma(rgb: NDArray[np.uint8] | Image) -> Image:
    """BT.601 luma of HWC RGB, 0..255: float32 (h, w)."""
    return rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)


def enlarge2(image: Image) -> Image:
    """LR (h, w) to field resolution (2h, 2w)."""
    return cast(Image, cv2.resize(image, None, fx=FIELD_SCALE, fy=FIELD_SCALE, interpolation=cv2.INTER_CUBIC))


def normalise(image: Image) -> NDArray[np.uint8]:
    """Take out local mean and contrast: (2h, 2w) float32 to uint8 with 128 as the middle."""
    size = (0, 0)
    mean = cv2.GaussianBlur(image, size, NORMALISE_SIGMA)
    variance = cv2.GaussianBlur(image * image, size, NORMALISE_SIGMA) - mean * mean
    contrast = (image - mean) / (np.sqrt(np.maximum(variance, 0.0)) + 2.0 * NOISE)
    return np.clip(contrast * 42.0 + 128.5, 0, 255).astype(np.uint8)


def dis_flow(source: NDArray[np.uint8], target: NDArray[np.uint8], finest: int = 0) -> Field:
    """DIS flow (h, w, 2) float32 pixels: source(x) looks like target(x + flow).

    ``finest``: 0 to the full resolution; 1 stops at half of it, in a quarter of the time.
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(finest)
    dis.setPatchStride(3)
    dis.setGradientDescentIterations(25)
    dis.setVariationalRefinementIterations(8)
    dis.setVariationalRefinementAlpha(40.0)  # smoother, and led by gradients rather than by
    dis.setVariationalRefinementGamma(20.0)  # brightness: a little better on real pairs
    return cast(Field, dis.calc(source, target, None))  # type: ignore[call-overload]


def left_over(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> Image:
    """How far flow would move each place, in pixels, if that is little: (h / 4, w / 4) float32.

    One step of Lucas and Kanade, in a thirtieth of DIS's time; nothing where there is no texture.
    """
    size = max(1, source.shape[1] // CELL), max(1, source.shape[0] // CELL)

    def pooled(product: Any) -> Image:
        small = cv2.resize(product, size, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), 0.55)  # with the cells: a sigma of 2.5 pixels
        return cast(Image, small)

    a, b = source.astype(np.float32), target.astype(np.float32)
    gap = a - b
    a += b
    x = cv2.Sobel(a, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 16)
    y = cv2.Sobel(a, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 16)
    xx, yy, xy = pooled(x * x) + LEAST_SLOPE, pooled(y * y) + LEAST_SLOPE, pooled(x * y)
    along, across = pooled(x * gap), pooled(y * gap)
    moved = np.hypot(yy * along - xy * across, xx * across - xy * along) / (xx * yy - xy * xy)
    return moved.astype(np.float32)


def settled(moved: Image, inside: NDArray[np.bool_], limit: float) -> bool:
    """Whether nine of ten lengths of a flow are less than ``limit`` LR px.

    ``moved`` (H, W), in field pixels, one for each CELL x CELL of the field; ``inside`` (2h, 2w)
    says where the reference reaches: nothing else counts.
    """
    some = inside[CELL // 2 :: CELL, CELL // 2 :: CELL]
    height, width = min(len(moved), len(some)), min(moved.shape[1], some.shape[1])
    moved = moved[:height, :width][some[:height, :width]]
    return moved.size == 0 or float(np.quantile(moved, 0.9)) < FIELD_SCALE * limit


def comparable(image: Image) -> NDArray[np.uint8]:
    """An LR luma (h, w) float32, enlarged and normalised: (2h, 2w)."""
    return normalise(enlarge2(image))


def round_trip(
    lr_norm: NDArray[np.uint8], target: NDArray[np.uint8], forward: Field | None
) -> Image:
    """How far from its start a pixel ends that follows the flow there and back: (2h, 2w) px.

    ``forward`` None is no flow.
    """
    backward = dis_flow(target, lr_norm, 1)  # 0.1 px are no doubt
    if forward is None:
        return np.hypot(backward[..., 0], backward[..., 1])
    there = forward + grid(slice(0, forward.shape[0]), slice(0, forward.shape[1]))
    gap = forward + sample(backward, there)
    return np.hypot(gap[..., 0], gap[..., 1])


def window(image: Image) -> Image:
    """The mean over the consistency window around each LR pixel."""
    size = (CONSISTENCY_WINDOW, CONSISTENCY_WINDOW)
    return cast(Image, cv2.GaussianBlur(image, size, 1.25, borderType=cv2.BORDER_REPLICATE))


def agreement(lr: Image, shrunk: Image) -> Image:
    """How well the shrunk warped reference explains the LR photo locally: (h, w) 0..1.

    A correlation coefficient in 5x5 LR windows, blind to gain and offset. The noise of an LR photo
    is allowed for, so that nearly flat places count as agreeing rather than as chance.
    """
    mean_a, mean_b = window(lr), window(shrunk)
    var_a = np.maximum(window(lr * lr) - mean_a * mean_a, 0.0)
    var_b = np.maximum(window(shrunk * shrunk) - mean_b * mean_b, 0.0)
    covariance = window(lr * shrunk) - mean_a * mean_b
    floor = NOISE * NOISE
    ncc = (covariance + floor) / np.sqrt((var_a + floor) * (var_b + floor))
    return np.clip(ncc, 0.0, 1.0).astype(np.float32)


def reached(field: Field, reference_shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of a field (2h, 2w, 2) lie inside the reference: (2h, 2w)."""
    height, width = reference_shape[:2]
    x, y = field[..., 0], field[..., 1]
    return (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def folding(field: Field, inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which field pixels are torn or folded, as things go ``inside`` the reference: (2h, 2w)."""
    area = area_ratio(field)
    usual = float(np.median(area[inside])) if inside.any() else 0.0
    torn = area * np.sign(usual) < 0.15 * abs(usual)
    torn |= np.abs(area) > 6.0 * abs(usual)
    return torn
