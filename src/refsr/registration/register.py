"""Registration: where each part of a small photo lies in a reference photo, to sub-pixel.

The road: SIFT features on both -> a first geometry -> the reference warped into the input's frame
and matched again, guided -> local affine fits to the matches (parallax) -> dense optical flow ->
how far to trust it. OpenCV does each step; this file puts them in order.

All coordinates are ``(x, y)`` with pixel centres at integers; ``warp.py`` has the grids.
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
    enlargement,
    first_geometry,
    input_features,
    rematch,
)
from refsr.registration.reference import (
    Reference,
    at_level,
    prepare_reference,
    seen,
    warped_gray,
    zoom_of,
)
from refsr.registration.warp import FIELD_SCALE, Field, compose, grid, read_field, render, shrunk_warp

__all__ = ["Reference", "Registration", "align_reference", "prepare_reference", "register"]

RATIO = 0.85  # Lowe's ratio of the first matching
FLOW_ROUNDS = 3  # at most; one loses coverage, five follow the noise
SETTLED_FLOW = 0.1  # LR px: where nine places of ten would move by less, flow has ended
SMALLEST_FLOW = 8  # LR pixels: DIS needs a few patches
MIN_COVERAGE = 0.015  # what flow makes up between unrelated photos stays below this
CONSISTENT = 0.8  # agreement above which a place counts as explained


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
    matches: int  # of features, before any geometry is known
    inliers: int  # with those that guided matching found afterwards: there may be more
    median_error: float  # LR px, of the inliers against their neighbours
    matched: bool
    color: NDArray[np.float32]  # (rows, cols, 6) gain RGB, offset RGB (0..1) of the color match


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
    if geometry is None:  # a reference of a small part: its own features have fewer rivals here
        pairs = matching.match(reference.features, features, RATIO)[:, ::-1]
        geometry = first_geometry(features, reference.features, pairs)
    if geometry is None:
        return unmatched(lr, reference, len(pairs))
    geometry, xy_ref = rematch(gray, features, enlarge, geometry, reference)
    xy_ref, doubt = dense(gray, xy_ref, reference)
    return judge(lr, reference, xy_ref, doubt, geometry, len(pairs))


def dense(
    gray: Image, xy_ref: Field, reference: Reference, rounds: int = FLOW_ROUNDS
) -> tuple[Field, Image]:
    """Optical flow on top of the smooth field: the field, and its doubt in LR px (2h, 2w)."""
    height, width = gray.shape
    doubt = np.zeros((FIELD_SCALE * height, FIELD_SCALE * width), np.float32)
    if min(height, width) < SMALLEST_FLOW:
        return xy_ref, doubt
    lr_norm = flow.comparable(gray)
    here = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width))
    for step in range(rounds):
        warped = flow.comparable(warped_gray(xy_ref, reference))
        inside = reached(xy_ref, reference)
        # Where the reference does not reach the LR photo stands in: nothing is torn there.
        target = np.where(inside, warped, lr_norm)
        forward = None
        last = step > 0 and flow.settled(flow.left_over(lr_norm, target), inside, SETTLED_FLOW)
        if not last:
            forward = flow.dis_flow(lr_norm, target)
            xy_ref = compose(xy_ref, here + forward)
            middle = slice(flow.CELL // 2, None, flow.CELL)
            some = forward[middle, middle]
            moved = np.hypot(some[..., 0], some[..., 1])
            last = step > 0 and flow.settled(moved, inside, SETTLED_FLOW)
        if last or step == rounds - 1:
            doubt = flow.round_trip(lr_norm, target, forward) / np.float32(FIELD_SCALE)
            break
    return xy_ref, doubt


def judge(
    lr: NDArray[np.uint8],
    reference: Reference,
    xy_ref: Field,
    doubt: Image,
    geometry: Geometry,
    matches: int,
) -> Registration:
    """Validity, consistency and color of a finished field."""
    validity, trusted = valid(xy_ref, doubt, reference)
    zoom = zoom_of(xy_ref, trusted)
    consistency, shrunk = consistent(lr, xy_ref, reference, zoom)
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
    return found if found.matched else replace(found, validity=np.zeros_like(found.validity))


def reached(xy_ref: Field, reference: Reference) -> NDArray[np.bool_]:
    """Where a field (2h, 2w, 2) leads to something that the reference shows: (2h, 2w)."""
    return flow.reached(xy_ref, reference.pixels.shape) & seen(xy_ref, reference)


def valid(xy_ref: Field, doubt: Image, reference: Reference) -> tuple[Image, NDArray[np.bool_]]:
    """Geometric validity of a field (2h, 2w, 2), 0..1, and where it is trusted: (2h, 2w) each."""
    inside = reached(xy_ref, reference)
    torn = flow.folding(xy_ref, inside)
    trust = np.exp(-((doubt / 0.5) ** 2)) * (inside & ~torn)
    validity = np.clip(cv2.GaussianBlur(trust.astype(np.float32), (0, 0), 1.0), 0, 1) * inside
    return validity.astype(np.float32), trust > 0.5


def consistent(
    lr: NDArray[np.uint8], xy_ref: Field, reference: Reference, zoom: float
) -> tuple[Image, Image]:
    """How well the shrunk warped reference explains the LR photo (2h, 2w), 0..1, and that image."""
    pixels, level = reference.prefiltered(zoom)
    shrunk = shrunk_warp(pixels, at_level(xy_ref, level))
    local = flow.agreement(flow.luma(lr), flow.luma(shrunk))
    size = (FIELD_SCALE * lr.shape[1], FIELD_SCALE * lr.shape[0])
    consistency = np.clip(cv2.resize(local, size, interpolation=cv2.INTER_LINEAR), 0, 1)
    return consistency.astype(np.float32), shrunk


def unmatched(lr: NDArray[np.uint8], reference: Reference, matches: int) -> Registration:
    """The answer where the reference has nothing to do with the input: both are stretched alike."""
    height, width = lr.shape[:2]
    ref_height, ref_width = reference.pixels.shape[:2]
    stretch = np.array([ref_width / (FIELD_SCALE * width), ref_height / (FIELD_SCALE * height)], np.float32)
    here = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width))
    xy_ref = (here + np.float32(0.5)) * stretch - np.float32(0.5)
    zero = np.zeros(xy_ref.shape[:2], np.float32)
    return Registration(
        xy_ref, zero, zero.copy(), zoom_of(xy_ref), 0.0, matches, 0, float("inf"), False, IDENTITY
    )


def align_reference(
    registration: Registration,
    reference: Reference,
    lr: NDArray[np.uint8],
    rows: slice,
    cols: slice,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The reference in the frame and the colors of the input, for a tile given in LR pixels.

    ``lr`` is the whole photo (h, w, 3); ``rows`` and ``cols`` have explicit bounds. Returns the HR
    tile (4H, 4W, 3) float32 0..1 and its geometric validity (4H, 4W) float32 0..1. A pixel's value
    does not depend on the tile that it is asked for with.
    """
    validity = read_field(registration.validity, rows, cols)
    if not registration.matched:
        return np.zeros((*validity.shape, 3), np.float32), validity
    xy_ref = read_field(registration.xy_ref, rows, cols)
    pixels, level = reference.prefiltered(registration.zoom)
    warped = render(pixels, at_level(xy_ref, level), cv2.INTER_LANCZOS4) / np.float32(255)
    return apply_color(warped, registration.color, lr.shape, rows, cols), validity
