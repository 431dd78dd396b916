"""Stiffer than flow: the scene's main plane, where it explains the photo as well.

Where texture aliases, and beside people who moved, flow bends walls and stripes until the shrunk
reference fits the photo. A camera does not bend them.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.flow import luma
from refsr.registration.matching import fit_homography, project
from refsr.registration.misfit import blurred, misfit
from refsr.registration.reference import Reference, median_zoom, to_level
from refsr.registration.warp import Field, grid, warp_to_lr
from refsr.resize import SCALE

POINTS = 4000  # of the field, to which the plane is fitted
NEAR_PLANE = 0.25  # LR px, of points that lie on it
MIN_SHARE = 0.1  # of the points; fewer are no plane
MIN_POINTS = 50
BENT = 0.4  # LR px from the plane; nearer, flow is the more precise of the two
AS_WELL = 1.05, 0.1  # factor on flow's misfit, and levels, up to which the plane fits as well
SMOOTH, SEAM = 1.5, 1.5  # LR px of the misfits that are compared; field px of the transition


def straightened(
    lr: NDArray[np.uint8], xy_ref: Field, trusted: NDArray[np.bool_], reference: Reference
) -> Field:
    """A field (2h, 2w, 2) of the photo ``lr`` (h, w, 3), on the plane where that fits as well.

    ``trusted`` (2h, 2w): where the field may tell the plane.
    """
    zoom = median_zoom(xy_ref, trusted)
    homography = main_plane(xy_ref, trusted, NEAR_PLANE * SCALE * zoom)
    if homography is None:
        return xy_ref
    plane = plane_field(homography, xy_ref.shape[:2])
    off = plane - xy_ref
    bent = np.hypot(off[..., 0], off[..., 1]) > BENT * SCALE * zoom
    if not bent.any():
        return xy_ref
    gray = luma(lr)
    of_flow, of_plane = (local_misfit(gray, xy, reference, zoom) for xy in (xy_ref, plane))
    fits = (of_plane < AS_WELL[0] * of_flow + AS_WELL[1]).astype(np.float32)
    size = xy_ref.shape[1], xy_ref.shape[0]
    share = cv2.resize(fits, size, interpolation=cv2.INTER_LINEAR) * bent
    share = blurred(share.astype(np.float32), SEAM)[..., None]
    return (xy_ref + share * off).astype(np.float32)


def main_plane(
    xy_ref: Field, trusted: NDArray[np.bool_], tolerance: float
) -> NDArray[np.float64] | None:
    """The homography (3, 3) from field pixels that most of a field lies on, or None.

    ``tolerance``: reference pixels.
    """
    rows, columns = np.nonzero(trusted)
    step = max(1, len(rows) // POINTS)
    rows, columns = rows[::step], columns[::step]
    if len(rows) < MIN_POINTS:
        return None
    ours = np.stack([columns, rows], axis=1).astype(np.float64)
    theirs = xy_ref[rows, columns].astype(np.float64)
    homography = fit_homography(ours, theirs, tolerance)
    if homography is None:
        return None
    off = np.hypot(*(project(homography, ours) - theirs).T)
    return homography if np.mean(off < tolerance) >= MIN_SHARE else None


def plane_field(homography: NDArray[np.float64], shape: tuple[int, ...]) -> Field:
    """The field (2h, 2w, 2) of a homography."""
    pixels = grid(slice(0, shape[0]), slice(0, shape[1]))
    return project(homography, pixels).astype(np.float32)


def local_misfit(gray: Image, xy_ref: Field, reference: Reference, zoom: float) -> Image:
    """What is left of the photo's luma (h, w) beside the reference so placed: (h, w) levels."""
    pixels, level = reference.prefiltered(zoom)
    shown = luma(warp_to_lr(pixels, to_level(xy_ref, level)))
    left, _ = misfit(gray, shown)
    return np.sqrt(blurred(left**2, SMOOTH))
