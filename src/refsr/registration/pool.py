"""Retrieval: of many references, the few that show a photo are selected by their thumbnails.

Every reference is decoded once, at thumbnail size, and only some of its features are stored. A
photo to upscale is matched against those; the candidates that together cover most of it, at the
finest resolution, are then decoded at full size and registered. Memory grows by 0.2 MB per
reference of the pool; only the candidates are held at full size.
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
from refsr.image.decode import check_cost, open_image, plain_errors
from refsr.image.photo import Source, load_photo
from refsr.registration import matching
from refsr.registration.feature_cache import CachedFeatures, FeatureCache
from refsr.registration.flow import luma
from refsr.registration.geometry import Geometry, detect_lr_features, enlargement, initial_geometry
from refsr.registration.matching import Features
from refsr.registration.reference import fill_transparent
from refsr.resize import SCALE

MIN_POOL_SIZE = 9  # references; fewer are all registered, without a pool
MAX_CANDIDATES = 6  # references that are registered at most
MAX_CANDIDATE_PIXELS = 80_000_000  # of all together; the best is taken whatever its size
THUMBNAIL = 640  # pixels, the long side
FEATURES = 800  # of a thumbnail, at most
CACHE_KIND = f"thumbnail {THUMBNAIL} {FEATURES}"  # names these features in a FeatureCache
PHOTO_FEATURES = 1500  # of the photo, at most; the largest suffice
RATIO = 0.85  # of Lowe's test, as in register.py
THRESHOLD = 1.5  # LR px: thumbnails are no finer than the photo
CELLS = 12  # of the coverage maps, along the photo's long side
MIN_CANDIDATES = 2  # where fewer have a geometry, those with the most matches are registered too
MIN_ADDED_COVERAGE = 0.02  # of the photo: mean coverage that a further candidate has to add


@dataclass(frozen=True)
class ThumbnailFeatures:
    """The features of a reference's thumbnail. ``problem`` says why it cannot be used, if so."""

    source: Source
    name: str
    features: Features  # in thumbnail pixels; descriptors are kept as float16
    shrink: float = 1.0  # pixels of the reference per pixel of the thumbnail
    pixels: int = 0  # of the reference
    problem: str = ""


@dataclass(frozen=True)
class ThumbnailMatch:
    """How a thumbnail matches a photo."""

    matches: int
    coverage: Image  # (rows, cols) 0..1: 1 where it shows a cell of the photo at HR or finer


@dataclass(frozen=True)
class Selection:
    """Which references of a pool are registered, best first, and why the others are not."""

    chosen: tuple[int, ...]
    reasons: dict[int, str]


@dataclass(frozen=True)
class ReferencePool:
    """The thumbnail features of many references."""

    thumbnails: tuple[ThumbnailFeatures, ...]

    def select(self, lr: NDArray[np.uint8]) -> Selection:
        """Select the references to register to ``lr`` (h, w, 3) RGB uint8. Deterministic."""
        height, width = lr.shape[:2]
        gray = luma(lr)
        features = detect_lr_features(gray, enlargement(height, width))
        features = largest_features(features, PHOTO_FEATURES)
        matched = {
            index: match_thumbnail(features, (height, width), thumbnail)
            for index, thumbnail in enumerate(self.thumbnails)
            if not thumbnail.problem
        }
        pixels = {index: self.thumbnails[index].pixels for index in matched}
        chosen = select_candidates(matched, pixels)
        reasons = {
            i: thumbnail.problem for i, thumbnail in enumerate(self.thumbnails) if thumbnail.problem
        }
        for index, found in matched.items():
            if index not in chosen:
                reasons[index] = (
                    "others show as much" if found.coverage.any() else "could not be matched"
                )
        return Selection(chosen, reasons)


def build_pool(
    sources: Sequence[Source],
    max_pixels: int,
    optional: bool = True,
    progress: Callable[[float], None] | None = None,
    cache: FeatureCache | None = None,
) -> ReferencePool:
    """Extract the thumbnail features of every source.

    ``optional``: a file that cannot be read is left out with its reason, as in a folder of photos;
    otherwise, and where none can be read, the first PhotoError is raised. ``progress`` is called
    with the finished share, 0..1. Features found in ``cache`` are not computed again.
    """
    thumbnails: list[ThumbnailFeatures] = []
    for number, source in enumerate(sources, start=1):
        try:
            thumbnails.append(extract_features(source, max_pixels, cache))
        except PhotoError as error:
            if not optional:
                raise
            name = source_name(source)
            thumbnails.append(
                ThumbnailFeatures(source, name, matching.NO_FEATURES, problem=str(error))
            )
        if progress:
            progress(number / len(sources))
    if all(thumbnail.problem for thumbnail in thumbnails):
        raise PhotoError(thumbnails[0].problem)
    return ReferencePool(tuple(thumbnails))


def source_name(source: Source) -> str:
    """The name of a reference in reports."""
    return Path(source).name if isinstance(source, str | os.PathLike) else "reference"


def extract_features(
    source: Source, max_pixels: int, cache: FeatureCache | None = None
) -> ThumbnailFeatures:
    """The features of a reference's thumbnail, from ``cache`` if it has them. Raises PhotoError."""
    entry = cache.entry(source, CACHE_KIND) if cache else None
    cached = entry.read() if entry else None
    if cached and cached.pixels <= max_pixels:
        features = with_float16_descriptors(cached.features)
        name = source_name(source)
        return ThumbnailFeatures(source, name, features, cached.shrink, cached.pixels)
    small, pixels = load_thumbnail(source, max_pixels)
    gray = np.clip(luma(small) + 0.5, 0, 255).astype(np.uint8)
    features = with_float16_descriptors(matching.detect(gray, 1.0, FEATURES))
    shrink = (pixels / (small.shape[0] * small.shape[1])) ** 0.5
    if entry:
        entry.write(CachedFeatures(features, shrink, pixels))
    return ThumbnailFeatures(source, source_name(source), features, shrink, pixels)


def with_float16_descriptors(features: Features) -> Features:
    """The features with descriptors as float16, half the memory; they are exact in it."""
    return replace(features, descriptor=features.descriptor.astype(np.float16))


def load_thumbnail(source: Source, max_pixels: int) -> tuple[NDArray[np.uint8], int]:
    """A photo (h, w, 3) RGB uint8 of at most THUMBNAIL pixels a side, and its full pixel count.

    JPEG files are decoded at reduced size. Raises PhotoError.
    """
    photo = None
    pixels = 0
    if isinstance(source, str | os.PathLike) and Path(source).is_file():
        name = os.fspath(source)
        with plain_errors(name), Path(source).open("rb") as file:
            image = open_image(file, name)
            check_cost(image, file, name, max_pixels)
            if image.format in ("JPEG", "MPO"):
                pixels = image.width * image.height
                image.draft("RGB", (THUMBNAIL, THUMBNAIL))
                with suppress(PhotoError):  # decoding at full size, below, raises the right one
                    photo = load_photo(image, max_pixels=max_pixels)
    if photo is None:
        photo = load_photo(source, max_pixels=max_pixels)
        pixels = photo.width * photo.height
    shrink = THUMBNAIL / max(photo.width, photo.height)
    small, _ = fill_transparent(photo.as_uint8(), photo.alpha)
    if shrink < 1.0:
        size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
        small = np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, pixels


def largest_features(features: Features, limit: int) -> Features:
    """At most ``limit`` features: the largest, which a thumbnail still resolves."""
    if len(features.xy) <= limit:
        return features
    best = np.sort(np.argsort(-features.size, kind="stable")[:limit])
    return Features(*(part[best] for part in vars(features).values()))


def match_thumbnail(
    features: Features, size: tuple[int, int], thumbnail: ThumbnailFeatures
) -> ThumbnailMatch:
    """Match a thumbnail to a photo with ``features``, of ``size`` (height, width) in LR px."""
    cell = max(1.0, max(size) / CELLS)
    cells = np.zeros([max(1, round(side / cell)) for side in size], np.float32)
    descriptor = thumbnail.features.descriptor.astype(np.float32)
    theirs = replace(thumbnail.features, descriptor=descriptor)
    pairs = matching.match(features, theirs, RATIO)
    geometry = initial_geometry(features, theirs, pairs, THRESHOLD)
    if geometry is None:
        matches = int(matching.similar_pose(features, theirs, pairs).sum()) if len(pairs) else 0
        return ThumbnailMatch(matches, cells)
    return ThumbnailMatch(len(pairs), cell_coverage(geometry, cells, size, thumbnail.shrink))


def cell_coverage(geometry: Geometry, cells: Image, size: tuple[int, int], shrink: float) -> Image:
    """Coverage (rows, cols) 0..1: cells with inliers and their neighbours, times the resolution.

    The resolution is that of the full reference, in reference pixels per HR pixel, at most 1.
    """
    rows, cols = cells.shape
    y = np.clip(geometry.xy_lr[:, 1] * rows / size[0], 0, rows - 1).astype(int)
    x = np.clip(geometry.xy_lr[:, 0] * cols / size[1], 0, cols - 1).astype(int)
    cells = cells.copy()
    cells[y, x] = 1.0
    fineness = min(1.0, geometry.zoom * shrink / SCALE)
    around = np.asarray(cv2.blur(np.asarray(cv2.dilate(cells, np.ones((3, 3), np.uint8))), (3, 3)))
    return (around * fineness).astype(np.float32)


def select_candidates(
    matched: dict[int, ThumbnailMatch], pixels: dict[int, int]
) -> tuple[int, ...]:
    """Greedy set cover: the references that together cover most of the photo, best first."""
    chosen: list[int] = []
    total = 0
    if not matched:
        return ()
    covered = np.zeros_like(next(iter(matched.values())).coverage)
    rest = {index: found for index, found in matched.items() if found.coverage.any()}
    while rest and len(chosen) < MAX_CANDIDATES:
        # By added coverage; of two that add the same, the one that covers more in total.
        added = {i: float(np.maximum(m.coverage - covered, 0).mean()) for i, m in rest.items()}
        best = max(rest, key=lambda i: (round(added[i], 3), float(rest[i].coverage.mean()), -i))
        fits = not chosen or total + pixels[best] <= MAX_CANDIDATE_PIXELS
        if added[best] < MIN_ADDED_COVERAGE and chosen and len(chosen) >= MIN_CANDIDATES:
            break
        found = rest.pop(best)
        if fits:
            chosen.append(best)
            total += pixels[best]
            covered = np.maximum(covered, found.coverage)
    by_matches = sorted(matched, key=lambda i: (-matched[i].matches, i))
    others = [i for i in by_matches if i not in chosen]
    for index in others[: max(0, MIN_CANDIDATES - len(chosen))]:
        if not chosen or total + pixels[index] <= MAX_CANDIDATE_PIXELS:
            chosen.append(index)
            total += pixels[index]
    return tuple(chosen)
