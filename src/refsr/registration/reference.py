"""A reference photo, prepared once for many inputs: pyramids, features and valid area."""

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
from refsr.registration.warp import FIELD_SCALE, Field, area_ratio, warp_to_lr
from refsr.resize import SCALE, cubic

WORKING_SIDE = 1200  # pixels: a larger reference is shrunk to it before detection
MAX_FEATURES = 12000
CACHE_KIND = f"reference cleaned {WORKING_SIDE} {MAX_FEATURES}"  # names these in a FeatureCache
SMALLEST = 16  # pixels a side: a smaller reference has no usable features
SOFTENING = 1.15  # filter slightly below the output's resolution: aliasing costs more than blur
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
    """A reference photo with what does not depend on the input. Threads may share it."""

    pixels: NDArray[np.uint8]  # HWC RGB
    features: Features  # in reference pixels
    grays: list[NDArray[np.uint8]] = field(repr=False)  # luma pyramid, halved from level to level
    levels: list[NDArray[np.uint8]] = field(repr=False)  # RGB pyramid; levels[0] is pixels
    filtered: PrefilteredCache = field(default_factory=PrefilteredCache, repr=False)
    # mask pyramid of the valid area, 255 where alpha is above 0; empty if that is everywhere
    valid_masks: list[NDArray[np.uint8]] = field(
        default_factory=list[NDArray[np.uint8]], repr=False
    )

    @property
    def blank(self) -> bool:
        """Whether it is fully transparent."""
        return bool(self.valid_masks) and not any(mask.any() for mask in self.valid_masks)

    def prefiltered(self, zoom: float) -> tuple[NDArray[np.uint8], int]:
        """RGB to sample at ``zoom`` reference pixels per output pixel, and its pyramid level.

        The factor that remains after halving (up to 2) is filtered with the cubic kernel of
        ``imresize``, stretched by that factor, without subsampling. Cached for the next input.
        """
        zoom = max(1.0, 2.0 ** (round(8 * np.log2(max(SOFTENING * zoom, 1.0))) / 8))
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
    """Detect the features of a reference (HWC RGB uint8, any size) and build its pyramids.

    ``alpha`` (HW): pixels where it is 0 are not used. ``features``: those of the same pixels and
    alpha, if they are known.
    """
    pixels, mask = fill_transparent(np.ascontiguousarray(pixels), alpha)
    levels = [pixels]
    while max(levels[-1].shape[:2]) >= 256 and min(levels[-1].shape[:2]) >= 4:
        levels.append(halve(levels[-1]))
    grays = [cast(NDArray[np.uint8], cv2.cvtColor(level, cv2.COLOR_RGB2GRAY)) for level in levels]
    if features is None and min(pixels.shape[:2]) >= SMALLEST:
        ratio = max(1.0, max(pixels.shape[:2]) / WORKING_SIDE)
        features = matching.detect(shrink_from_pyramid(grays, ratio), ratio, MAX_FEATURES)
    masks: list[NDArray[np.uint8]] = []
    if mask is not None:
        sizes = [(gray.shape[1], gray.shape[0]) for gray in grays]
        smaller = [cv2.resize(mask, size, interpolation=cv2.INTER_AREA) for size in sizes]
        masks = [np.asarray(one, np.uint8) for one in smaller]
    return Reference(pixels, features or matching.NO_FEATURES, grays, levels, valid_masks=masks)


def softened(reference: Reference, amount: float, sigma: float) -> Reference:
    """A reference less ``amount`` (0..1) of what is finer than a Gaussian of ``sigma`` pixels.

    That undoes a sharpening. Its features stay where they are.
    """
    blurred = cv2.GaussianBlur(reference.pixels, (0, 0), sigma)
    levels = [cast(Pixels, cv2.addWeighted(reference.pixels, 1 - amount, blurred, amount, 0))]
    for _ in reference.levels[1:]:
        levels.append(halve(levels[-1]))
    grays = [cast(Pixels, cv2.cvtColor(level, cv2.COLOR_RGB2GRAY)) for level in levels]
    return Reference(
        levels[0], reference.features, grays, levels, valid_masks=reference.valid_masks
    )


def fill_transparent(
    pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | NDArray[np.uint16] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """Replace transparent pixels (``alpha`` 0, HW) by the mean of the others: pixels (HWC), mask.

    The mask is 255 where alpha is above 0, else 0. If nothing is transparent: the same pixels, and
    None.
    """
    if alpha is None or alpha.all():
        return pixels, None
    valid = alpha > 0
    mean = pixels[valid].mean(axis=0) if valid.any() else np.full(3, 128.0)
    filled = np.where(valid[..., None], pixels, np.rint(mean).astype(np.uint8))
    return np.ascontiguousarray(filled), valid.astype(np.uint8) * np.uint8(255)


def halve(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink by 2, antialiased; an odd last row or column is dropped to keep the ratio exact."""
    height, width = image.shape[0] // 2 * 2, image.shape[1] // 2 * 2
    kernel = np.array([-3, -9, 29, 111, 111, 29, -9, -3], np.float32) / 256  # MATLAB's
    padded = cv2.copyMakeBorder(image[:height, :width], 3, 4, 3, 4, cv2.BORDER_REPLICATE)
    blurred = cv2.sepFilter2D(padded, -1, kernel, kernel, anchor=(0, 0))
    return cast(NDArray[np.uint8], np.ascontiguousarray(blurred[:height:2, :width:2]))


def shrink_from_pyramid(grays: list[NDArray[np.uint8]], ratio: float) -> NDArray[np.uint8]:
    """The first image of a pyramid shrunk by ``ratio`` >= 1, made from the nearest finer level."""
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


def warp_gray_to_lr(xy_ref: Field, reference: Reference) -> Image:
    """The reference's luma warped to the input's frame and shrunk: (h, w) float32 0..255."""
    level = pyramid_level(median_zoom(xy_ref), len(reference.grays))
    return warp_to_lr(reference.grays[level], to_level(xy_ref, level))


def inside_valid_area(xy_ref: Field, reference: Reference) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) points into the valid area, an LR pixel from its edge: (2h, 2w)."""
    if not reference.valid_masks:
        return np.ones(xy_ref.shape[:2], np.bool_)
    level = pyramid_level(median_zoom(xy_ref), len(reference.valid_masks))
    mask = warp_to_lr(reference.valid_masks[level], to_level(xy_ref, level))
    whole = cv2.erode((mask > 254).astype(np.uint8), np.ones((3, 3), np.uint8))
    return np.asarray(whole, np.bool_).repeat(FIELD_SCALE, axis=0).repeat(FIELD_SCALE, axis=1)


def median_zoom(xy_ref: Field, where: NDArray[np.bool_] | None = None) -> float:
    """Median reference pixels per HR pixel of a field (2h, 2w, 2), over the pixels ``where``.

    ``where`` (2h, 2w); over all pixels if it is None or empty.
    """
    areas = np.abs(area_ratio(xy_ref))
    area = float(np.median(areas[where] if where is not None and where.any() else areas))
    return max(area, 1e-6) ** 0.5 * FIELD_SCALE / SCALE


def pyramid_level(zoom: float, count: int) -> int:
    """The coarsest pyramid level that still has about one pixel or more per HR pixel."""
    return int(np.clip(np.floor(np.log2(max(zoom, 1e-6)) + 0.25), 0, count - 1))


def to_level(xy_ref: Field, level: int) -> Field:
    """Reference coordinates converted to the pixels of a pyramid level."""
    return (xy_ref + np.float32(0.5)) / np.float32(2**level) - np.float32(0.5)
