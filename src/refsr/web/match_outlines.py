"""Where a reference shows the photo, as outlines to draw on both."""

from __future__ import annotations

from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.registration.fusion import Composite
from refsr.registration.register import CONSISTENT

SMOOTH = 0.03  # of the photo's long side: gaps of that width are closed, islands dropped
LEAST_AREA = 0.004  # of the photo: what is smaller is not drawn
MOST_POINTS = 120  # of one outline

Line = list[list[float]]  # (x, y), 0..1 of the picture's width and height


def outlines(composite: Composite, index: int) -> list[dict[str, Line]]:
    """The matching regions of one reference: each as ``photo`` and ``reference`` outline.

    Empty where the reference does not match.
    """
    registration = composite.registrations[index]
    if not registration.matched:
        return []
    fit = registration.validity * registration.consistency
    ref_height, ref_width = composite.references[index].pixels.shape[:2]
    found: list[dict[str, Line]] = []
    for contour in contours(fit > CONSISTENT):
        xy_ref = registration.xy_ref[contour[:, 1], contour[:, 0]]
        photo = normalised(contour, fit.shape[1], fit.shape[0])
        found.append({"photo": photo, "reference": normalised(xy_ref, ref_width, ref_height)})
    return found


def contours(mask: NDArray[np.bool_]) -> list[NDArray[Any]]:
    """The outer outlines (N, 2) x, y of the large parts of a mask (H, W), its ragged edge calmed.

    The largest comes first.
    """
    side = 2 * round(SMOOTH * max(mask.shape) / 2) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), side, side, side, side, cv2.BORDER_REPLICATE)
    framed = cv2.morphologyEx(framed, cv2.MORPH_CLOSE, disc)
    framed = cv2.morphologyEx(framed, cv2.MORPH_OPEN, disc)
    calm = np.ascontiguousarray(framed[side:-side, side:-side])
    found, _ = cv2.findContours(calm, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    large = [one for one in found if cv2.contourArea(one) >= LEAST_AREA * mask.size]
    large.sort(key=cv2.contourArea, reverse=True)
    return [thinned(one[:, 0]) for one in large]


def thinned(contour: NDArray[Any]) -> NDArray[Any]:
    """At most MOST_POINTS points of a contour (N, 2), evenly spaced along it."""
    step = max(1, -(-len(contour) // MOST_POINTS))
    return contour[::step]


def normalised(xy: NDArray[Any], width: int, height: int) -> Line:
    """Pixel places (N, 2) as shares of the picture, its edges at 0 and 1."""
    shares = (xy.astype(np.float64) + 0.5) / (width, height)
    return cast(Line, np.clip(shares, 0.0, 1.0).round(4).tolist())
