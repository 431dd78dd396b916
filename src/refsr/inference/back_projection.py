"""The result, shrunk again, is the photo: nothing that the camera saw is changed."""

from __future__ import annotations

from refsr.arrays import Image
from refsr.resize import SCALE, imresize

BACK_PROJECTIONS = 2  # each halves the error when shrunk again; PSNR hardly notices


def reduced(sr: Image, lr: Image, scale: int) -> Image:
    """``sr`` (4h, 4w, 3) at ``scale`` times the size of ``lr`` (h, w, 3), antialiased."""
    if scale == SCALE:
        return sr
    return imresize(sr, size=(scale * lr.shape[0], scale * lr.shape[1]))


def back_project(sr: Image, lr: Image) -> Image:
    """Correct ``sr``, of any scale, so that, shrunk again, it is ``lr`` (h, w, 3): colors stay."""
    for _ in range(BACK_PROJECTIONS):
        sr = sr + imresize(lr - imresize(sr, size=lr.shape[:2]), size=sr.shape[:2])
    return sr
