"""Writes benchmarks/validation.csv: real pairs of the validation scenes, labelled by geometry.

    python research/make_validation_csv.py --root ../shared/data/pairs -o benchmarks/validation.csv

Every ordered pair of distinct views of a scene is measured on the full-resolution photos, without
any super-resolution: SIFT matches, mutual and with ratio 0.8; a MAGSAC fundamental matrix, each
inlier verified by its Sampson distance; on those, a homography within 1 % of the photo's diagonal,
which models the dominant motion. The first rule that holds gives the kind:

    hopeless        fewer than 16 matches agree with one homography
    zoomed          the input's detail is 1.25 times larger or smaller in the reference
    small-overlap   under half of the input lies inside the reference
    strong          strong viewpoint change: foreshortened by 1.15 (ratio of the affine map's
                    singular values), or parallax: a tenth of the verified matches is 4 % of the
                    diagonal or more off the homography
    near-identical  at least 0.85 of the input lies inside the reference, which differs from it by a
                    similarity to 0.5 % of the diagonal (median)
    moderate        everything else

An irrelevant row pairs photos of two scenes whose geometry is hopeless, too. A kind keeps at most
LIMIT rows, taken from the scenes in turn, so that no scene or kind dominates the mean.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

RATIO = 0.8
SAMPSON = 1.5  # px of the full-resolution photos
DOMINANT = 0.01  # of the diagonal
HOPELESS = 16
ZOOM = 1.25
SMALL_OVERLAP = 0.5
FORESHORTENING = 1.15
PARALLAX = 0.04
LARGE_OVERLAP = 0.85
SIMILARITY = 0.005
LIMIT = {"hopeless": 6}  # the least informative kind
DEFAULT_LIMIT = 10
IRRELEVANT_ROWS = 8
LEAKED = {"spw_42"}  # its building also appears in spw_00, which is not held out
STRIDE = 7  # scenes between the two photos of an irrelevant row; adjacent scenes are similar

Points = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """A photo's size and its SIFT features."""

    path: Path
    size: tuple[int, int]  # width, height
    keypoints: Sequence[Any]
    descriptors: NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """The geometry between two views; lengths as shares of the input's diagonal."""

    matches: int  # verified, and agreeing with the homography
    overlap: float = 0.0  # share of the input inside the reference
    zoom: float = 1.0  # size in the reference over size in the input
    foreshortening: float = 1.0
    parallax: float = 0.0  # 90th percentile of the distance from the homography
    similarity: float = 0.0  # median distance from a similarity

    @property
    def kind(self) -> str:
        """The first rule that holds; see the top of this file."""
        if self.matches < HOPELESS:
            return "hopeless"
        if max(self.zoom, 1 / self.zoom) >= ZOOM:
            return "zoomed"
        if self.overlap < SMALL_OVERLAP:
            return "small-overlap"
        if self.foreshortening >= FORESHORTENING or self.parallax >= PARALLAX:
            return "strong"
        if self.overlap >= LARGE_OVERLAP and self.similarity <= SIMILARITY:
            return "near-identical"
        return "moderate"


def load_view(path: Path) -> View:
    """Read a photo and find its features."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if gray is None:
        raise SystemExit(f"{path} cannot be read.")
    keypoints, descriptors = cv2.SIFT_create(8000, contrastThreshold=0.02).detectAndCompute(
        gray, None
    )
    root = np.sqrt(descriptors / descriptors.sum(1, keepdims=True))  # RootSIFT
    return View(path, (gray.shape[1], gray.shape[0]), keypoints, root)


def mutual_matches(view: View, other: View) -> tuple[Points, Points, NDArray[np.float64]]:
    """Matching points of both views (N, 2) and the ratio of their keypoints' sizes (N,)."""
    matcher = cv2.BFMatcher()
    back = {m.queryIdx: m.trainIdx for m in matcher.match(other.descriptors, view.descriptors)}
    pairs = [
        (view.keypoints[best.queryIdx], other.keypoints[best.trainIdx])
        for best, second in matcher.knnMatch(view.descriptors, other.descriptors, 2)
        if best.distance < RATIO * second.distance and back[best.trainIdx] == best.queryIdx
    ]
    here = np.array([a.pt for a, _ in pairs], np.float64).reshape(-1, 2)
    there = np.array([b.pt for _, b in pairs], np.float64).reshape(-1, 2)
    return here, there, np.array([b.size / a.size for a, b in pairs])


def sampson_distance(fundamental: Points, here: Points, there: Points) -> NDArray[np.float64]:
    """First-order distance of every match from the epipolar geometry, in px."""
    a = np.column_stack([here, np.ones(len(here))])
    b = np.column_stack([there, np.ones(len(there))])
    line_b, line_a = a @ fundamental.T, b @ fundamental
    error = np.abs((b * line_b).sum(1))
    return error / np.sqrt((line_b[:, :2] ** 2).sum(1) + (line_a[:, :2] ** 2).sum(1))


def overlap_share(homography: Points, size: tuple[int, int], other: tuple[int, int]) -> float:
    """Share of a photo of ``size`` (width, height) that maps inside one of size ``other``."""
    x, y = np.meshgrid(np.linspace(0, size[0] - 1, 40), np.linspace(0, size[1] - 1, 40))
    points = np.column_stack([x.ravel(), y.ravel(), np.ones(x.size)]) @ homography.T
    in_front = points[:, 2] > 0
    mapped = points[:, :2] / np.where(in_front, points[:, 2], 1.0)[:, None]
    inside = (mapped >= 0).all(1) & (mapped[:, 0] < other[0]) & (mapped[:, 1] < other[1])
    return float((inside & in_front).mean())


def distances(matrix: Points, here: Points, there: Points) -> NDArray[np.float64]:
    """How far (px) the points ``here``, mapped by a 2x3 or 3x3 ``matrix``, lie from ``there``."""
    full = np.vstack([matrix, [0, 0, 1]]) if len(matrix) == 2 else matrix
    mapped = cv2.perspectiveTransform(here[:, None], full)[:, 0]
    return np.linalg.norm(mapped - there, axis=1)


def measure(view: View, other: View) -> Geometry:
    """The geometry from ``view`` to ``other``."""
    cv2.setRNGSeed(0)
    xy, xy_other, sizes = mutual_matches(view, other)
    if len(xy) < 8:
        return Geometry(0)
    fundamental, _ = cv2.findFundamentalMat(xy, xy_other, cv2.USAC_MAGSAC, 1.0, 0.9999, 20000)
    if fundamental is None or fundamental.shape != (3, 3):
        return Geometry(0)
    # OpenCV's own mask is not always right, so the inliers are computed again.
    verified = sampson_distance(fundamental, xy, xy_other) < SAMPSON
    xy, xy_other, sizes = xy[verified], xy_other[verified], sizes[verified]
    if len(xy) < 8:
        return Geometry(0)
    diagonal = float(np.hypot(*view.size))
    homography, _ = cv2.findHomography(xy, xy_other, cv2.USAC_MAGSAC, DOMINANT * diagonal)
    similarity, _ = cv2.estimateAffinePartial2D(xy, xy_other, method=cv2.LMEDS)
    affine, _ = cv2.estimateAffine2D(xy, xy_other, method=cv2.LMEDS)
    if homography is None or similarity is None or affine is None:
        return Geometry(0)
    off_plane = distances(homography, xy, xy_other) / diagonal
    stretch = np.linalg.svd(affine[:, :2], compute_uv=False)
    return Geometry(
        matches=int((off_plane < DOMINANT).sum()),
        overlap=overlap_share(homography, view.size, other.size),
        zoom=float(np.exp(np.median(np.log(sizes)))),
        foreshortening=float(stretch[0] / stretch[1]),
        parallax=float(np.percentile(off_plane, 90)),
        similarity=float(np.median(distances(similarity, xy, xy_other)) / diagonal),
    )


def take_in_turn(rows: list[tuple[str, str]], limit: int) -> list[tuple[str, str]]:
    """At most ``limit`` rows, taken from the scenes in turn, in the given order."""
    scenes: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        scenes.setdefault(row[0].split("/")[0], []).append(row)
    turns = itertools.zip_longest(*scenes.values())
    chosen = [row for turn in turns for row in turn if row is not None][:limit]
    return [row for row in rows if row in chosen]


def main() -> None:
    """Measure every pair, print the numbers, write the list."""
    parser = argparse.ArgumentParser(description="Label the validation pairs by their geometry.")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    names = (options.root / "validation.txt").read_text(encoding="utf-8").split()
    scenes = {
        name: [load_view(path) for path in sorted((options.root / name).glob("*.jpg"))]
        for name in names
    }

    def measured(view: View, other: View) -> tuple[tuple[str, str], Geometry]:
        row = tuple(v.path.relative_to(options.root).as_posix() for v in (view, other))
        geometry = measure(view, other)
        print(*row, geometry.kind, geometry, flush=True)
        return (row[0], row[1]), geometry

    kinds: dict[str, list[tuple[str, str]]] = {}
    for views in scenes.values():
        for view, other in itertools.permutations(views, 2):
            row, geometry = measured(view, other)
            kinds.setdefault(geometry.kind, []).append(row)
    for index in range(0, len(names), 2):
        row, geometry = measured(
            scenes[names[index]][0], scenes[names[(index + STRIDE) % len(names)]][-1]
        )
        if geometry.kind == "hopeless":
            kinds.setdefault("irrelevant", []).append(row)
    with options.out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["input", "reference", "kind"])
        order = ("near-identical", "moderate", "zoomed", "small-overlap", "strong", "hopeless")
        for kind in (*order, "irrelevant"):
            limit = IRRELEVANT_ROWS if kind == "irrelevant" else LIMIT.get(kind, DEFAULT_LIMIT)
            chosen = take_in_turn(kinds.get(kind, []), limit)
            chosen = [row for row in chosen if LEAKED.isdisjoint(p.split("/")[0] for p in row)]
            print(f"{kind}: {len(chosen)} of {len(kinds.get(kind, []))}")
            writer.writerows([*row, kind] for row in chosen)


if __name__ == "__main__":
    main()
