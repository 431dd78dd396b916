"""Evidence before borrowing: where a close look at the photo refutes the reference.

A digit, an eye or a window that differs is seen in the photo, however small: shrunk, the reference
is not what the photo shows. Networks are taken in by it where the two are nearly alike, and where
the reference's detail is strong and stands on flat ground, as strokes do; of a texture that differs
they take no more than is there, and it does them good (docs/decisions/2026-11-27.md, "Evidence
before borrowing"). So only the first is left to the photo.

Where the photo is too coarse to tell, such as digits of two of its pixels, it neither refutes nor
confirms: that is said, and left to the photo where the caller is strict.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.tiling import bands
from refsr.registration.flow import correlation, luma
from refsr.registration.misfit import NEAR, blurred, misfit
from refsr.registration.reference import Reference
from refsr.registration.register import Registration, align_reference
from refsr.registration.warp import FIELD_SCALE, shrink4
from refsr.resize import SCALE, imresize

BAND_ROWS = 64  # LR rows that are aligned at a time
HALO = 2  # LR rows that the shrinking kernel reaches beyond a band
AROUND = 2.0  # LR px: sigma of a glyph
TRUSTED, TEXTURED = 0.9, 6.0  # validity, and levels of contrast, of places that tell the noise
MIN_TEXTURED = 50  # LR pixels
NOISE, SHARE = (0.7, 8.0), (0.04, 0.1)  # levels, and share of the contrast, that are usual
USUAL = {0.25: 1.5, 0.1: 1.7}  # factor by quantile; medians where much of a pair differs are not it
CONTRADICTS = 4.0  # times what is usual
ALIKE = 0.6  # local correlation; where less is alike, networks see it themselves
FLAT = 4.0  # levels per HR pixel: less slope is flat
# Detail of the reference, levels, and flat share around it, either of which takes a network in
STRONG, CLEAR = (25.0, 0.3), (15.0, 0.4)
IN_FACES = 3.0  # times what is usual contradicts in a face, however little detail it has
FEATURE = 0.12  # of a face's side: around what contradicts, as far as an eye or a mouth reaches
LARGE_FACE = 56.0  # LR px; in larger faces eyes and mouths are large enough for networks to see
WHOLE_FACE = 0.25  # share of a face that contradicts, from which all of it is left to the photo
VISIBLE, UNLIKE = 6.0, 0.8  # levels of detail; less local correlation, and it is farther from the
# truth than none (mean square error of the detail over that of none: 1.3 below 0.8, 0.7 at 0.92)
GLYPHS = 12.0, 0.2  # levels of detail, and flat share around it, of small glyphs
FINE, FINEST = 1.0, 0.7  # HR px: sigmas of what the finer parts of the detail are free of
# Shares of the detail that is fine, and of that the finest, either of which is of glyphs that the
# photo cannot tell: digits of 10 HR px and less; above 14 px (nine of ten are told) none
FINE_SHARE, FINEST_SHARE = 0.40, 0.47

Boxes = NDArray[np.float32]  # (N, 4) left, top, right, bottom, in pixels
NO_BOXES: Boxes = np.zeros((0, 4), np.float32)


@dataclass(frozen=True)
class Seen:
    """What a reference would have been to the photo's camera, and what it has beyond that."""

    luma: Image  # (h, w) 0..255, the aligned reference shrunk by four
    alike: Image  # (h, w) -1..1, local correlation of the photo with that
    detail: Image  # (h, w) local mean square of what shrinking removes, in levels
    flat: Image  # (h, w) share of the HR pixels around that are flat
    fine: Image  # (h, w) local mean square of what is fine of ``detail``
    finest: Image  # (h, w) and of what is finest of it


def judge(
    lr: NDArray[np.uint8],
    reference: Reference,
    registration: Registration,
    faces: Boxes = NO_BOXES,
    strict: bool = False,
) -> Registration:
    """A registration to ``lr`` (h, w, 3), not valid where the photo contradicts the reference.

    ``faces``: boxes in LR pixels in which it is looked at more closely.
    ``strict``: nor valid where it cannot confirm it.
    """
    if not registration.validity.any():
        return registration
    seen, gray = look(lr, reference, registration), luma(lr)
    height, width = lr.shape[:2]
    validity = cv2.resize(registration.validity, (width, height), interpolation=cv2.INTER_AREA)
    refuted = contradicted(gray, seen, np.asarray(validity, np.float32), faces)
    doubtful = unconfirmed(seen) & (validity > 0) & ~refuted
    share = float((refuted & (validity > 0.5)).mean())
    registration = replace(registration, contradicted=share, unconfirmed=doubtful)
    left = refuted | doubtful if strict else refuted
    if not left.any():
        return registration
    size = FIELD_SCALE * width, FIELD_SCALE * height
    kept = cv2.resize(1 - left.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    return replace(registration, validity=registration.validity * kept)


def look(lr: NDArray[np.uint8], reference: Reference, registration: Registration) -> Seen:
    """The aligned reference in the frame of ``lr`` (h, w, 3), band by band."""
    height, width = lr.shape[:2]
    found: list[Image] = []
    for rows, kept in bands(height, BAND_ROWS, HALO):
        aligned, _ = align_reference(registration, reference, lr, rows, slice(0, width))
        hr = luma(aligned * np.float32(255))
        shrunk = shrink4(hr)
        detail = hr - imresize(shrunk, scale=float(SCALE))
        slope = np.hypot(
            *(cv2.Sobel(hr, cv2.CV_32F, x, 1 - x, ksize=3, scale=1 / 8) for x in (0, 1))
        )
        planes = [shrunk, pooled(detail**2), pooled((slope < FLAT).astype(np.float32))]
        planes += [pooled((detail - blurred(detail, sigma)) ** 2) for sigma in (FINE, FINEST)]
        found.append(np.stack(planes)[:, kept])
    shrunk, detail, flat, fine, finest = np.concatenate(found, axis=1)
    squares = (np.maximum(blurred(plane, NEAR), 0) for plane in (detail, fine, finest))
    detail, fine, finest = squares
    alike = correlation(luma(lr), shrunk, AROUND)
    return Seen(shrunk, alike, detail, blurred(flat, AROUND), fine, finest)


def pooled(plane: Image) -> Image:
    """The means of the HR pixels (4h, 4w) of each LR pixel: (h, w)."""
    height, width = plane.shape[0] // SCALE, plane.shape[1] // SCALE
    return np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def contradicted(
    lr: Image, seen: Seen, validity: Image, faces: Boxes = NO_BOXES
) -> NDArray[np.bool_]:
    """Where a photo's luma (h, w), 0..255, refutes a reference that a network would believe."""
    difference, contrast = misfit(lr, seen.luma)
    usually = usual_misfit(difference, contrast, validity)
    allowed = CONTRADICTS * usually
    deceives = (seen.detail > STRONG[0] ** 2) & (seen.flat > STRONG[1])
    deceives |= (seen.detail > CLEAR[0] ** 2) & (seen.flat > CLEAR[1])
    refuted = (difference > allowed) & deceives & (seen.alike > ALIKE)
    around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    refuted = cv2.dilate(refuted.astype(np.uint8), around) > 0
    return refuted | other_faces(difference > IN_FACES * usually, faces)


def other_faces(differs: NDArray[np.bool_], faces: Boxes) -> NDArray[np.bool_]:
    """The parts of faces, or whole faces, that are others: (h, w).

    ``differs`` (h, w): where the photo does not show what the reference would have been to it.
    """
    height, width = differs.shape
    others = np.zeros(differs.shape, bool)
    for left, top, right, bottom in faces:
        y, x = (
            slice(max(0, int(first)), max(0, min(int(np.ceil(last)), length)))
            for first, last, length in ((top, bottom, height), (left, right, width))
        )
        face = differs[y, x]
        if right - left > LARGE_FACE or not face.any():
            continue
        reach = max(1, round(FEATURE * float(right - left)))
        around = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
        feature = cv2.dilate(face.astype(np.uint8), around) > 0
        others[y, x] |= feature if face.mean() < WHOLE_FACE else True
    return others


def unconfirmed(seen: Seen) -> NDArray[np.bool_]:
    """Where the photo bears no witness to detail that the reference has: (h, w).

    There its structure is another one, or the detail is of glyphs too small for its pixels.
    """
    unlike = (seen.detail > VISIBLE**2) & (seen.alike < UNLIKE)
    small = (seen.fine > FINE_SHARE * seen.detail) | (seen.finest > FINEST_SHARE * seen.fine)
    small &= (seen.detail > GLYPHS[0] ** 2) & (seen.flat > GLYPHS[1])
    gaps = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))  # within a number or a line
    return cv2.morphologyEx((unlike | small).astype(np.uint8), cv2.MORPH_CLOSE, gaps) > 0


def usual_misfit(difference: Image, contrast: Image, validity: Image) -> Image:
    """The misfit that noise and registration cause in this pair: (h, w) levels."""
    trusted = validity > TRUSTED
    textured = trusted & (contrast > TEXTURED)
    noise, share = NOISE[1], SHARE[1]
    if trusted.any():
        noise = usual(difference[trusted], NOISE)
    if textured.sum() >= MIN_TEXTURED:
        share = usual(difference[textured] / contrast[textured], SHARE)
    return np.sqrt(noise**2 + (share * contrast) ** 2)


def usual(values: Image, limits: tuple[float, float]) -> float:
    """What is usual of ``values``, also where most of them are far above it; within ``limits``."""
    found = (factor * np.quantile(values, share) for share, factor in USUAL.items())
    return float(np.clip(min(found), *limits))
