"""What was shrunk without antialiasing: measured with the reference's detail, and taken away.

MATLAB's bicubic removes detail that is finer than the small photo's pixels; many programs fold it
into coarser structure instead. A reference has that detail, so what it became can be told:
LR = k * S + a . D, with S the aligned reference downscaled like that, D its detail beyond S at HR,
and a the taps of HR pixels around each LR pixel. What no kernel explains of that sum is aliasing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.degradation.kernel import (
    BAND_ROWS,
    MIN_PLACES,
    RADIUS,
    ROUNDS,
    TOLERATED,
    Kernel,
    convolve,
    neighborhoods,
    normal_equations,
    ridge,
)
from refsr.registration.misfit import LOCAL, high_pass, local_gain
from refsr.registration.warp import shrink4
from refsr.resize import SCALE, imresize

SIDE = 2 * RADIUS + 1
REACH = 4  # HR pixels from the middle of an LR pixel: 8 x 8 taps
KERNEL, TAPS = SIDE**2, (2 * REACH) ** 2  # unknowns
RIDGE = 1e-2  # of the mean diagonal, for each of the taps
ALIASED = 1.05  # residual without the taps over that with them: of photos by MATLAB, blurred or
# noisy 1.00 to 1.04, area average 1.06 to 1.36, OpenCV's linear and every fourth pixel 1.4 to 1.9
STRONG = 1.45  # registered again: area average 1.1 to 1.3, linear and every fourth pixel 1.7 to 2.4
ROUNDING = 1.0  # square levels that mean nothing


@dataclass(frozen=True)
class Aliasing:
    """How a photo's pixels were taken of the scene's, beside a kernel."""

    kernel: Kernel  # (9, 9), of the reference shrunk
    taps: Kernel  # (8, 8), of its detail
    alone: Kernel  # (9, 9), what explains as much as a kernel can
    evidence: float  # energy left by a kernel alone over that left by both

    @property
    def is_evident(self) -> bool:
        """Whether the pair shows aliasing."""
        return self.evidence > ALIASED

    @property
    def is_strong(self) -> bool:
        """Whether so much was aliased that a clean photo's network would be misled by the rest."""
        return self.evidence > STRONG

    @property
    def blur(self) -> Kernel:
        """What a kernel explains (9, 9), of sum 1: what is undone of the photo."""
        return self.alone / self.alone.sum()

    def show(self, ref: Image) -> Image:
        """What the photo shows of an aligned reference (4h, 4w): (h, w); levels, high-passed."""
        return self.shown_of(Scene(*parts(ref)))

    def shown_of(self, scene: Scene) -> Image:
        """What the photo shows of a scene: (h, w)."""
        return scene.predict(np.concatenate([self.kernel.ravel(), self.taps.ravel()]))

    def remove(self, lr: Image, ref: Image, validity: Image) -> Image:
        """A photo (h, w, 3) without its aliasing where a reference shows what that is.

        ``ref`` (4h, 4w, 3), aligned, and the photo in levels; ``validity`` (4h, 4w) 0..1.
        """
        weight = cv2.resize(validity, lr.shape[1::-1], interpolation=cv2.INTER_AREA)
        scenes = [Scene(*parts(np.ascontiguousarray(ref[..., channel]))) for channel in range(3)]
        shown = np.stack([self.shown_of(scene) for scene in scenes], axis=2)
        explained = [convolve(scene.source, self.alone) for scene in scenes]
        aliased = shown - np.stack(explained, axis=2)
        photo, shown = (high_pass(image.mean(axis=2)) for image in (lr, shown))
        gain = local_gain(photo, shown, LOCAL) * weight
        return np.asarray(lr - gain[..., None] * aliased, np.float32)


def estimate_aliasing(
    lr: Image,  # (h, w) luma of the photo, levels
    ref: Image,  # (4h, 4w) luma of the aligned reference, levels
    weight: Image,  # (h, w) 0..1, where the reference may be trusted
    least: int = MIN_PLACES,  # LR pixels that must count
) -> Aliasing | None:
    """How a photo samples the scene; None where nothing determines it."""
    shown = high_pass(lr)
    inside = np.zeros_like(weight)
    inside[RADIUS:-RADIUS, RADIUS:-RADIUS] = 1
    trusted = weight * inside
    if trusted.sum() < least:
        return None
    scene = Scene(*parts(ref))
    contrast = np.sqrt(cv2.GaussianBlur(shown * shown, (0, 0), 2.0))
    tolerated = np.float32(TOLERATED[0]) * contrast + np.float32(TOLERATED[1])
    weights, solved, left = trusted, np.zeros(0), shown
    for _ in range(ROUNDS + 1):
        solved = scene.solve(shown, weights, KERNEL + TAPS)
        if solved is None:
            return None
        left = shown - scene.predict(solved)
        rms = np.sqrt(cv2.blur(left * left, (5, 5)))
        weights = np.asarray(trusted / (1 + (rms / tolerated) ** 2), np.float32)
    alone = scene.solve(shown - left, weights, KERNEL)
    if alone is None:
        return None
    rounding = ROUNDING * float(weights.sum())
    by_kernel = float((weights * (shown - scene.predict(alone)) ** 2).sum()) + rounding
    by_both = float((weights * left**2).sum()) + rounding
    kernel, taps = solved[:KERNEL].reshape(SIDE, SIDE), solved[KERNEL:].reshape(2 * REACH, -1)
    return Aliasing(kernel, taps, alone.reshape(SIDE, SIDE), by_kernel / by_both)


@dataclass(frozen=True)
class Scene:
    """A reference as what kernel and taps are applied to."""

    source: Image  # (h, w), shrunk and high-passed
    detail: Image  # (4h, 4w), beyond it

    def solve(self, shown: Image, weights: Image, unknowns: int) -> NDArray[np.float64] | None:
        """The kernel, and the taps where they are asked for, that explain ``shown`` best."""
        padded = np.pad(self.source, RADIUS, mode="reflect")

        def matrix(rows: slice) -> Image:
            seen = neighborhoods(padded, rows)
            if unknowns == KERNEL:
                return seen
            around = pixels_around(self.detail, rows).reshape(-1, TAPS)
            return np.concatenate([seen, around], axis=1)

        normal, right = normal_equations(matrix, shown, weights)
        diagonal = np.diag(normal)
        damping = np.concatenate(
            [
                diagonal[:KERNEL].mean() * ridge(),
                np.full(unknowns - KERNEL, RIDGE * diagonal[KERNEL:].sum() / TAPS),
            ]
        )
        if damping.min() <= 0:
            return None
        return np.asarray(np.linalg.solve(normal + np.diag(damping), right), np.float64)

    def predict(self, solved: NDArray[np.float64]) -> Image:
        """What ``solved`` makes of the scene: (h, w)."""
        shown = convolve(self.source, solved[:KERNEL].reshape(SIDE, SIDE))
        if len(solved) > KERNEL:
            taps = solved[KERNEL:].astype(np.float32)
            for top in range(0, len(shown), BAND_ROWS):
                rows = slice(top, min(len(shown), top + BAND_ROWS))
                shown[rows] += pixels_around(self.detail, rows) @ taps
        return np.asarray(shown, np.float32)


def parts(ref: Image) -> tuple[Image, Image]:
    """A reference (4h, 4w) shrunk by four and high-passed, and its detail beyond that."""
    shrunk = shrink4(ref)
    return high_pass(shrunk), np.asarray(ref - imresize(shrunk, scale=float(SCALE)), np.float32)


def pixels_around(detail: Image, rows: slice) -> Image:
    """The HR pixels around the middle of each LR pixel of some rows: (rows, w, 64)."""
    width = detail.shape[1]
    padded = np.pad(detail, REACH, mode="reflect")
    first = SCALE * rows.start + SCALE // 2  # an LR pixel's middle lies between HR pixels 1 and 2
    part = padded[first : first + SCALE * (rows.stop - rows.start - 1) + 2 * REACH]
    windows = np.lib.stride_tricks.sliding_window_view(part, (2 * REACH, 2 * REACH))
    taken = windows[::SCALE, SCALE // 2 : SCALE // 2 + width : SCALE]
    return np.ascontiguousarray(taken).reshape(*taken.shape[:2], TAPS)
