"""Registration: where each part of a small photo lies in a reference photo, to sub-pixel.

The road: SIFT features on both -> a first geometry -> the reference warped into the input's frame
and matched again, guided -> local affine fits to the matches (parallax) -> dense optical flow ->
how far to trust it. OpenCV does each step; this file puts them in order.

All coordinates are ``(x, y)`` with pixel centres at integers; see ``refsr.warp`` for the grids.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr import flow, matching
from refsr.matching import Features, Points
from refsr.resize import cubic
from refsr.warp import (
    BAND_ROWS,
    FIELD,
    SCALE,
    Field,
    Image,
    area_ratio,
    grid,
    read_field,
    render,
    sample,
    shrunk_warp,
)

WORKING_SIDE = 1600  # features are found at most at this size: a larger reference costs no more
REFERENCE_FEATURES = 12000
INPUT_FEATURES = 4000
MIN_INLIERS = 10  # fewer agree by chance in unrelated photos
MIN_COVERAGE = 0.01  # what flow makes up between unrelated photos stays below this
CONSISTENT = 0.8  # agreement above which a place counts as explained
NODE = 8  # LR pixels between the nodes of the smooth field
FLOW_ROUNDS = 3  # one loses coverage, five follow the noise
NEIGHBOURS = 40  # inliers that each node of the smooth field is fitted to
SOFTEN = 1.15  # filter a little below the output's resolution: aliasing costs more than softness
RATIO = 0.85
GUIDED_RATIO = 0.92  # a guided match has few rivals
COLOUR_NODES = 16  # colour matching: nodes along the long side


@dataclass
class Reference:
    """A reference photo with what can be computed before any input is known."""

    pixels: NDArray[np.uint8]  # HWC RGB
    features: Features  # in reference pixels
    grays: list[NDArray[np.uint8]] = field(repr=False)  # luma, each half the size of the one before
    levels: list[NDArray[np.uint8]] = field(repr=False)  # RGB, likewise; levels[0] is pixels
    filtered: dict[float, NDArray[np.uint8]] = field(default_factory=dict, repr=False)

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
        if zoom not in self.filtered:
            half = int(np.ceil(2 * stretch))
            kernel = cubic(np.arange(-half, half + 1) / stretch).astype(np.float32)
            kernel /= kernel.sum()
            self.filtered[zoom] = cast(
                NDArray[np.uint8],
                cv2.sepFilter2D(
                    self.levels[level], -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE
                ),
            )
        return self.filtered[zoom], level


@dataclass(frozen=True)
class Registration:
    """Where each part of an LR photo (h, w) lies in a reference.

    ``xy_ref`` lives on the field grid, at twice the LR size: field pixel (i, j) has its centre at
    LR coordinate ((j + 0.5) / 2 - 0.5, (i + 0.5) / 2 - 0.5).
    """

    xy_ref: NDArray[np.float32]  # (2h, 2w, 2) reference pixels, centres at integers
    validity: NDArray[np.float32]  # (2h, 2w) 0..1, geometry: inside, not folded, flow trustworthy
    consistency: NDArray[np.float32]  # (2h, 2w) 0..1, the shrunk warped reference explains the LR
    zoom: float  # median reference pixels per HR pixel; above 1 the reference is finer
    coverage: float  # share of the photo that is valid and consistent
    matches: int
    inliers: int
    median_error: float  # LR px, of the inliers against their neighbours
    matched: bool
    colour: NDArray[np.float32]  # (rows, cols, 6) gain RGB, offset RGB (0..1) of the colour match


def prepare_reference(pixels: NDArray[np.uint8]) -> Reference:
    """Find the features of a reference (HWC RGB uint8, any size) and build its pyramid."""
    pixels = np.ascontiguousarray(pixels)
    levels = [pixels]
    while min(levels[-1].shape[:2]) >= 64 and len(levels) < 6:
        levels.append(halve(levels[-1]))
    grays = [cast(NDArray[np.uint8], cv2.cvtColor(level, cv2.COLOR_RGB2GRAY)) for level in levels]
    long_side = max(pixels.shape[:2])
    ratio = max(1.0, long_side / WORKING_SIDE)
    work = shrunk_by(grays, ratio)
    features = matching.detect(work, ratio, REFERENCE_FEATURES)
    return Reference(pixels, features, grays, levels)


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


@dataclass(frozen=True)
class Geometry:
    """A sparse solution: what a homography explains, and what it leaves over at the inliers."""

    homography: NDArray[np.float64]  # LR px -> reference px
    xy_lr: Points  # (N, 2)
    xy_ref: Points  # (N, 2)
    zoom: float  # reference pixels per LR pixel
    error: float  # median, LR px


def register(lr: NDArray[np.uint8], reference: Reference) -> Registration:
    """Find each part of ``lr`` (HWC RGB uint8, any size) in ``reference``.

    Never fails: where nothing can be found, ``matched`` is False and the validity zero.
    """
    cv2.setRNGSeed(0)
    height, width = lr.shape[:2]
    gray = flow.luma(lr)
    enlarge = enlargement(height, width)
    features = input_features(gray, enlarge)
    pairs = matching.match(features, reference.features, RATIO)
    geometry = first_geometry(features, reference.features, pairs)
    if geometry is None:
        return unmatched(lr, reference, len(pairs))
    geometry, xy_ref = rematch(gray, features, enlarge, geometry, reference)
    xy_ref, doubt = dense(gray, xy_ref, reference)
    return judge(lr, reference, xy_ref, doubt, geometry, len(pairs))


def rematch(
    gray: Image, features: Features, enlarge: float, geometry: Geometry, reference: Reference
) -> tuple[Geometry, Field]:
    """Two guided rounds of matching: a better sparse geometry, and its smooth field."""
    height, width = gray.shape
    xy_ref = smooth_field(geometry, height, width)
    for _ in range(2):
        second = guided_geometry(gray, features, enlarge, xy_ref, reference, geometry)
        if second is None or len(second.xy_lr) < len(geometry.xy_lr) // 2:
            break
        geometry = second
        xy_ref = smooth_field(geometry, height, width)
    return geometry, xy_ref


def enlargement(height: int, width: int) -> float:
    """How much the LR photo is enlarged before features are looked for."""
    long_side = max(height, width)
    return 4.0 if long_side <= 160 else max(1.0, min(2.0, WORKING_SIDE / long_side))


def input_features(gray: Image, enlarge: float) -> Features:
    """Features of an LR photo's luma, in LR px."""
    height, width = gray.shape
    size = (max(1, round(width * enlarge)), max(1, round(height * enlarge)))
    up = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC)
    return matching.detect(
        np.clip(up + 0.5, 0, 255).astype(np.uint8), width / size[0], INPUT_FEATURES
    )


def first_geometry(
    a: Features, b: Features, pairs: NDArray[np.intp], threshold: float = 0.6
) -> Geometry | None:
    """The geometry that most matches agree with, or None where too few do. Errors in LR px."""
    if len(pairs) < 6:
        return None
    pairs = pairs[matching.similar_pose(a, b, pairs)]
    xy_lr = a.xy[pairs[:, 0]].astype(np.float64)
    xy_ref = b.xy[pairs[:, 1]].astype(np.float64)
    zoom = float(np.exp(np.median(np.log(b.size[pairs[:, 1]] / a.size[pairs[:, 0]]))))
    return agree(xy_lr, xy_ref, zoom, threshold)


def agree(xy_lr: Points, xy_ref: Points, zoom: float, threshold: float) -> Geometry | None:
    """Keep the matches that fit a homography, or the epipolar geometry and their neighbours."""
    scaled = xy_ref / zoom  # so that one threshold in LR px serves both frames
    homography = matching.homography_of(xy_lr, scaled, 2.0 * threshold)
    if homography is None:
        return None
    residual = scaled - matching.project(homography, xy_lr)
    keep = np.sqrt((residual**2).sum(axis=1)) < 2.0 * threshold
    if not keep.any() or not matching.keeps_size(homography, xy_lr[keep]):
        return None
    fundamental = matching.fundamental_of(xy_lr, scaled, threshold)
    if fundamental is not None:
        keep |= matching.epipolar_error(fundamental, xy_lr, scaled) < 1.5 * threshold
    # Parallax beyond this share of the photo is far likelier to be a wrong match.
    keep &= np.sqrt((residual**2).sum(axis=1)) < 0.25 * float(np.ptp(xy_lr, axis=0).max())
    if keep.sum() < MIN_INLIERS:
        return None
    near, error = matching.consistent_neighbours(xy_lr[keep], residual[keep], 2.0 * threshold)
    if near.sum() < MIN_INLIERS:
        return None
    scaled_up = np.diag([zoom, zoom, 1.0]) @ homography
    return Geometry(
        scaled_up, xy_lr[keep][near], xy_ref[keep][near], zoom, float(np.median(error[near]))
    )


def smooth_field(geometry: Geometry, height: int, width: int) -> Field:
    """The field (2h, 2w, 2) of a sparse solution: homography plus local affine corrections."""
    rows, cols = max(2, -(-height // NODE)), max(2, -(-width // NODE))
    step_y, step_x = height / rows, width / cols
    nodes = grid(slice(0, rows), slice(0, cols)).astype(np.float64)
    nodes = (nodes + 0.5) * (step_x, step_y) - 0.5
    residual = geometry.xy_ref - matching.project(geometry.homography, geometry.xy_lr)
    weight = np.ones(len(residual))
    tolerance = 0.5 * geometry.zoom
    for _ in range(3):
        fitted = matching.local_affine(geometry.xy_lr, geometry.xy_lr, residual, weight, NEIGHBOURS)
        weight = 1.0 / (1.0 + ((fitted - residual) ** 2).sum(axis=1) / tolerance**2)
    correction = np.concatenate(
        [
            matching.local_affine(row, geometry.xy_lr, residual, weight, NEIGHBOURS)[None]
            for row in nodes
        ]
    ).astype(np.float32)
    bands: list[Field] = []
    for start in range(0, FIELD * height, BAND_ROWS):
        rows = slice(start, min(start + BAND_ROWS, FIELD * height))
        here = grid(rows, slice(0, FIELD * width), 1 / FIELD)
        at_nodes = (here + 0.5) / np.array([step_x, step_y], np.float32) - np.float32(0.5)
        plane = matching.project(geometry.homography, here).astype(np.float32)
        bands.append(plane + sample(correction, at_nodes))
    return np.concatenate(bands)


def warped_gray(xy_ref: Field, reference: Reference) -> Image:
    """The reference's luma as the LR camera would see it: (h, w) float32 0..255."""
    level = pyramid_level(zoom_of(xy_ref), len(reference.grays))
    return shrunk_warp(reference.grays[level], at_level(xy_ref, level))


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


def guided_geometry(
    gray: Image,
    features: Features,
    enlarge: float,
    xy_ref: Field,
    reference: Reference,
    coarse: Geometry,
) -> Geometry | None:
    """Match again, with the reference warped into the input's frame by what is known so far.

    Zoom, rotation and most of the perspective are gone then, and the resolution is the same.
    """
    warped = input_features(warped_gray(xy_ref, reference), enlarge)
    radius = 4.0 + 0.02 * max(gray.shape)
    pairs = matching.match(features, warped, GUIDED_RATIO, features.xy, radius)
    if len(pairs) < MIN_INLIERS:
        return None
    xy_lr = features.xy[pairs[:, 0]].astype(np.float64)
    in_field = (warped.xy[pairs[:, 1]] + 0.5) * FIELD - 0.5
    xy = matching.at(xy_ref, in_field).astype(np.float64)
    return agree(xy_lr, xy, coarse.zoom, 0.5)


def dense(gray: Image, xy_ref: Field, reference: Reference) -> tuple[Field, Image]:
    """Optical flow on top of the smooth field: the field, and its doubt in LR px (2h, 2w)."""
    height, width = gray.shape
    doubt = np.zeros((FIELD * height, FIELD * width), np.float32)
    if min(height, width) < 8:  # DIS needs a few patches
        return xy_ref, doubt
    lr_norm = flow.normalise(flow.enlarge2(gray))
    for step in range(FLOW_ROUNDS):
        warped = flow.normalise(flow.enlarge2(warped_gray(xy_ref, reference)))
        inside, _ = flow.folding(xy_ref, reference.pixels.shape)
        xy_ref, target, forward = flow.refine(lr_norm, warped, xy_ref, inside)
        if step == FLOW_ROUNDS - 1:
            doubt = flow.round_trip(lr_norm, target, forward) / np.float32(FIELD)
    return xy_ref, doubt


def judge(
    lr: NDArray[np.uint8],
    reference: Reference,
    xy_ref: Field,
    doubt: Image,
    geometry: Geometry,
    matches: int,
) -> Registration:
    """Validity, consistency and colour of a finished field."""
    height, width = lr.shape[:2]
    inside, torn = flow.folding(xy_ref, reference.pixels.shape)
    trust = np.exp(-((doubt / 0.5) ** 2)) * (inside & ~torn)
    validity = np.clip(cv2.GaussianBlur(trust.astype(np.float32), (0, 0), 1.0), 0, 1) * inside
    zoom = zoom_of(xy_ref, trust > 0.5)
    pixels, level = reference.prefiltered(zoom)
    shrunk = shrunk_warp(pixels, at_level(xy_ref, level))
    local = flow.agreement(flow.luma(lr), shrunk @ np.array([0.299, 0.587, 0.114], np.float32))
    size = (FIELD * width, FIELD * height)
    consistency = np.clip(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    both = validity * consistency
    coverage = float((both > CONSISTENT).mean())
    found = Registration(
        xy_ref=xy_ref,
        validity=validity.astype(np.float32),
        consistency=consistency.astype(np.float32),
        zoom=zoom,
        coverage=coverage,
        matches=matches,
        inliers=len(geometry.xy_lr),
        median_error=geometry.error,
        matched=coverage > MIN_COVERAGE,
        colour=colour_match(lr, shrunk, both),
    )
    return found if found.matched else replace(found, validity=np.zeros_like(found.validity))


def unmatched(lr: NDArray[np.uint8], reference: Reference, matches: int) -> Registration:
    """The answer where the reference has nothing to do with the input: both are stretched alike."""
    height, width = lr.shape[:2]
    ref_height, ref_width = reference.pixels.shape[:2]
    stretch = np.array([ref_width / (FIELD * width), ref_height / (FIELD * height)], np.float32)
    here = grid(slice(0, FIELD * height), slice(0, FIELD * width))
    xy_ref = (here + np.float32(0.5)) * stretch - np.float32(0.5)
    zero = np.zeros(xy_ref.shape[:2], np.float32)
    identity = np.tile(np.array([1, 1, 1, 0, 0, 0], np.float32), (1, 1, 1))
    return Registration(
        xy_ref, zero, zero.copy(), zoom_of(xy_ref), 0.0, matches, 0, float("inf"), False, identity
    )


def colour_match(lr: NDArray[np.uint8], shrunk: Image, weight: Image) -> NDArray[np.float32]:
    """Smooth gain and offset per channel that turn the reference's colours into the input's.

    Weighted local regressions on a coarse grid over the whole photo: (rows, cols, 6), gain RGB and
    offset RGB for values 0..1. Held towards one regression over the whole photo.
    """
    height, width = lr.shape[:2]
    cell = max(1.0, max(height, width) / COLOUR_NODES)
    nodes = (max(1, round(width / cell)), max(1, round(height / cell)))
    a, b = shrunk / np.float32(255), lr.astype(np.float32) / np.float32(255)
    w = cv2.resize(weight, (width, height), interpolation=cv2.INTER_AREA)[..., None] ** 2

    def pooled(values: Image) -> Image:
        small = cv2.resize(values * w, nodes, interpolation=cv2.INTER_AREA)
        return cv2.GaussianBlur(small, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE).reshape(
            nodes[1], nodes[0], 3
        )

    moments = np.stack([pooled(v) for v in (np.ones_like(a), a, b, a * a, a * b)])
    total = moments.mean(axis=(1, 2), keepdims=True)
    if float(total[0].max()) <= 1e-6:
        return np.tile(np.array([1, 1, 1, 0, 0, 0], np.float32), (1, 1, 1))
    moments = moments + 0.05 * total
    count, sum_a, sum_b, sum_aa, sum_ab = moments
    mean_a, mean_b = sum_a / count, sum_b / count
    global_gain = gain_of(*total)
    ridge = 0.01**2
    variance = np.maximum(sum_aa / count - mean_a * mean_a, 0.0)
    covariance = sum_ab / count - mean_a * mean_b
    gain = np.clip((covariance + ridge * global_gain) / (variance + ridge), 0.4, 2.5)
    return np.concatenate([gain, mean_b - gain * mean_a], axis=2).astype(np.float32)


def gain_of(count: Image, sum_a: Image, sum_b: Image, sum_aa: Image, sum_ab: Image) -> Image:
    """Slope of one regression, from summed moments."""
    variance = np.maximum(sum_aa / count - (sum_a / count) ** 2, 0.0)
    covariance = sum_ab / count - sum_a * sum_b / count**2
    return np.clip((covariance + 1e-4) / (variance + 1e-4), 0.4, 2.5)


def aligned_reference(
    registration: Registration,
    reference: Reference,
    lr: NDArray[np.uint8],
    rows: slice,
    cols: slice,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The reference in the frame and the colours of the input, for a tile given in LR pixels.

    ``lr`` is the whole photo (h, w, 3); ``rows`` and ``cols`` have explicit bounds. Returns the HR
    tile (4H, 4W, 3) float32 0..1 and its geometric validity (4H, 4W) float32 0..1. A pixel's value
    does not depend on the tile that it is asked for with.
    """
    height, width = lr.shape[:2]
    xy_ref = read_field(registration.xy_ref, rows, cols)
    pixels, level = reference.prefiltered(registration.zoom)
    warped = render(pixels, at_level(xy_ref, level), cv2.INTER_LANCZOS4)
    hr_rows = slice(rows.start * SCALE, rows.stop * SCALE)
    hr_cols = slice(cols.start * SCALE, cols.stop * SCALE)
    nodes = registration.colour
    here = grid(hr_rows, hr_cols) + np.float32(0.5)
    at_nodes = here * np.array(
        [nodes.shape[1] / (SCALE * width), nodes.shape[0] / (SCALE * height)], np.float32
    ) - np.float32(0.5)
    gain, offset = sample(nodes[..., :3], at_nodes), sample(nodes[..., 3:], at_nodes)
    aligned = np.clip(warped * np.float32(1 / 255) * gain + offset, 0.0, 1.0)
    validity = sample(registration.validity, grid(hr_rows, hr_cols, FIELD / SCALE))
    return aligned.astype(np.float32), validity
