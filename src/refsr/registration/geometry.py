"""Sparse geometry: from matched features to a smooth field that follows parallax."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration import matching
from refsr.registration.matching import Features, Points
from refsr.registration.reference import Reference, warp_gray_to_lr
from refsr.registration.warp import BAND_ROWS, FIELD_SCALE, Field, grid, sample

WORKING_SIDE = 800  # pixels: for detection an LR photo is enlarged up to this size at most
MAX_FEATURES = 4000
MIN_INLIERS = 8  # unrelated photos may have fewer by chance
NODE_SPACING = 8  # LR pixels between the nodes of the smooth field
NODE_CHUNK = 2048  # bounds the memory of their fits
NEIGHBORS = 40  # inliers that each node of the smooth field is fitted to
CONVERGED = 0.1  # LR pixels: a guided round that moves the field by less is the last
GUIDED_RATIO = 0.92  # of Lowe's test; with few features nearby it may be looser


@dataclass(frozen=True)
class Geometry:
    """A sparse geometry: a homography, and inliers that may deviate from it by parallax."""

    homography: NDArray[np.float64]  # LR px -> reference px
    xy_lr: Points  # (N, 2)
    xy_ref: Points  # (N, 2)
    zoom: float  # reference pixels per LR pixel
    error: float  # median of the inliers against a fit to their neighbors, LR px


def enlargement(height: int, width: int) -> float:
    """The factor by which an LR photo is enlarged before features are detected."""
    long_side = max(height, width)
    return 4.0 if long_side <= 160 else max(1.0, min(2.0, WORKING_SIDE / long_side))


def detect_lr_features(gray: Image, enlarge: float) -> Features:
    """Detect the features of an LR photo's luma (h, w) 0..255, enlarged; they are in LR px."""
    height, width = gray.shape
    size = (max(1, round(width * enlarge)), max(1, round(height * enlarge)))
    up = cv2.resize(gray, size, interpolation=cv2.INTER_CUBIC)
    return matching.detect(
        np.clip(up + 0.5, 0, 255).astype(np.uint8), width / size[0], MAX_FEATURES
    )


def initial_geometry(
    a: Features, b: Features, pairs: NDArray[np.intp], threshold: float = 0.6
) -> Geometry | None:
    """The geometry of matches (M, 2) of LR features ``a`` and reference features ``b``.

    None where too few matches agree. ``threshold``: inlier error in LR px.
    """
    if len(pairs) < 6:
        return None
    pairs = pairs[matching.similar_pose(a, b, pairs)]
    xy_lr = a.xy[pairs[:, 0]].astype(np.float64)
    xy_ref = b.xy[pairs[:, 1]].astype(np.float64)
    zoom = float(np.exp(np.median(np.log(b.size[pairs[:, 1]] / a.size[pairs[:, 0]]))))
    return fit_geometry(xy_lr, xy_ref, zoom, threshold)


def fit_geometry(xy_lr: Points, xy_ref: Points, zoom: float, threshold: float) -> Geometry | None:
    """Fit a geometry to points (N, 2): the inliers of a homography or of the epipolar geometry.

    Inliers must also move like their neighbors. None where there are too few.
    """
    scaled = xy_ref / zoom  # so that one threshold in LR px serves both frames
    homography = matching.fit_homography(xy_lr, scaled, 2.0 * threshold)
    if homography is None:
        return None
    residual = scaled - matching.project(homography, xy_lr)
    keep = np.sqrt((residual**2).sum(axis=1)) < 2.0 * threshold
    if not keep.any() or not matching.preserves_area(homography, xy_lr[keep]):
        return None
    fundamental = matching.fit_fundamental(xy_lr, scaled, threshold)
    if fundamental is not None:
        keep |= matching.epipolar_error(fundamental, xy_lr, scaled) < 1.5 * threshold
    # A larger parallax, relative to the photo, is far more likely a wrong match.
    keep &= np.sqrt((residual**2).sum(axis=1)) < 0.25 * float(np.ptp(xy_lr, axis=0).max())
    if keep.sum() < MIN_INLIERS:
        return None
    near, error = matching.neighbor_consistency(xy_lr[keep], residual[keep], 2.0 * threshold)
    if near.sum() < MIN_INLIERS:
        return None
    scaled_up = np.diag([zoom, zoom, 1.0]) @ homography
    return Geometry(
        scaled_up, xy_lr[keep][near], xy_ref[keep][near], zoom, float(np.median(error[near]))
    )


def smooth_field(geometry: Geometry, height: int, width: int) -> Field:
    """The field (2h, 2w, 2) of a sparse geometry: homography plus local affine corrections."""
    rows, cols = max(2, -(-height // NODE_SPACING)), max(2, -(-width // NODE_SPACING))
    step = np.array([width / cols, height / rows])
    correction = local_corrections(geometry, rows, cols, step)
    bands: list[Field] = []
    for start in range(0, FIELD_SCALE * height, BAND_ROWS):
        band = slice(start, min(start + BAND_ROWS, FIELD_SCALE * height))
        xy_lr = grid(band, slice(0, FIELD_SCALE * width), 1 / FIELD_SCALE)
        at_nodes = ((xy_lr + 0.5) / step - 0.5).astype(np.float32)
        plane = matching.project(geometry.homography, xy_lr).astype(np.float32)
        bands.append(plane + sample(correction, at_nodes))
    return np.concatenate(bands)


def local_corrections(geometry: Geometry, rows: int, cols: int, step: Points) -> Field:
    """Residuals of the homography in reference px, fitted at nodes ``step`` LR px apart.

    (rows, cols, 2).
    """
    nodes = (grid(slice(0, rows), slice(0, cols)) + 0.5) * step - 0.5
    points = geometry.xy_lr
    residual = geometry.xy_ref - matching.project(geometry.homography, points)
    weight = np.ones(len(residual))
    tolerance = 0.5 * geometry.zoom
    index = matching.nearest_points(points, points, NEIGHBORS)
    for _ in range(3):  # robust: a match far from its neighbors' fit loses weight
        fitted = matching.local_affine(points, points, residual, weight, index)
        weight = 1.0 / (1.0 + ((fitted - residual) ** 2).sum(axis=1) / tolerance**2)
    flat = nodes.reshape(-1, 2)
    index = matching.nearest_points(flat, points, NEIGHBORS)
    bands = [slice(start, start + NODE_CHUNK) for start in range(0, len(flat), NODE_CHUNK)]
    fits = [matching.local_affine(flat[b], points, residual, weight, index[b]) for b in bands]
    return np.concatenate(fits).reshape(rows, cols, 2).astype(np.float32)


def guided_geometry(
    gray: Image,
    features: Features,
    enlarge: float,
    xy_ref: Field,
    reference: Reference,
    coarse: Geometry,
) -> Geometry | None:
    """Match again, with the reference warped into the input's frame by the field so far.

    That removes zoom, rotation and most of the perspective, and equalises the resolution.
    """
    warped = detect_lr_features(warp_gray_to_lr(xy_ref, reference), enlarge)
    radius = 4.0 + 0.02 * max(gray.shape)
    pairs = matching.match(features, warped, GUIDED_RATIO, features.xy, radius)
    if len(pairs) < MIN_INLIERS:
        return None
    xy_lr = features.xy[pairs[:, 0]].astype(np.float64)
    in_field = (warped.xy[pairs[:, 1]] + 0.5) * FIELD_SCALE - 0.5
    xy = matching.sample_points(xy_ref, in_field).astype(np.float64)
    return fit_geometry(xy_lr, xy, coarse.zoom, 0.5)


def refine_geometry(
    gray: Image, features: Features, enlarge: float, geometry: Geometry, reference: Reference
) -> tuple[Geometry, Field]:
    """Refine a geometry by at most two rounds of guided matching: geometry, smooth field."""
    height, width = gray.shape
    xy_ref = smooth_field(geometry, height, width)
    for _ in range(2):
        guided = guided_geometry(gray, features, enlarge, xy_ref, reference, geometry)
        if guided is None or len(guided.xy_lr) < len(geometry.xy_lr) // 2:
            break
        geometry = guided
        before, xy_ref = xy_ref, smooth_field(geometry, height, width)
        every = slice(None, None, NODE_SPACING)
        moved = cv2.absdiff(before[every, every], xy_ref[every, every]).max(axis=2)
        if np.median(moved) < CONVERGED * geometry.zoom:
            break
    return geometry, xy_ref
