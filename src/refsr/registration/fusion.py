"""Any number of registered references become one aligned image in the photo's frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.registration.detail_transfer import detail_of, fine_detail
from refsr.registration.gain import expected_gain, gain_factors
from refsr.registration.register import Reference, Registration, align_reference, register
from refsr.registration.warp import FIELD_SCALE, read_field
from refsr.resize import SCALE, imresize

SEAM = 4.0  # field pixels over which one reference gives way to the next
FAVOUR = 0.8  # of the widest reference's doubt: who takes a place from it must be surely better
PER_ERROR = 0.1  # doubt for each LR px by which a reference is misplaced in the median
UNUSED = 9.0  # more doubt than any

LEAST_ZOOM = 1 / 3  # reference pixels per HR pixel; at 0.25 it is as coarse as the photo itself

LEAST_GAIN = 0.03  # dB: what is foreseen of a reference that is used
LEAST_FINENESS = 2.4  # sharp references: 3.3 to 6.5, half as fine 2.9 to 3.9, no finer 1.1 to 2.4
CELL, CELLS = 32, 6  # LR pixels a side of the places where that is measured, and how many


def useful(lr: NDArray[np.uint8], reference: Reference, registration: Registration) -> bool:
    """Whether a reference shows what the photo shows, and finer than the photo does.

    A blurred or enlarged reference has pixels enough but no detail, so its detail is measured. A
    few features that chance to fit promise nothing, and on repeated windows cost a little.
    """
    if not registration.matched or registration.zoom < LEAST_ZOOM:
        return False
    if expected_gain([gain_factors(lr, registration)]) < LEAST_GAIN:
        return False
    return fineness(lr, reference, registration) >= LEAST_FINENESS


def fineness(lr: NDArray[np.uint8], reference: Reference, registration: Registration) -> float:
    """The aligned reference's HR detail over that of the bicubic photo, where it fits best."""
    height, width = lr.shape[:2]
    fit = registration.validity * registration.consistency
    cells = [
        (slice(y, min(height, y + CELL)), slice(x, min(width, x + CELL)))
        for y in range(0, height, CELL)
        for x in range(0, width, CELL)
    ]
    cells.sort(key=lambda cell: -float(fit[double(cell[0]), double(cell[1])].sum()))
    given = own = 0.0
    for rows, cols in cells[:CELLS]:
        aligned, valid = align_reference(registration, reference, lr, rows, cols)
        bicubic = imresize(lr[rows, cols].astype(np.float32) / 255, scale=float(SCALE))
        weight = (valid > 0.5)[..., None]
        given += float((fine_detail(aligned) ** 2 * weight).sum())
        own += float((fine_detail(bicubic) ** 2 * weight).sum())
    return float(np.sqrt(given / max(own, 1e-9)))


def double(part: slice) -> slice:
    """A range of LR pixels on the field grid."""
    return slice(FIELD_SCALE * part.start, FIELD_SCALE * part.stop)


@dataclass(frozen=True)
class Composite:
    """One photo's references, registered, and the share each has in every place.

    ``shares`` are (2h, 2w) float32 fields, one a reference: 0..1, summing to one where any
    reference that is used is valid, and zero for one that is not used. The order in which
    references are given does not matter.
    """

    lr: NDArray[np.uint8]  # (h, w, 3) RGB
    references: tuple[Reference, ...]
    registrations: tuple[Registration, ...]
    shares: tuple[Image, ...]
    useful: tuple[bool, ...]  # whether each reference is used at all

    @property
    def matched(self) -> bool:
        """Whether any reference has something to give."""
        return any(self.useful)

    def aligned(self, rows: slice, cols: slice) -> tuple[Image, Image]:
        """The aligned reference (4H, 4W, 3) and its validity (4H, 4W), 0..1; the tile in LR px."""
        height, width = (rows.stop - rows.start) * SCALE, (cols.stop - cols.start) * SCALE
        total = np.zeros((height, width, 3), np.float32)
        validity = np.zeros((height, width), np.float32)
        weight = np.zeros((height, width), np.float32)
        for index, part in self.parts(rows, cols):
            registration, reference = self.registrations[index], self.references[index]
            image, valid = align_reference(registration, reference, self.lr, rows, cols)
            part = part * (valid > 0)
            image *= part[..., None]
            total += image
            validity += valid * part
            weight += part
        np.maximum(weight, np.float32(1e-6), out=weight)
        total /= weight[..., None]
        validity /= weight
        return np.clip(total, 0, 1, out=total), np.clip(validity, 0, 1, out=validity)

    def detail(self, rows: slice, cols: slice) -> Image:
        """What the detail transfer adds in a tile, in LR px: (4H, 4W, 3), in 0..1 levels."""
        height, width = (rows.stop - rows.start) * SCALE, (cols.stop - cols.start) * SCALE
        total = np.zeros((height, width, 3), np.float32)
        for index, part in self.parts(rows, cols):
            registration, reference = self.registrations[index], self.references[index]
            total += detail_of(self.lr, registration, reference, rows, cols) * part[..., None]
        return total

    def parts(self, rows: slice, cols: slice) -> Iterator[tuple[int, Image]]:
        """Each reference that serves a tile, in LR px: its index, and its share (4H, 4W)."""
        for index, (share, used) in enumerate(zip(self.shares, self.useful, strict=True)):
            part = read_field(share, rows, cols) if used else None
            if part is not None and part.any():
                yield index, part

    def similarity(self) -> Image:
        """How well the references explain each LR pixel of the photo: (h, w) float32 0..1."""
        height, width = self.lr.shape[:2]
        total = np.zeros((FIELD_SCALE * height, FIELD_SCALE * width), np.float32)
        for registration, share in zip(self.registrations, self.shares, strict=True):
            total += share * registration.validity * registration.consistency
        return total.reshape(height, FIELD_SCALE, width, FIELD_SCALE).mean(axis=(1, 3))

    def source(self) -> NDArray[np.int16]:
        """Which reference serves each LR pixel: (h, w), its index, -1 where none is valid."""
        height, width = self.lr.shape[:2]
        if not self.shares:
            return np.full((height, width), -1, np.int16)
        shares = np.stack(
            [
                (share * registration.validity)[::FIELD_SCALE, ::FIELD_SCALE]
                for share, registration in zip(self.shares, self.registrations, strict=True)
            ]
        )
        best = shares.argmax(axis=0).astype(np.int16)
        return np.where(shares.max(axis=0) > 0, best, np.int16(-1))


def fuse_references(lr: NDArray[np.uint8], references: tuple[Reference, ...]) -> Composite:
    """Register every reference to ``lr`` (h, w, 3) RGB uint8 and share the photo out among them."""
    registrations = tuple(register(lr, reference) for reference in references)
    used = tuple(useful(lr, *pair) for pair in zip(references, registrations, strict=True))
    return Composite(lr, references, registrations, compute_blend_weights(registrations, used), used)


def compute_blend_weights(registrations: tuple[Registration, ...], used: tuple[bool, ...]) -> tuple[Image, ...]:
    """Each place goes to the reference that explains it best, with soft seams: see Composite."""
    if not registrations:
        return ()
    if len(registrations) == 1:
        return (np.full_like(registrations[0].validity, float(used[0])),)
    widest = max(range(len(used)), key=lambda i: registrations[i].coverage if used[i] else -1.0)
    doubts: list[Image] = []
    for index, registration in enumerate(registrations):
        if not used[index]:
            doubts.append(np.full_like(registration.validity, UNUSED))
            continue
        fine = min(1.0, registration.zoom)  # a coarser reference has less to give
        explained = cv2.blur(registration.validity * registration.consistency, (9, 9)) * fine
        doubt = 1 - explained + PER_ERROR * registration.median_error
        doubts.append((doubt * (FAVOUR if index == widest else 1)).astype(np.float32))
    best = np.argmin(np.stack(doubts), axis=0)
    shares: list[Image] = []
    for index, registration in enumerate(registrations):
        mine = (best == index) & (registration.validity > 0) & used[index]
        mine = mine.astype(np.float32)
        shares.append(np.asarray(cv2.GaussianBlur(mine, (0, 0), SEAM), np.float32))
    total = np.maximum(sum(shares), 1e-6)
    return tuple((share / total * (total > 1e-3)).astype(np.float32) for share in shares)
