"""Fusion: any number of registered references, blended into one image in the photo's frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.detail_transfer import fine_detail, transferred_detail
from refsr.registration.evidence import Boxes, judge
from refsr.registration.gain import expected_gain, gain_factors
from refsr.registration.noise import without_noise
from refsr.registration.register import Reference, Registration, align_reference, register
from refsr.registration.warp import FIELD_SCALE, field_at_hr
from refsr.resize import SCALE, imresize

SEAM_SIGMA = 4.0  # field pixels: sigma of the blend at seams
WIDEST_FACTOR = 0.8  # on the cost of the reference with the largest coverage: fewer seams
ERROR_COST = 0.1  # per LR px of median registration error
UNUSED_COST = 9.0  # above any other

MIN_ZOOM = 1 / 3  # reference pixels per HR pixel; at 0.25 it is as coarse as the photo itself

MIN_GAIN = 0.03  # dB: expected of a reference that is used
MIN_FINENESS = 2.4  # sharp references: 3.3 to 6.5, half as fine 2.8 to 3.9, no finer 1.1 to 2.4
CELL, CELLS = 32, 6  # LR pixels a side of the cells in which it is measured, and how many


def is_useful(lr: NDArray[np.uint8], reference: Reference, registration: Registration) -> bool:
    """Whether a registered reference has detail to add to the photo ``lr`` (h, w, 3).

    A blurred or enlarged reference has the resolution but no detail, so its detail is measured. A
    few features that match by chance promise no gain, and on repeated structures cost a little.
    """
    if not registration.matched or registration.zoom < MIN_ZOOM:
        return False
    if expected_gain([gain_factors(lr, registration)]) < MIN_GAIN:
        return False
    return fineness(without_noise(lr), reference, registration) >= MIN_FINENESS  # no detail either


def fineness(lr: NDArray[np.uint8], reference: Reference, registration: Registration) -> float:
    """The aligned reference's RMS detail over that of the bicubic photo, where it fits best."""
    of_reference = of_photo = 0.0
    for rows, cols in best_cells(lr, registration):
        aligned, valid = align_reference(registration, reference, lr, rows, cols)
        bicubic = imresize(lr[rows, cols].astype(np.float32) / 255, scale=float(SCALE))
        weight = (valid > 0.5)[..., None]
        of_reference += float((fine_detail(aligned) ** 2 * weight).sum())
        of_photo += float((fine_detail(bicubic) ** 2 * weight).sum())
    return float(np.sqrt(of_reference / max(of_photo, 1e-9)))


def best_cells(lr: NDArray[np.uint8], registration: Registration) -> list[tuple[slice, slice]]:
    """The CELLS cells of the photo ``lr`` (h, w, 3) in which a reference fits best, in LR px."""
    height, width = lr.shape[:2]
    fit = registration.validity * registration.consistency
    cells = [
        (slice(y, min(height, y + CELL)), slice(x, min(width, x + CELL)))
        for y in range(0, height, CELL)
        for x in range(0, width, CELL)
    ]
    cells.sort(key=lambda cell: -float(fit[field_slice(cell[0]), field_slice(cell[1])].sum()))
    return cells[:CELLS]


def field_slice(part: slice) -> slice:
    """A slice of LR pixels as a slice of field pixels."""
    return slice(FIELD_SCALE * part.start, FIELD_SCALE * part.stop)


@dataclass(frozen=True)
class Composite:
    """A photo's references, registered, with their blending weights.

    ``blend_weights`` are (2h, 2w) float32 fields, one per reference: 0..1, summing to one where any
    used reference is valid, and zero for one that is not used. The order of the references does
    not matter.
    """

    lr: NDArray[np.uint8]  # (h, w, 3) RGB
    references: tuple[Reference, ...]
    registrations: tuple[Registration, ...]
    blend_weights: tuple[Image, ...]
    useful: tuple[bool, ...]  # whether each reference is used
    copies: tuple[int, ...] = ()  # those that are the photo itself, enlarged: they are not used

    @property
    def matched(self) -> bool:
        """Whether any reference is used."""
        return any(self.useful)

    @property
    def contradicted(self) -> NDArray[np.float64]:
        """The share of the photo that contradicts each reference: (N,) 0..1."""
        return np.array([one.contradicted for one in self.registrations], np.float64)

    def aligned(self, rows: slice, cols: slice) -> tuple[Image, Image]:
        """The fused reference (4H, 4W, 3) and validity (4H, 4W), 0..1, of a tile in LR px."""
        height, width = (rows.stop - rows.start) * SCALE, (cols.stop - cols.start) * SCALE
        total = np.zeros((height, width, 3), np.float32)
        validity = np.zeros((height, width), np.float32)
        weights = np.zeros((height, width), np.float32)
        for index, weight in self.tile_weights(rows, cols):
            registration, reference = self.registrations[index], self.references[index]
            image, valid = align_reference(registration, reference, self.lr, rows, cols)
            weight = weight * (valid > 0)
            image *= weight[..., None]
            total += image
            validity += valid * weight
            weights += weight
        np.maximum(weights, np.float32(1e-6), out=weights)
        total /= weights[..., None]
        validity /= weights
        return np.clip(total, 0, 1, out=total), np.clip(validity, 0, 1, out=validity)

    def detail(self, rows: slice, cols: slice) -> Image:
        """The detail (4H, 4W, 3) that the detail transfer adds in a tile in LR px; signed."""
        height, width = (rows.stop - rows.start) * SCALE, (cols.stop - cols.start) * SCALE
        total = np.zeros((height, width, 3), np.float32)
        for index, weight in self.tile_weights(rows, cols):
            registration, reference = self.registrations[index], self.references[index]
            detail = transferred_detail(self.lr, registration, reference, rows, cols)
            total += detail * weight[..., None]
        return total

    def tile_weights(self, rows: slice, cols: slice) -> Iterator[tuple[int, Image]]:
        """Each reference used in a tile in LR px: its index, and its blending weight (4H, 4W)."""
        for index, (weight, used) in enumerate(zip(self.blend_weights, self.useful, strict=True)):
            at_hr = field_at_hr(weight, rows, cols) if used else None
            if at_hr is not None and at_hr.any():
                yield index, at_hr

    def similarity(self) -> Image:
        """Validity times consistency of the fused references: (h, w) float32 0..1."""
        height, width = self.lr.shape[:2]
        total = np.zeros((FIELD_SCALE * height, FIELD_SCALE * width), np.float32)
        for registration, weight in zip(self.registrations, self.blend_weights, strict=True):
            total += weight * registration.validity * registration.consistency
        return total.reshape(height, FIELD_SCALE, width, FIELD_SCALE).mean(axis=(1, 3))

    def source_index(self) -> NDArray[np.int16]:
        """The index of the reference with the largest weight at each LR pixel, else -1: (h, w)."""
        height, width = self.lr.shape[:2]
        if not self.blend_weights:
            return np.full((height, width), -1, np.int16)
        weights = np.stack(
            [
                (weight * registration.validity)[::FIELD_SCALE, ::FIELD_SCALE]
                for weight, registration in zip(self.blend_weights, self.registrations, strict=True)
            ]
        )
        best = weights.argmax(axis=0).astype(np.int16)
        return np.where(weights.max(axis=0) > 0, best, np.int16(-1))

    def unconfirmed(self) -> NDArray[np.bool_]:
        """Where the photo cannot confirm what the references show: (h, w).

        Where several are used, those of the ones that ``source_index`` says, or of none.
        """
        source = self.source_index()
        unconfirmed = np.zeros(source.shape, np.bool_)
        for index, registration in enumerate(self.registrations):
            if registration.unconfirmed is not None:
                unconfirmed |= registration.unconfirmed & ((source == index) | (source < 0))
        return unconfirmed


def judged(
    composite: Composite,
    faces: Boxes,
    strict: bool = False,
    lr: NDArray[np.uint8] | None = None,
) -> Composite:
    """References that are not valid where the photo contradicts them.

    ``faces``: boxes in pixels of the composite's photo. ``strict``: nor where it cannot confirm
    them. ``lr``: the photo (h, w, 3) to ask, where it is not the composite's.
    """
    lr = composite.lr if lr is None else lr
    parts = zip(composite.references, composite.registrations, composite.useful, strict=True)
    registrations = tuple(
        judge(lr, reference, registration, faces, strict) if used else registration
        for reference, registration, used in parts
    )
    weights = compute_blend_weights(registrations, composite.useful)
    return replace(composite, registrations=registrations, blend_weights=weights)


def with_contradicted(composite: Composite, shares: NDArray[np.float64]) -> Composite:
    """References of a photo whose blocks told what share of it contradicts each of them."""
    registrations = tuple(
        replace(one, contradicted=float(share))
        for one, share in zip(composite.registrations, shares, strict=True)
    )
    return replace(composite, registrations=registrations)


def fuse_references(lr: NDArray[np.uint8], references: tuple[Reference, ...]) -> Composite:
    """Register every reference to ``lr`` (h, w, 3) RGB uint8 and compute the blending weights."""
    registrations = tuple(register(lr, reference) for reference in references)
    used = tuple(is_useful(lr, *pair) for pair in zip(references, registrations, strict=True))
    return Composite(
        lr, references, registrations, compute_blend_weights(registrations, used), used
    )


def compute_blend_weights(
    registrations: tuple[Registration, ...], used: tuple[bool, ...]
) -> tuple[Image, ...]:
    """Blending weights: each pixel goes to the reference of least cost; see ``Composite``."""
    if not registrations:
        return ()
    if len(registrations) == 1:
        return (np.full_like(registrations[0].validity, float(used[0])),)
    widest = max(range(len(used)), key=lambda i: registrations[i].coverage if used[i] else -1.0)
    costs: list[Image] = []
    for index, registration in enumerate(registrations):
        if not used[index]:
            costs.append(np.full_like(registration.validity, UNUSED_COST))
            continue
        fine = min(1.0, registration.zoom)  # a coarser reference has less detail
        explained = cv2.blur(registration.validity * registration.consistency, (9, 9)) * fine
        cost = 1 - explained + ERROR_COST * registration.median_error
        costs.append((cost * (WIDEST_FACTOR if index == widest else 1)).astype(np.float32))
    best = np.argmin(np.stack(costs), axis=0)
    weights: list[Image] = []
    for index, registration in enumerate(registrations):
        mine = (best == index) & (registration.validity > 0) & used[index]
        mine = mine.astype(np.float32)
        weights.append(np.asarray(cv2.GaussianBlur(mine, (0, 0), SEAM_SIGMA), np.float32))
    total = np.maximum(sum(weights), 1e-6)
    return tuple((weight / total * (total > 1e-3)).astype(np.float32) for weight in weights)
