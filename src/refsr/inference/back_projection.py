"""Back-projection: the result, downscaled, equals the photo."""

from __future__ import annotations

from refsr.arrays import Image
from refsr.degradation.kernel import Kernel, convolve
from refsr.resize import SCALE, imresize

ITERATIONS = 2  # each halves the error; PSNR hardly changes


def downscale_to(sr: Image, lr: Image, scale: int) -> Image:
    """``sr`` (4h, 4w, 3) at ``scale`` times the size of ``lr`` (h, w, 3), antialiased."""
    if scale == SCALE:
        return sr
    return imresize(sr, size=(scale * lr.shape[0], scale * lr.shape[1]))


def back_project(sr: Image, lr: Image) -> Image:
    """Correct ``sr`` (H, W, 3), of any scale, so that downscaled it equals ``lr`` (h, w, 3)."""
    for _ in range(ITERATIONS):
        sr = sr + imresize(lr - imresize(sr, size=lr.shape[:2]), size=sr.shape[:2])
    return sr


def back_project_through(sr: Image, lr: Image, kernel: Kernel) -> Image:
    """Correct ``sr`` (H, W, 3) so that downscaled and seen through ``kernel`` it equals ``lr``."""
    for _ in range(ITERATIONS):
        error = lr - convolve(imresize(sr, size=lr.shape[:2]), kernel)
        seen_back = convolve(error, kernel[::-1, ::-1])  # what each place did to its neighbors
        sr = sr + imresize(seen_back, size=sr.shape[:2])
    return sr
