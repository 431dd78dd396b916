"""A reference photo with what can be computed before any input is known; kept for many inputs."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels
from refsr.registration import matching
from refsr.registration.matching import Features
from refsr.registration.warp import FIELD, Field, area_ratio, shrunk_warp
from refsr.resize import SCALE, cubic

WORKING_SIDE = 1200  # features are found at most at this size: a larger reference costs no more
MAX_FEATURES = 12000
KIND = f"reference {WORKING_SIDE} {MAX_FEATURES}"  # of what a cache keeps
SMALLEST = 16  # pixels: below this side there is nothing that a feature could hold on to
SOFTEN = 1.15  # filter a little below the output's resolution: aliasing costs more than softness
MAX_COPIES = 4  # prefiltered copies of a reference, each at most as large as the reference


class PrefilteredCache:
    """Prefiltered copies of one reference, by zoom: MAX_COPIES at most. Thread-safe.

    When pickled or copied it starts empty: every copy can be computed again.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.copies: dict[float, Pixels] = {}

    def __len__(self) -> int:
        return len(self.copies)

    def __reduce__(self) -> tuple[type[PrefilteredCache], tuple[()]]:
        return PrefilteredCache, ()

    @property
    def nbytes(self) -> int:
        """Bytes of all copies."""
        with self.lock:
            return sum(copy.nbytes for copy in self.copies.values())

    def get(self, zoom: float) -> Pixels | None:
        """The copy for ``zoom``, or None."""
        with self.lock:
            return self.copies.get(zoom)

    def put(self, zoom: float, copy: Pixels) -> Pixels:
        """Add a copy and return it, or the one that another thread added first."""
        with self.lock:
            if zoom not in self.copies and len(self.copies) >= MAX_COPIES:
                self.copies.clear()
            return self.copies.setdefault(zoom, copy)

    def clear(self) -> None:
        """Drop all copies."""
        with self.lock:
            self.copies.clear()


@dataclass
class Reference:
    """A reference photo with what can be computed before any input is known."""

    pixels: NDArray[np.uint8]  # HWC RGB
    features: Features  # in reference pixels
    grays: list[NDArray[np.uint8]] = field(repr=False)  # luma, each half the size of the one before
    levels: list[NDArray[np.uint8]] = field(repr=False)  # RGB, likewise; levels[0] is pixels
    filtered: PrefilteredCache = field(default_factory=PrefilteredCache, repr=False)
    # 255 where the reference shows anything, like ``grays``; empty where it does so everywhere
    shown: list[NDArray[np.uint8]] = field(default_factory=list[NDArray[np.uint8]], repr=False)

    @property
    def blank(self) -> bool:
        """Whether it is transparent all over."""
        return bool(self.shown) and not any(mask.any() for mask in self.shown)

    def prefiltered(self, zoom: float) -> tuple[NDArray[np.uint8], int]:
        """RGB to sample at ``zoom`` reference pixels per output pixel, and its pyramid level.

        The rest of the zoom that halving leaves over (up to 2) is filtered with the cubic kernel of
        ``imresize``, stretched by it and not subsampled. Kept for the next input.
        """
        zoom = max(1.0, 2.0 ** (round(8 * np.log2(max(SOFTEN * zoom, 1.0))) / 8))
        level = min(int(np.log2(zoom) + 1e-6), len(self.levels) - 1)
        stretch = zoom / 2**level
        if stretch <= 1.0:
            return self.levels[level], level
        found = self.filtered.get(zoom)
        if found is None:
            half = int(np.ceil(2 * stretch))
            kernel = cubic(np.arange(-half, half + 1) / stretch).astype(np.float32)
            kernel /= kernel.sum()
            filtered = cv2.sepFilter2D(
                self.levels[level], -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE
            )
            found = self.filtered.put(zoom, cast(Pixels, filtered))
        return found, level


def prepare_reference(
    pixels: NDArray[np.uint8],
    alpha: NDArray[np.uint8] | NDArray[np.uint16] | None = None,
    features: Features | None = None,
) -> Reference:
    """Find the features of a reference (HWC RGB uint8, any size) and build its pyramid.

    ``alpha`` (HW): where it is 0 nothing is shown, whatever the pixels hold. ``features``: those of
    the same pixels and alpha, where they are known.
    """
    pixels, mask = without_hidden(np.ascontiguousarray(pixels), alpha)
    levels = [pixels]
    while max(levels[-1].shape[:2]) >= 256 and min(levels[-1].shape[:2]) >= 4:
        levels.append(halve(levels[-1]))
    grays = [cast(NDArray[np.uint8], cv2.cvtColor(level, cv2.COLOR_RGB2GRAY)) for level in levels]
    if features is None and min(pixels.shape[:2]) >= SMALLEST:
        ratio = max(1.0, max(pixels.shape[:2]) / WORKING_SIDE)
        features = matching.detect(shrunk_by(grays, ratio), ratio, MAX_FEATURES)
    shown: list[NDArray[np.uint8]] = []
    if mask is not None:
        sizes = [(gray.shape[1], gray.shape[0]) for gray in grays]
        smaller = [cv2.resize(mask, size, interpolation=cv2.INTER_AREA) for size in sizes]
        shown = [np.asarray(one, np.uint8) for one in smaller]
    return Reference(pixels, features or matching.NO_FEATURES, grays, levels, shown=shown)


def without_hidden(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Pixels (HWC) with the mean of what is shown where ``alpha`` (HW) is 0, and what is shown.

    The latter is 255 there and 0 elsewhere; None, and the same pixels, where nothing is hidden.
    """
    if alpha is None or alpha.all():
        return pixels, None
    shown = alpha > 0
    mean = pixels[shown].mean(axis=0) if shown.any() else np.full(3, 128.0)
    filled = np.where(shown[..., None], pixels, np.rint(mean).astype(np.uint8))
    return np.ascontiguousarray(filled), shown.astype(np.uint8) * np.uint8(255)


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Half the size, antialiased; an odd last row or column is dropped: the ratio stays 2."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    kernel = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256  # MATLAB's
    padded = cv2.copyMakeBorder(image[:height, :width], 3, 4, 3, 4, cv2.BORDER_REPLICATE)
    blurred = cv2.sepFilter2D(padded, -1, kernel, kernel, anchor=(0, 0))
    return cast(NDArray[np.uint8], np.ascontiguousarray(blurred[:height:2, :width:2]))


def shrunk_by(grays: list[NDArray[np.uint8]], ratio: float) -> NDArray[np.uint8]:
    """The first image of a pyramid shrunk by ``ratio`` >= 1, from the nearest finer level."""
    level = min(int(np.log2(ratio)), len(grays) - 1)
    rest = ratio / 2**level
    if rest <= 1.0:
        return grays[level]
    gray = cv2.GaussianBlur(grays[level], (0, 0), 0.5 * rest)
    height, width = gray.shape
    matrix = np.array([[rest, 0, rest / 2 - 0.5], [0, rest, rest / 2 - 0.5]])
    return cast(
        NDArray[np.uint8],
        cv2.warpAffine(
            gray,
            matrix,
            (max(1, int(width / rest)), max(1, int(height / rest))),
            flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
    )


def warped_gray(xy_ref: Field, reference: Reference) -> Image:
    """The reference's luma as the LR camera would see it: (h, w) float32 0..255."""
    level = pyramid_level(zoom_of(xy_ref), len(reference.grays))
    return shrunk_warp(reference.grays[level], at_level(xy_ref, level))


def seen(xy_ref: Field, reference: Reference) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) leads to what the reference shows, an LR pixel within its edge."""
    if not reference.shown:
        return np.ones(xy_ref.shape[:2], np.bool_)
    level = pyramid_level(zoom_of(xy_ref), len(reference.shown))
    mask = shrunk_warp(reference.shown[level], at_level(xy_ref, level))
    whole = cv2.erode((mask > 254).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(whole, np.bool_).repeat(FIELD, axis=0).repeat(FIELD, axis=1)


def zoom_of(xy_ref: Field, where: NDArray[np.bool_] | None = None) -> float:
    """Median reference pixels per HR pixel, over the pixels ``where`` if there are any."""
    areas = np.abs(area_ratio(xy_ref))
    area = float(np.median(areas[where] if where is not None and where.any() else areas))
    return max(area, 1e-6) ** 0.5 * FIELD / SCALE


def pyramid_level(zoom: float, count: int) -> int:
    """The coarsest level that still has about one pixel or more per HR pixel."""
    return int(np.clip(np.floor(np.log2(max(zoom, 1e-6)) + 0.25), 0, count - 1))


def at_level(xy_ref: Field, level: int) -> Field:
    """Reference coordinates in the pixels of a pyramid level."""
    return (xy_ref + np.float32(0.5)) / np.float32(2**level) - np.float32(0.5)
