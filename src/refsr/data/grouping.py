"""Which photos of a pile show the same place: ranked by thumbnails, decided by registration.

Every photo gives a few hundred SIFT features of a thumbnail. All thumbnails are compared with each
other, which costs about a millisecond a pair; each photo's best candidates are then registered,
which costs about a second. Photos that register, directly or through others, are one scene.
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

WORKING_SIDE = 1000  # photos are looked at with at most this long side, as training shrinks them
THUMBNAIL_SIDE = 400
THUMBNAIL_FEATURES = 400
RATIO = 0.85  # Lowe's ratio between thumbnails
MIN_VOTES = 6  # matches of two thumbnails that agree in zoom and rotation
MANY_VOTES = 25  # hardly ever reached by unrelated photos: both directions are tried then
CANDIDATES = 8  # photos that each photo is registered with, at most
MIN_COVERAGE = 0.04  # share of the photo that must be explained; unrelated photos stay below it
MIN_INLIERS = 16
SMALLEST = 128  # pixels: a training patch

# How a pair is called, by the rules of research/make_validation_csv.py, in their order.
ZOOM = 1.25
SMALL_OVERLAP = 0.5
FORESHORTENING = 1.15
PARALLAX = 0.04  # of the photo's diagonal
LARGE_OVERLAP = 0.85
SIMILARITY = 0.005  # of the photo's diagonal
POINTS = 2000  # of the field that the geometry is measured on

Progress = Callable[[float], None]


@dataclass(frozen=True)
class View:
    """What is kept of a photo while the pile is looked through."""

    path: Path
    lr: NDArray[np.uint8]  # HWC RGB, a quarter of the working size
    size: tuple[int, int]  # working width and height
    shrunk: float  # working size over the file's own
    thumbnail: Features


@dataclass(frozen=True)
class Link:
    """Two photos that show the same place, and how the pair is called in either direction."""

    first: Path
    second: Path
    kind: str  # with the first as input and the second as reference
    kind_back: str
    coverage: float  # share of the first that the second explains


def working_pixels(path: Path) -> tuple[NDArray[np.uint8], float]:
    """A photo at working size (HWC RGB uint8), and by how much it was shrunk. Raises PhotoError."""
    pixels = load_photo(path).as_uint8()
    height, width = pixels.shape[:2]
    shrunk = min(1.0, WORKING_SIDE / max(height, width))
    if shrunk < 1.0:
        size = (max(1, round(width * shrunk)), max(1, round(height * shrunk)))
        pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
    return pixels, shrunk


def load_view(path: Path) -> View | str:
    """A photo, looked at; or in a sentence why it cannot be used."""
    try:
        pixels, shrunk = working_pixels(path)
    except RefsrError as error:
        return str(error)
    height, width = pixels.shape[:2]
    if min(height, width) < SMALLEST:
        return f"{path} has {width} x {height} pixels; {SMALLEST} a side are needed."
    gray = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)
    ratio = max(1.0, max(height, width) / THUMBNAIL_SIDE)
    small = cv2.resize(gray, None, fx=1 / ratio, fy=1 / ratio, interpolation=cv2.INTER_AREA)
    features = matching.detect(np.asarray(small, np.uint8), ratio, THUMBNAIL_FEATURES)
    return View(path, imresize(pixels, scale=1 / SCALE), (width, height), shrunk, features)


def votes(a: Features, b: Features) -> int:
    """How many matches of two thumbnails agree in zoom and rotation."""
    pairs = matching.match(a, b, RATIO)
    return int(matching.similar_pose(a, b, pairs).sum()) if len(pairs) else 0


def candidates(views: list[View], progress: Progress | None = None) -> dict[tuple[int, int], int]:
    """Pairs of indices (i < j) worth registering, and their votes: each photo's CANDIDATES best."""
    count = len(views)
    score = np.zeros((count, count), np.int32)
    for i in range(count):
        for j in range(i + 1, count):
            score[i, j] = score[j, i] = votes(views[i].thumbnail, views[j].thumbnail)
        if progress:
            progress((i + 1) / count)
    chosen: dict[tuple[int, int], int] = {}
    for i in range(count):
        best = np.argsort(-score[i], kind="stable")[:CANDIDATES].tolist()
        chosen |= {(min(i, j), max(i, j)): int(score[i, j]) for j in best}
    return {pair: found for pair, found in chosen.items() if found >= MIN_VOTES}


def share_inside(homography: Points, size: tuple[int, int], other: tuple[int, int]) -> float:
    """Share of a photo of ``size`` (width, height) that lands inside one of size ``other``."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 40), np.linspace(0, size[1] - 1, 40))
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)]) @ homography.T
    ahead = points[:, 2] > 0
    landed = points[:, :2] / np.where(ahead, points[:, 2], 1.0)[:, None]
    inside = (landed >= 0).all(axis=1) & (landed < np.array(other)).all(axis=1)
    return float((inside & ahead).mean())


def agreeing_points(registration: Registration) -> tuple[Points, Points]:
    """Places of the input (N, 2), in LR px, that the reference explains, and where they lie."""
    good = registration.validity * registration.consistency > CONSISTENT
    rows, columns = good.shape
    here = grid(slice(0, rows), slice(0, columns), 1 / FIELD_SCALE)[good]
    step = max(1, len(here) // POINTS)
    there = registration.xy_ref[good]
    return here[::step].astype(np.float64), there[::step].astype(np.float64)


def kinds(registration: Registration, view: View, other: View) -> tuple[str, str]:
    """How the pair is called with ``view`` as input, and with ``other`` as input."""
    here, there = agreeing_points(registration)
    here = (here + 0.5) * SCALE - 0.5  # LR px to working px
    diagonal = float(np.hypot(*view.size))
    homography = matching.fit_homography(here, there, 0.01 * diagonal)
    affine = cast(Points | None, cv2.estimateAffine2D(here, there, method=cv2.LMEDS)[0])
    similarity = cast(Points | None, cv2.estimateAffinePartial2D(here, there, method=cv2.LMEDS)[0])
    if homography is None or affine is None or similarity is None:
        return "strong", "strong"  # matched, and by no plane
    zoom = registration.zoom * view.shrunk / other.shrunk  # between the files' own sizes
    growth = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    off = np.linalg.norm(matching.project(homography, here) - there, axis=1) / growth
    moved = here @ similarity[:, :2].T + similarity[:, 2]
    unlike = np.linalg.norm(moved - there, axis=1) / growth
    stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
    facts = (
        max(zoom, 1 / zoom),
        float(stretch[0] / stretch[1]),
        float(np.percentile(off, 90)) / diagonal,
        float(np.median(unlike)) / diagonal,
    )
    back = np.linalg.inv(homography)
    back /= back[2, 2]
    return (
        name_of(share_inside(homography, view.size, other.size), *facts),
        name_of(share_inside(back, other.size, view.size), *facts),
    )


def name_of(
    overlap: float, zoom: float, foreshortening: float, parallax: float, unlike: float
) -> str:
    """The kind of a pair: the first rule that holds. Lengths are shares of the diagonal."""
    if zoom >= ZOOM:
        return "zoomed"
    if overlap < SMALL_OVERLAP:
        return "small-overlap"
    if foreshortening >= FORESHORTENING or parallax >= PARALLAX:
        return "strong"
    if overlap >= LARGE_OVERLAP and unlike <= SIMILARITY:
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
    keep: Callable[[Path, Path, Link | None], None],
    progress: Progress | None = None,
) -> list[Link]:
    """Register every candidate pair that is not ``known``; ``keep`` is told each new answer.

    The pairs of one reference come together, so that each photo is prepared once. Where the
    second covers too little of the first, as a close-up may, the first is tried as its reference.
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
            keep(*key, known[key])
        answer = known[key]
        if answer is not None:
            found.append(answer)
        if progress:
            progress(done / len(ordered))
    return found


def components(paths: Iterable[Path], links: Iterable[Link]) -> list[list[Path]]:
    """Photos that are linked, directly or through others: sorted groups of two or more."""
    group = {path: path for path in paths}

    def root(path: Path) -> Path:
        while group[path] != path:
            group[path] = group[group[path]]
            path = group[path]
        return path

    for one in links:
        a, b = sorted((root(one.first), root(one.second)))
        group[b] = a
    members: dict[Path, list[Path]] = {}
    for path in sorted(group):
        members.setdefault(root(path), []).append(path)
    return [paths for paths in members.values() if len(paths) > 1]
