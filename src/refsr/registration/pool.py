"""Albums: of many references, the few that show a photo are found by their thumbnails.

Every photo of an album is decoded once, small, and only some features of it are kept. A photo to
upscale is matched against those; the candidates that together show most of it, and show it finest,
are then decoded at full size and registered. Memory grows by 0.2 MB a photo of the album, and by
the candidates alone at full size.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.errors import PhotoError
from refsr.image.decode import check_size, open_image, plain_errors
from refsr.image.photo import Source, load_photo
from refsr.registration import matching
from refsr.registration.feature_cache import FeatureCache, Kept
from refsr.registration.flow import luma
from refsr.registration.geometry import Geometry, enlargement, first_geometry, input_features
from refsr.registration.matching import Features
from refsr.registration.reference import without_hidden
from refsr.resize import SCALE

MIN_POOL_SIZE = 9  # references: fewer are all registered
MOST = 6  # candidates that are registered
MOST_PIXELS = 80_000_000  # of all candidates together; the first is taken whatever its size
THUMBNAIL = 640  # pixels, the long side
FEATURES = 800  # of a thumbnail
KIND = f"thumbnail {THUMBNAIL} {FEATURES}"  # of what a cache keeps
PHOTO_FEATURES = 1500  # of the photo: the strongest are enough to tell
RATIO = 0.85  # Lowe's ratio, as in registration
THRESHOLD = 1.5  # LR px: thumbnails are no finer than the photo
CELLS = 12  # along the photo's long side: where a candidate shows it is noted in such cells
GUESSES = 2  # without a geometry the best by mere matches are tried, too
WORTH = 0.02  # share of the photo that a further candidate has to add, or show finer


@dataclass(frozen=True)
class ThumbnailFeatures:
    """A reference seen small. ``problem`` says why it cannot be used, if so."""

    source: Source
    name: str
    features: Features  # in thumbnail pixels; descriptors are kept as float16
    shrink: float = 1.0  # pixels of the photo per pixel of the thumbnail
    pixels: int = 0  # of the photo
    problem: str = ""


@dataclass(frozen=True)
class Seen:
    """What a glimpse shows of a photo."""

    matches: int
    cells: Image  # (rows, cols) 0..1: shown there, and how finely


@dataclass(frozen=True)
class Selection:
    """Which photos of an album are registered, best first, and why each other one is not."""

    chosen: tuple[int, ...]
    reasons: dict[int, str]


@dataclass(frozen=True)
class ReferencePool:
    """Many references, seen small."""

    thumbnails: tuple[ThumbnailFeatures, ...]

    def select(self, lr: NDArray[np.uint8]) -> Selection:
        """Choose the references of ``lr`` (h, w, 3) RGB uint8. Deterministic."""
        height, width = lr.shape[:2]
        gray = luma(lr)
        features = strongest(input_features(gray, enlargement(height, width)), PHOTO_FEATURES)
        seen = {
            index: look(features, (height, width), glimpse)
            for index, glimpse in enumerate(self.thumbnails)
            if not glimpse.problem
        }
        chosen = choose(seen, {index: self.thumbnails[index].pixels for index in seen})
        reasons = {
            i: glimpse.problem for i, glimpse in enumerate(self.thumbnails) if glimpse.problem
        }
        for index, what in seen.items():
            if index not in chosen:
                reasons[index] = (
                    "others show as much" if what.cells.any() else "shows something else"
                )
        return Selection(chosen, reasons)


def build_pool(
    sources: Sequence[Source],
    max_pixels: int,
    optional: bool = True,
    progress: Callable[[float], None] | None = None,
    cache: FeatureCache | None = None,
) -> ReferencePool:
    """Look at every source once, small.

    ``optional``: a file that cannot be read is left out with its reason, as in a folder of photos;
    otherwise, and where none can be read, the first problem is raised: PhotoError. ``progress`` is
    called with the finished share, 0..1. What ``cache`` keeps is not computed again.
    """
    thumbnails: list[ThumbnailFeatures] = []
    for number, source in enumerate(sources, start=1):
        try:
            thumbnails.append(glimpse_of(source, max_pixels, cache))
        except PhotoError as error:
            if not optional:
                raise
            name = name_of(source)
            thumbnails.append(
                ThumbnailFeatures(source, name, matching.NO_FEATURES, problem=str(error))
            )
        if progress:
            progress(number / len(sources))
    if all(glimpse.problem for glimpse in thumbnails):
        raise PhotoError(thumbnails[0].problem)
    return ReferencePool(tuple(thumbnails))


def name_of(source: Source) -> str:
    """What a reference is called in reports."""
    return Path(source).name if isinstance(source, str | os.PathLike) else "reference"


def glimpse_of(
    source: Source, max_pixels: int, cache: FeatureCache | None = None
) -> ThumbnailFeatures:
    """A reference seen small. Raises PhotoError."""
    entry = cache.entry(source, KIND) if cache else None
    kept = entry.read() if entry else None
    if kept and kept.pixels <= max_pixels:
        features = small_in_memory(kept.features)
        return ThumbnailFeatures(source, name_of(source), features, kept.shrink, kept.pixels)
    small, pixels = thumbnail(source, max_pixels)
    gray = np.clip(luma(small) + 0.5, 0, 255).astype(np.uint8)
    features = small_in_memory(matching.detect(gray, 1.0, FEATURES))
    shrink = (pixels / (small.shape[0] * small.shape[1])) ** 0.5
    if entry:
        entry.write(Kept(features, shrink, pixels))
    return ThumbnailFeatures(source, name_of(source), features, shrink, pixels)


def small_in_memory(features: Features) -> Features:
    """The same, their descriptors as float16: nothing is lost."""
    return replace(features, descriptor=features.descriptor.astype(np.float16))


def thumbnail(source: Source, max_pixels: int) -> tuple[NDArray[np.uint8], int]:
    """A photo at most THUMBNAIL pixels long, RGB uint8, and how many pixels it has in full.

    JPEG files are decoded small to begin with. Raises PhotoError.
    """
    photo = None
    pixels = 0
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        name = os.fspath(source)
        with plain_errors(name), Path(source).open("rb") as file:
            image = open_image(file, name)
            check_size(image, name, max_pixels)
            if image.format in ("JPEG", "MPO"):
                pixels = image.width * image.height
                image.draft("RGB", (THUMBNAIL, THUMBNAIL))
                with suppress(PhotoError):  # what is wrong with the file is said of the whole one
                    photo = load_photo(image, max_pixels=max_pixels)
    if photo is None:
        photo = load_photo(source, max_pixels=max_pixels)
        pixels = photo.width * photo.height
    shrink = THUMBNAIL / max(photo.width, photo.height)
    small, _ = without_hidden(photo.as_uint8(), photo.alpha)
    if shrink < 1.0:
        size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, pixels


def strongest(features: Features, limit: int) -> Features:
    """At most ``limit`` features: the largest, which a thumbnail shows, too."""
    if len(features.xy) <= limit:
        return features
    best = np.sort(np.argsort(-features.size, kind="stable")[:limit])
    return Features(*(part[best] for part in vars(features).values()))


def look(features: Features, size: tuple[int, int], glimpse: ThumbnailFeatures) -> Seen:
    """What a glimpse shows of the photo (height, width in LR px) with these ``features``."""
    cell = max(1.0, max(size) / CELLS)
    cells = np.zeros([max(1, round(side / cell)) for side in size], np.float32)
    theirs = replace(glimpse.features, descriptor=glimpse.features.descriptor.astype(np.float32))
    pairs = matching.match(features, theirs, RATIO)
    geometry = first_geometry(features, theirs, pairs, THRESHOLD)
    if geometry is None:
        matches = int(matching.similar_pose(features, theirs, pairs).sum()) if len(pairs) else 0
        return Seen(matches, cells)
    return Seen(len(pairs), shown_cells(geometry, cells, size, glimpse.shrink))


def shown_cells(geometry: Geometry, cells: Image, size: tuple[int, int], shrink: float) -> Image:
    """Where inliers lie, and around them: how finely the full photo shows each cell, 0..1."""
    rows, cols = cells.shape
    y = np.clip(geometry.xy_lr[:, 1] * rows / size[0], 0, rows - 1).astype(int)
    x = np.clip(geometry.xy_lr[:, 0] * cols / size[1], 0, cols - 1).astype(int)
    cells = cells.copy()
    cells[y, x] = 1.0
    fineness = min(1.0, geometry.zoom * shrink / SCALE)  # reference pixels per HR pixel
    around = np.asarray(cv2.blur(np.asarray(cv2.dilate(cells, np.ones((3, 3), np.uint8))), (3, 3)))
    return (around * fineness).astype(np.float32)


def choose(seen: dict[int, Seen], pixels: dict[int, int]) -> tuple[int, ...]:
    """The thumbnails that together show most of the photo, one after the other, best first."""
    chosen: list[int] = []
    total = 0
    if not seen:
        return ()
    shown = np.zeros_like(next(iter(seen.values())).cells)
    rest = {index: what for index, what in seen.items() if what.cells.any()}
    while rest and len(chosen) < MOST:
        # What is added counts most; of two that add the same, the one that shows more in all.
        added = {i: float(np.maximum(s.cells - shown, 0).mean()) for i, s in rest.items()}
        best = max(rest, key=lambda i: (round(added[i], 3), float(rest[i].cells.mean()), -i))
        fits = not chosen or total + pixels[best] <= MOST_PIXELS
        if added[best] < WORTH and chosen and len(chosen) >= GUESSES:
            break
        what = rest.pop(best)
        if fits:
            chosen.append(best)
            total += pixels[best]
            shown = np.maximum(shown, what.cells)
    unknown = [i for i in sorted(seen, key=lambda i: (-seen[i].matches, i)) if i not in chosen]
    for index in unknown[: max(0, GUESSES - len(chosen))]:
        if not chosen or total + pixels[index] <= MOST_PIXELS:
            chosen.append(index)
            total += pixels[index]
    return tuple(chosen)
