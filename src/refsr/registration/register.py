"""Registration: where each part of a small photo lies in a reference photo, to sub-pixel accuracy.

The steps: SIFT features of both -> an initial geometry -> guided matching with the reference warped
into the input's frame -> local affine fits to the matches (parallax) -> dense optical flow ->
validity and consistency.

All coordinates are ``(x, y)`` with pixel centres at integers; ``warp.py`` defines the grids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration import flow, matching
from refsr.registration.color_match import IDENTITY, apply_color, color_match
from refsr.registration.geometry import (
    Geometry,
    detect_lr_features,
    enlargement,
    initial_geometry,
    refine_geometry,
)
from refsr.registration.plane import straightened
from refsr.registration.reference import (
    Reference,
    inside_valid_area,
    median_zoom,
    prepare_reference,
    to_level,
    warp_gray_to_lr,
)
from refsr.registration.warp import (
    FIELD_SCALE,
    Field,
    compose_fields,
    field_at_hr,
    grid,
    warp_image,
    warp_to_lr,
)

__all__ = ["Reference", "Registration", "align_reference", "prepare_reference", "register"]

RATIO = 0.85  # of Lowe's test in the first matching
FLOW_ROUNDS = 3  # at most; one loses coverage, five fit the noise
CONVERGED_FLOW = 0.1  # LR px: flow has converged where nine pixels of ten move by less
MIN_FLOW_SIDE = 8  # LR pixels: DIS needs a few patches
MIN_COVERAGE = 0.015  # flow between unrelated photos stays below this
CONSISTENT = 0.8  # validity times consistency above which a pixel counts as covered


@dataclass(frozen=True)
class Registration:
    """Where each part of an LR photo (h, w) lies in a reference.

    ``xy_ref`` is on the field grid, at twice the LR size: field pixel (i, j) has its centre at
    LR coordinate ((j + 0.5) / 2 - 0.5, (i + 0.5) / 2 - 0.5).
    """

    xy_ref: NDArray[np.float32]  # (2h, 2w, 2) reference pixels, centres at integers
    validity: NDArray[np.float32]  # (2h, 2w) 0..1, geometric: inside, not folded, low flow error
    consistency: NDArray[np.float32]  # (2h, 2w) 0..1, of the shrunk warped reference with the LR
    zoom: float  # median reference pixels per HR pixel; above 1 the reference is finer
    coverage: float  # share of the photo that is valid and consistent
    matches: int  # of features, in the first matching
    inliers: int  # of the last matching; guided matching may find more than ``matches``
    median_error: float  # LR px, of the inliers against a fit to their neighbors
    matched: bool
    color: NDArray[np.float32]  # (rows, cols, 6) gain RGB, offset RGB (0..1) of the color match
    contradicted: float = 0.0  # share of the photo that refutes the reference; evidence.py
    unconfirmed: NDArray[np.bool_] | None = None  # (h, w) where it cannot tell; None: not judged


def register(lr: NDArray[np.uint8], reference: Reference) -> Registration:
    """Register ``reference`` to ``lr`` (HWC RGB uint8, any size).

    Never fails: where they do not match, ``matched`` is False and the validity zero.
    """
    cv2.setRNGSeed(0)
    height, width = lr.shape[:2]
    gray = flow.luma(lr)
    enlarge = enlargement(height, width)
    features = detect_lr_features(gray, enlarge)
    pairs = matching.match(features, reference.features, RATIO)
    geometry = initial_geometry(features, reference.features, pairs)
    if geometry is None:  # a reference of a small part may pass the ratio test this way only
        pairs = matching.match(reference.features, features, RATIO)[:, ::-1]
        geometry = initial_geometry(features, reference.features, pairs)
    if geometry is None:
        return unmatched_registration(lr, reference, len(pairs))
    geometry, xy_ref = refine_geometry(gray, features, enlarge, geometry, reference)
    xy_ref, flow_error = refine_with_flow(gray, xy_ref, reference)
    return evaluate_field(lr, reference, xy_ref, flow_error, geometry, len(pairs))


def refine_with_flow(
    gray: Image, xy_ref: Field, reference: Reference, rounds: int = FLOW_ROUNDS
) -> tuple[Field, Image]:
    """Refine a field (2h, 2w, 2) by optical flow: the field, its forward-backward error (2h, 2w).

    ``gray`` (h, w): the LR photo's luma, 0..255. The error is in LR px.
    """
    height, width = gray.shape
    flow_error = np.zeros((FIELD_SCALE * height, FIELD_SCALE * width), np.float32)
    if min(height, width) < MIN_FLOW_SIDE:
        return xy_ref, flow_error
    lr_norm = flow.flow_input(gray)
    pixel_grid = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width))
    for step in range(rounds):
        warped = flow.flow_input(warp_gray_to_lr(xy_ref, reference))
        inside = inside_reference(xy_ref, reference)
        # Outside the reference the LR photo itself is the target: the flow stays smooth there.
        target = np.where(inside, warped, lr_norm)
        forward = None
        last = False
        if step > 0:
            left = flow.residual_flow(lr_norm, target)
            last = flow.has_converged(left, inside, CONVERGED_FLOW)
        if not last:
            forward = flow.dis_flow(lr_norm, target)
            xy_ref = compose_fields(xy_ref, pixel_grid + forward)
            middle = slice(flow.CELL // 2, None, flow.CELL)
            some = forward[middle, middle]
            moved = np.hypot(some[..., 0], some[..., 1])
            last = step > 0 and flow.has_converged(moved, inside, CONVERGED_FLOW)
        if last or step == rounds - 1:
            flow_error = flow.forward_backward_error(lr_norm, target, forward) / np.float32(
                FIELD_SCALE
            )
            break
    return xy_ref, flow_error


def evaluate_field(
    lr: NDArray[np.uint8],
    reference: Reference,
    xy_ref: Field,
    flow_error: Image,
    geometry: Geometry,
    matches: int,
) -> Registration:
    """Measure validity, consistency and color of a field (2h, 2w, 2): the Registration."""
    validity, trusted = measure_validity(xy_ref, flow_error, reference)
    zoom = median_zoom(xy_ref, trusted)
    consistency, shrunk = measure_consistency(lr, xy_ref, reference, zoom)
    both = validity * consistency
    coverage = float((both > CONSISTENT).mean())
    found = Registration(
        xy_ref=xy_ref,
        validity=validity,
        consistency=consistency,
        zoom=zoom,
        coverage=coverage,
        matches=matches,
        inliers=len(geometry.xy_lr),
        median_error=geometry.error,
        matched=coverage > MIN_COVERAGE,
        color=color_match(lr, shrunk, both),
    )
    if not found.matched:
        return replace(found, validity=np.zeros_like(found.validity))
    return replace(found, xy_ref=straightened(lr, xy_ref, trusted, reference))


def inside_reference(xy_ref: Field, reference: Reference) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) points into the reference and its valid area: (2h, 2w)."""
    return flow.inside_image(xy_ref, reference.pixels.shape) & inside_valid_area(xy_ref, reference)


def measure_validity(
    xy_ref: Field, flow_error: Image, reference: Reference
) -> tuple[Image, NDArray[np.bool_]]:
    """Geometric validity 0..1 of a field (2h, 2w, 2), and where it is trusted: (2h, 2w) each."""
    inside = inside_reference(xy_ref, reference)
    folded = flow.find_folds(xy_ref, inside)
    trust = np.exp(-((flow_error / 0.5) ** 2)) * (inside & ~folded)
    validity = np.clip(cv2.GaussianBlur(trust.astype(np.float32), (0, 0), 1.0), 0, 1) * inside
    return validity.astype(np.float32), trust > 0.5


def measure_consistency(
    lr: NDArray[np.uint8], xy_ref: Field, reference: Reference, zoom: float
) -> tuple[Image, Image]:
    """Consistency (2h, 2w) 0..1 with the LR photo, and the shrunk warped reference (h, w, 3)."""
    pixels, level = reference.prefiltered(zoom)
    shrunk = warp_to_lr(pixels, to_level(xy_ref, level))
    local = flow.local_correlation(flow.luma(lr), flow.luma(shrunk))
    size = (FIELD_SCALE * lr.shape[1], FIELD_SCALE * lr.shape[0])
    consistency = np.clip(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    return consistency.astype(np.float32), shrunk


def unmatched_registration(
    lr: NDArray[np.uint8], reference: Reference, matches: int
) -> Registration:
    """The registration of a reference that does not match: stretched to the input's size."""
    height, width = lr.shape[:2]
    ref_height, ref_width = reference.pixels.shape[:2]
    stretch = np.array(
        [ref_width / (FIELD_SCALE * width), ref_height / (FIELD_SCALE * height)], np.float32
    )
    pixel_grid = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width))
    xy_ref = (pixel_grid + np.float32(0.5)) * stretch - np.float32(0.5)
    zero = np.zeros(xy_ref.shape[:2], np.float32)
    return Registration(
        xy_ref=xy_ref,
        validity=zero,
        consistency=zero.copy(),
        zoom=median_zoom(xy_ref),
        coverage=0.0,
        matches=matches,
        inliers=0,
        median_error=float("inf"),
        matched=False,
        color=IDENTITY,
    )


def align_reference(
    registration: Registration,
    reference: Reference,
    lr: NDArray[np.uint8],
    rows: slice,
    cols: slice,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Warp the reference into the frame and the colors of the input, for a tile in LR pixels.

    ``lr`` is the whole photo (h, w, 3); ``rows`` and ``cols`` have explicit bounds. Returns the HR
    tile (4H, 4W, 3) float32 0..1 and its geometric validity (4H, 4W) float32 0..1. A pixel's value
    does not depend on the tile.
    """
    validity = field_at_hr(registration.validity, rows, cols)
    if not registration.matched:
        return np.zeros((*validity.shape, 3), np.float32), validity
    xy_ref = field_at_hr(registration.xy_ref, rows, cols)
    pixels, level = reference.prefiltered(registration.zoom)
    warped = warp_image(pixels, to_level(xy_ref, level), cv2.INTER_LANCZOS4) / np.float32(255)
    return apply_color(warped, registration.color, lr.shape, rows, cols), validity
