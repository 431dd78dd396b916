"""Kernels (9, 9) that are known exactly, for the tests of what measures or undoes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from refsr.degradation.kernel import RADIUS, Kernel


def grid() -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    y, x = np.mgrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    return y, x


def gaussian(sigma: float) -> Kernel:
    y, x = grid()
    kernel = np.exp(-(x**2 + y**2) / (2 * sigma**2))
    return kernel / kernel.sum()


def sharpening() -> Kernel:
    kernel = -0.8 * gaussian(1.0)
    kernel[RADIUS, RADIUS] += 1.8
    return kernel
