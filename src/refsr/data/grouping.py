"""Groups photos by scene: candidates are ranked by thumbnails and confirmed by registration.

All thumbnails are matched with each other by a few hundred SIFT features, about a millisecond a
pair; the best candidates of each photo are then registered, about a second a pair. Photos that
register, directly or through others, form a scene.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.errors import RefsrError
from refsr.image.photo import load_photo
from refsr.registration import matching
from refsr.registration.matching import Features, Points
from refsr.registration.register import CONSISTENT, Registration, prepare_reference, register
from refsr.registration.warp import FIELD_SCALE, grid
from refsr.resize import SCALE, imresize

WORKING_SIDE = 1000  # pixels: longer photos are shrunk to this long side, as in training
THUMBNAIL_SIDE = 400
THUMBNAIL_FEATURES = 400
RATIO = 0.85  # of Lowe's ratio test between thumbnails
MIN_VOTES = 6  # matches of two thumbnails that agree in zoom and rotation
MANY_VOTES = 25  # rarely reached by unrelated photos: then both directions are tried
MAX_CANDIDATES = 8  # photos that each photo is registered with
MIN_COVERAGE = 0.04  # share of the photo that must be explained; unrelated photos stay below it
MIN_INLIERS = 16
MIN_SIDE = 128  # pixels: a training patch

# The kinds of pairs, by the rules of research/make_validation_csv.py, in their order.
ZOOM = 1.25
SMALL_OVERLAP = 0.5
FORESHORTENING = 1.15
PARALLAX = 0.04  # of the photo's diagonal
LARGE_OVERLAP = 0.85
SIMILARITY = 0.005  # of the photo's diagonal
MAX_POINTS = 2000  # of the correspondence field that the geometry is fitted to

Progress = Callable[[float], None]


@dataclass(frozen=True)
class View:
    """What is kept of each photo during grouping."""

    path: Path
    lr: NDArray[np.uint8]  # HWC RGB, a quarter of the working size
    size: tuple[int, int]  # working width and height
    shrink: float  # working size over the file's size
    thumbnail: Features


@dataclass(frozen=True)
class Link:
    """Two photos of the same place, and the kind of the pair in either direction."""

    first: Path
    second: Path
    kind: str  # with the first as input and the second as reference
    kind_back: str
    coverage: float  # share of the first that the second explains


def working_pixels(path: Path) -> tuple[NDArray[np.uint8], float]:
    """A photo at working size (HWC RGB uint8), and its shrink factor. Raises PhotoError."""
    pixels = load_photo(path).as_uint8()
    height, width = pixels.shape[:2]
    shrink = min(1.0, WORKING_SIDE / max(height, width))
    if shrink < 1.0:
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return pixels, shrink


def load_view(path: Path) -> View | str:
    """Read a photo and its thumbnail features, or say in one sentence why it cannot be used."""
    try:
        pixels, shrink = working_pixels(path)
    except RefsrError as error:
        return str(error)
    height, width = pixels.shape[:2]
    if min(height, width) < MIN_SIDE:
        return f"{path} has {width} x {height} pixels; at least {MIN_SIDE} a side are needed."
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    ratio = max(1.0, max(height, width) / THUMBNAIL_SIDE)
    small = cv2.resize(gray, None, fx=1 / ratio, fy=1 / ratio, interpolation=cv2.INTER_AREA)
    features = matching.detect(np.asarray(small, np.uint8), ratio, THUMBNAIL_FEATURES)
    return View(path, imresize(pixels, scale=1 / SCALE), (width, height), shrink, features)


def votes(a: Features, b: Features) -> int:
    """The number of matches of two thumbnails that agree in zoom and rotation."""
    pairs = matching.match(a, b, RATIO)
    return int(matching.similar_pose(a, b, pairs).sum()) if len(pairs) else 0


def candidates(views: list[View], progress: Progress | None = None) -> dict[tuple[int, int], int]:
    """Pairs of indices (i < j) to register, with their votes: each photo's best ones."""
    count = len(views)
    score = np.zeros((count, count), np.int32)
    for i in range(count):
        for j in range(i + 1, count):
            score[i, j] = score[j, i] = votes(views[i].thumbnail, views[j].thumbnail)
        if progress:
            progress((i + 1) / count)
    chosen: dict[tuple[int, int], int] = {}
    for i in range(count):
        best = np.argsort(-score[i], kind="stable")[:MAX_CANDIDATES].tolist()
        chosen |= {(min(i, j), max(i, j)): int(score[i, j]) for j in best}
    return {pair: count for pair, count in chosen.items() if count >= MIN_VOTES}


def overlap_share(homography: Points, size: tuple[int, int], other: tuple[int, int]) -> float:
    """Share of a photo of ``size`` (width, height) that maps inside one of size ``other``."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 40), np.linspace(0, size[1] - 1, 40))
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)]) @ homography.T
    in_front = points[:, 2] > 0
    mapped = points[:, :2] / np.where(in_front, points[:, 2], 1.0)[:, None]
    inside = (mapped >= 0).all(axis=1) & (mapped < np.array(other)).all(axis=1)
    return float((inside & in_front).mean())


def consistent_points(registration: Registration) -> tuple[Points, Points]:
    """Points of the input (N, 2), LR px, that the reference explains, and their matches there."""
    good = registration.validity * registration.consistency > CONSISTENT
    rows, columns = good.shape
    xy_lr = grid(slice(0, rows), slice(0, columns), 1 / FIELD_SCALE)[good]
    step = max(1, len(xy_lr) // MAX_POINTS)
    xy_ref = registration.xy_ref[good]
    return xy_lr[::step].astype(np.float64), xy_ref[::step].astype(np.float64)


def kinds(registration: Registration, view: View, other: View) -> tuple[str, str]:
    """The kind of the pair with ``view`` as input, and with ``other`` as input."""
    xy, xy_ref = consistent_points(registration)
    xy = (xy + 0.5) * SCALE - 0.5  # LR px to working px
    diagonal = float(np.hypot(*view.size))
    homography = matching.fit_homography(xy, xy_ref, 0.01 * diagonal)
    affine = cast(Points | None, cv2.estimateAffine2D(xy, xy_ref, method=cv2.LMEDS)[0])
    similarity = cast(Points | None, cv2.estimateAffinePartial2D(xy, xy_ref, method=cv2.LMEDS)[0])
    if homography is None or affine is None or similarity is None:
        return "strong", "strong"  # matched, but not by a plane
    zoom = registration.zoom * view.shrink / other.shrink  # at the files' sizes
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    off_plane = np.linalg.norm(matching.project(homography, xy) - xy_ref, axis=1) / scale
    mapped = xy @ similarity[:, :2].T + similarity[:, 2]
    off_similarity = np.linalg.norm(mapped - xy_ref, axis=1) / scale
    singular = np.linalg.svd(affine[:, :2], compute_uv=False)
    measures = (
        max(zoom, 1 / zoom),
        float(singular[0] / singular[1]),
        float(np.percentile(off_plane, 90)) / diagonal,
        float(np.median(off_similarity)) / diagonal,
    )
    back = np.linalg.inv(homography)
    back /= back[2, 2]
    return (
        kind_of(overlap_share(homography, view.size, other.size), *measures),
        kind_of(overlap_share(back, other.size, view.size), *measures),
    )


def kind_of(
    overlap: float, zoom: float, foreshortening: float, parallax: float, similarity: float
) -> str:
    """The kind of a pair: the first rule that holds. Lengths are shares of the diagonal."""
    if zoom >= ZOOM:
        return "zoomed"
    if overlap < SMALL_OVERLAP:
        return "small-overlap"
    if foreshortening >= FORESHORTENING or parallax >= PARALLAX:
        return "strong"
    if overlap >= LARGE_OVERLAP and similarity <= SIMILARITY:
        return "near-identical"
    return "moderate"


def link(view: View, other: View, registration: Registration) -> Link | None:
    """The link between two photos, or None where the registration is too weak to trust."""
    if not registration.matched or registration.inliers < MIN_INLIERS:
        return None
    if registration.coverage < MIN_COVERAGE:
        return None
    kind, kind_back = kinds(registration, view, other)
    return Link(view.path, other.path, kind, kind_back, registration.coverage)


def register_candidates(
    views: list[View],
    pairs: dict[tuple[int, int], int],
    known: dict[tuple[Path, Path], Link | None],
    record: Callable[[Path, Path, Link | None], None],
    progress: Progress | None = None,
) -> list[Link]:
    """Register every candidate pair that is not ``known``; ``record`` is called with each new link.

    The pairs of one reference are registered together, so that each photo is prepared once. Where
    the second covers too little of the first, as a close-up may, the first is tried as reference.
    """
    found: list[Link] = []
    ordered = sorted(pairs, key=lambda pair: (pair[1], pair[0]))
    prepared_for, prepared = -1, None
    for done, (i, j) in enumerate(ordered, start=1):
        key = (views[i].path, views[j].path)
        if key not in known:
            if prepared is None or prepared_for != j:
                prepared_for, prepared = j, prepare_reference(working_pixels(views[j].path)[0])
            registration = register(views[i].lr, prepared)
            known[key] = link(views[i], views[j], registration)
            promising = registration.matched or pairs[i, j] >= MANY_VOTES
            if known[key] is None and promising:
                other = prepare_reference(working_pixels(views[i].path)[0])
                known[key] = link(views[j], views[i], register(views[j].lr, other))
            record(*key, known[key])
        known_link = known[key]
        if known_link is not None:
            found.append(known_link)
        if progress:
            progress(done / len(ordered))
    return found


def components(paths: Iterable[Path], links: Iterable[Link]) -> list[list[Path]]:
    """The connected components of two or more photos, sorted."""
    group = {path: path for path in paths}

    def root(path: Path) -> Path:
        while group[path] != path:
            group[path] = group[group[path]]
            path = group[path]
        return path

    for edge in links:
        a, b = sorted((root(edge.first), root(edge.second)))
        group[b] = a
    members: dict[Path, list[Path]] = {}
    for path in sorted(group):
        members.setdefault(root(path), []).append(path)
    return [paths for paths in members.values() if len(paths) > 1]
