"""Sparse geometry: from matched features to a smooth field that follows parallax."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration import matching
from refsr.registration.matching import Features, Points
from refsr.registration.reference import Reference, warped_gray
from refsr.registration.warp import BAND_ROWS, FIELD_SCALE, Field, grid, sample

WORKING_SIDE = 800  # an LR photo is not enlarged beyond this for finding features
MAX_FEATURES = 4000
MIN_INLIERS = 8  # fewer agree by chance in unrelated photos
NODE = 8  # LR pixels between the nodes of the smooth field
NODES_AT_ONCE = 2048  # bounds the memory of their fits
NEIGHBOURS = 40  # inliers that each node of the smooth field is fitted to
SETTLED = 0.1  # LR pixels: a guided round that moves the field by less is the last
GUIDED_RATIO = 0.92  # a guided match has few rivals


@dataclass(frozen=True)
class Geometry:
    """A sparse solution: what a homography explains, and what it leaves over at the inliers."""

    homography: NDArray[np.float64]  # LR px -> reference px
    xy_lr: Points  # (N, 2)
    xy_ref: Points  # (N, 2)
    zoom: float  # reference pixels per LR pixel
    error: float  # median, LR px


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
        np.clip(up + 0.5, 0, 255).astype(np.uint8), width / size[0], MAX_FEATURES
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
    homography = matching.fit_homography(xy_lr, scaled, 2.0 * threshold)
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
    step = np.array([width / cols, height / rows])
    correction = corrections(geometry, rows, cols, step)
    bands: list[Field] = []
    for start in range(0, FIELD_SCALE * height, BAND_ROWS):
        band = slice(start, min(start + BAND_ROWS, FIELD_SCALE * height))
        here = grid(band, slice(0, FIELD_SCALE * width), 1 / FIELD_SCALE)
        at_nodes = ((here + 0.5) / step - 0.5).astype(np.float32)
        plane = matching.project(geometry.homography, here).astype(np.float32)
        bands.append(plane + sample(correction, at_nodes))
    return np.concatenate(bands)


def corrections(geometry: Geometry, rows: int, cols: int, step: Points) -> Field:
    """What the homography leaves over, fitted at nodes ``step`` LR px apart: (rows, cols, 2)."""
    nodes = (grid(slice(0, rows), slice(0, cols)) + 0.5) * step - 0.5
    points = geometry.xy_lr
    residual = geometry.xy_ref - matching.project(geometry.homography, points)
    weight = np.ones(len(residual))
    tolerance = 0.5 * geometry.zoom
    index = matching.nearest(points, points, NEIGHBOURS)
    for _ in range(3):  # a match far from its neighbours' fit loses its say
        fitted = matching.local_affine(points, points, residual, weight, index)
        weight = 1.0 / (1.0 + ((fitted - residual) ** 2).sum(axis=1) / tolerance**2)
    flat = nodes.reshape(-1, 2)
    index = matching.nearest(flat, points, NEIGHBOURS)
    bands = [slice(start, start + NODES_AT_ONCE) for start in range(0, len(flat), NODES_AT_ONCE)]
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
    """Match again, with the reference warped into the input's frame by what is known so far.

    Zoom, rotation and most of the perspective are gone then, and the resolution is the same.
    """
    warped = input_features(warped_gray(xy_ref, reference), enlarge)
    radius = 4.0 + 0.02 * max(gray.shape)
    pairs = matching.match(features, warped, GUIDED_RATIO, features.xy, radius)
    if len(pairs) < MIN_INLIERS:
        return None
    xy_lr = features.xy[pairs[:, 0]].astype(np.float64)
    in_field = (warped.xy[pairs[:, 1]] + 0.5) * FIELD_SCALE - 0.5
    xy = matching.at(xy_ref, in_field).astype(np.float64)
    return agree(xy_lr, xy, coarse.zoom, 0.5)


def rematch(
    gray: Image, features: Features, enlarge: float, geometry: Geometry, reference: Reference
) -> tuple[Geometry, Field]:
    """Guided rounds of matching, two at most: a better sparse geometry, and its smooth field."""
    height, width = gray.shape
    xy_ref = smooth_field(geometry, height, width)
    for _ in range(2):
        second = guided_geometry(gray, features, enlarge, xy_ref, reference, geometry)
        if second is None or len(second.xy_lr) < len(geometry.xy_lr) // 2:
            break
        geometry = second
        before, xy_ref = xy_ref, smooth_field(geometry, height, width)
        moved = cv2.absdiff(before[::NODE, ::NODE], xy_ref[::NODE, ::NODE]).max(axis=2)
        if np.median(moved) < SETTLED * geometry.zoom:
            break
    return geometry, xy_ref
