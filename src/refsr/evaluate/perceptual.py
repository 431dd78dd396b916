"""Perceptual measures without a trained network: HaarPSI, and the amount of fine detail.

PSNR rewards the average of all photos that an LR photo may come from, which is blurred. The two
belong together: noise alone raises the detail, and HaarPSI alone tolerates some blur.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.evaluate.metrics import check_images, luma
from refsr.resize import imresize

Plane = NDArray[np.float64]

# Reisenhofer et al. 2018, fitted to human ratings: the similarity's constant and its exponent.
HAARPSI_C = 30.0
HAARPSI_ALPHA = 4.2
# RGB to NTSC's YIQ
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
NO_DETAIL = 1e-4  # gray levels squared: above what float32 rounding leaves in a flat photo
MIN_SIDE = 16  # HR pixels: the span of HaarPSI's largest filter


def _halved(plane: Plane) -> Plane:
    """Means of 2x2 pixels (HW to H/2 x W/2), for the usual viewing distance."""
    height, width = plane.shape
    even = np.pad(plane, ((0, height % 2), (0, width % 2)))
    return even.reshape((height + 1) // 2, 2, (width + 1) // 2, 2).mean((1, 3))


def _filtered(plane: Plane, kernel: Plane) -> Plane:
    """Correlation of a plane (HW) with a kernel of even size, zero-padded to the same size."""
    anchor = (kernel.shape[1] // 2 - 1, kernel.shape[0] // 2 - 1)
    out = cv2.filter2D(plane, cv2.CV_64F, kernel, anchor=anchor, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(out, np.float64)


def _similarity(x: Plane, y: Plane) -> Plane:
    """1 where two magnitudes are equal, towards 0 where they differ."""
    return (2.0 * x * y + HAARPSI_C) / (x * x + y * y + HAARPSI_C)


def haarpsi(a: NDArray[np.uint8], b: NDArray[np.uint8], border: int = 4) -> float:
    """Haar wavelet-based perceptual similarity of two RGB images (HWC, uint8): 0 to 1 (equal).

    Reisenhofer, Bosse, Kutyniok and Wiegand 2018: edges at two fine scales and colors are
    compared, weighted by the edges at a coarse one, on images of half the size. Among measures
    without a trained network it agrees best with human ratings. It is symmetric. ``border`` pixels
    are left out at each side.

    Raises ValueError where shapes or types differ or too little is left inside the border.
    """
    check_images(a, b, border, MIN_SIDE)
    inside = slice(border, -border or None)
    planes = [
        [_halved(plane) for plane in np.moveaxis(image[inside, inside] @ YIQ.T, 2, 0)]
        for image in (a, b)
    ]
    similarities: list[Plane] = []
    weights: list[Plane] = []
    for transposed in (False, True):
        edges: list[list[Plane]] = []
        for y, _, _ in planes:
            scales: list[Plane] = []
            for size in (2, 4, 8):
                kernel = np.full((size, size), 1.0 / size)
                kernel[size // 2 :] *= -1.0
                scales.append(np.abs(_filtered(y, kernel.T.copy() if transposed else kernel)))
            edges.append(scales)
        (x1, x2, x3), (y1, y2, y3) = edges
        similarities.append((_similarity(x1, y1) + _similarity(x2, y2)) / 2.0)
        weights.append(np.maximum(x3, y3))
    mean2 = np.full((2, 2), 0.25)
    color = [[np.abs(_filtered(plane, mean2)) for plane in chroma] for _, *chroma in planes]
    (i1, q1), (i2, q2) = color
    similarities.append((_similarity(i1, i2) + _similarity(q1, q2)) / 2.0)
    weights.append((weights[0] + weights[1]) / 2.0)
    total = sum(float(weight.sum()) for weight in weights)
    if total == 0.0:  # both black
        return 1.0
    score = sum(
        float((weight / (1.0 + np.exp(-HAARPSI_ALPHA * similarity))).sum())
        for weight, similarity in zip(weights, similarities, strict=True)
    )
    score /= total
    return (math.log(score / (1.0 - score)) / HAARPSI_ALPHA) ** 2


def fine_detail(rgb: NDArray[np.uint8]) -> Plane:
    """What shrinking an RGB image (HWC, uint8) by four removes from its luma: HW, -255..255."""
    plane = luma(rgb)
    height, width = plane.shape
    coarse = imresize(imresize(plane, scale=0.25), size=(height, width))
    return plane - coarse


def detail_share(sr: NDArray[np.uint8], hr: NDArray[np.uint8], border: int = 4) -> float:
    """The strength of a result's fine detail relative to the truth's (both HWC, uint8), 1: equal.

    The root of the ratio of energies of ``fine_detail``, which an LR photo cannot hold, so bicubic
    has little of it. It measures sharpness, not correctness: noise counts as detail. 0 where the
    truth has none.

    Raises ValueError where shapes or types differ or too little is left inside the border.
    """
    check_images(sr, hr, border, MIN_SIDE)
    inside = slice(border, -border or None)
    energy, true = (float((fine_detail(image)[inside, inside] ** 2).mean()) for image in (sr, hr))
    return math.sqrt(energy / true) if true > NO_DETAIL else 0.0
