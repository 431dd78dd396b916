"""Outlines of the region that a reference and the photo share, to draw on both."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.registration.fusion import Composite
from refsr.registration.register import CONSISTENT

SMOOTHING = 0.03  # of the photo's long side: gaps of that width are closed, islands removed
MIN_AREA = 0.004  # of the photo: smaller regions are not drawn
MAX_POINTS = 120  # of one outline

Polygon = list[list[float]]  # (x, y), 0..1 of the image's width and height


def match_outlines(composite: Composite, index: int) -> list[dict[str, Polygon]]:
    """The matching regions of one reference, each as an outline in "photo" and in "reference".

    Empty where the reference does not match.
    """
    registration = composite.registrations[index]
    if not registration.matched:
        return []
    confidence = registration.validity * registration.consistency
    height, width = confidence.shape
    ref_height, ref_width = composite.references[index].pixels.shape[:2]
    found: list[dict[str, Polygon]] = []
    for contour in smooth_contours(confidence > CONSISTENT):
        xy_ref = registration.xy_ref[contour[:, 1], contour[:, 0]]
        photo = normalized(contour, width, height)
        found.append({"photo": photo, "reference": normalized(xy_ref, ref_width, ref_height)})
    return found


def smooth_contours(mask: NDArray[np.bool_]) -> list[NDArray[Any]]:
    """Outer contours (N, 2) x, y of the large regions of a mask (H, W), smoothed; largest first."""
    side = 2 * round(SMOOTHING * max(mask.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), side, side, side, side, cv2.BORDER_REPLICATE)
    padded = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, disc)
    padded = cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc)
    smooth = np.ascontiguousarray(padded[side:-side, side:-side])
    found, _ = cv2.findContours(smooth, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [one for one in found if cv2.contourArea(one) >= MIN_AREA * mask.size]
    large.sort(key=cv2.contourArea, reverse=True)
    return [subsampled(one[:, 0]) for one in large]


def subsampled(contour: NDArray[Any]) -> NDArray[Any]:
    """At most MAX_POINTS points of a contour (N, 2), evenly spaced along it."""
    step = max(1, -(-len(contour) // MAX_POINTS))
    return contour[::step]


def normalized(xy: NDArray[Any], width: int, height: int) -> Polygon:
    """Pixel coordinates (N, 2) as shares of the image, 0 and 1 at its edges."""
    shares = (xy.astype(np.float64) + 0.5) / (width, height)
    return cast(Polygon, np.clip(shares, 0.0, 1.0).round(4).tolist())
