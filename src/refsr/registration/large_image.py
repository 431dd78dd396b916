"""References of a large photo: seen whole at a smaller size, then block by block at full size.

Optical flow takes a kilobyte per LR pixel, so a photo above a limit is registered shrunk. That says
which references are of use and, to about a tenth of an LR pixel, where everything lies. Each block
starts from there and its flow is refined at full size: memory does not grow with the photo.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, sqrt

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.tiling import Tile, cut, whole
from refsr.registration import flow
from refsr.registration.fusion import Composite, fuse_references, compute_blend_weights, useful
from refsr.registration.reference import Reference
from refsr.registration.register import Registration, consistent, dense, valid
from refsr.registration.warp import FIELD_SCALE, Field, sample
from refsr.resize import imresize

FLOW_BYTES = 1_100  # memory of the flow per LR pixel, measured
REFINING = 2  # rounds of flow in a block: one loses 0.6 dB of a perfect match, three gain little
HALO = 64  # LR pixels around a block, twice what the network's tiles need
GRID = 32  # blocks begin at multiples of it: a multiple of every shipped model's grid
TRIAL = 256  # LR pixels a side of the place where a reference is tried at full size
COLOR_NODE = 4  # LR pixels between the nodes of a block's color match


@dataclass(frozen=True)
class CoarseRegistration:
    """One photo's references, registered as a whole: at full size or, if it is large, shrunk."""

    lr: NDArray[np.uint8]  # (h, w, 3) RGB, the photo
    composite: Composite  # of the photo or, in its ``lr``, of the photo shrunk
    block_pixels: int  # LR pixels that one block may have

    @property
    def shrunk(self) -> bool:
        """Whether the photo was registered at less than its size."""
        return self.composite.lr.shape != self.lr.shape

    def blocks(self) -> list[Tile]:
        """The parts of the photo whose references ``block`` gives, with their halos."""
        height, width = self.lr.shape[:2]
        if not self.shrunk or not self.composite.matched:
            return [whole(height, width)]
        return cut(height, width, HALO, GRID, self.block_pixels)

    def block(self, tile: Tile) -> Composite:
        """The references in the frame of a block: what it gives counts from the block's corner."""
        height, width = self.lr.shape[:2]
        if (tile.rows, tile.cols) == (slice(0, height), slice(0, width)) and not self.shrunk:
            return self.composite
        lr = np.ascontiguousarray(self.lr[tile.rows, tile.cols])
        registrations = tuple(
            closer(self, index, tile) if used else nothing(registration, lr)
            for index, (registration, used) in enumerate(
                zip(self.composite.registrations, self.composite.useful, strict=True)
            )
        )
        used = self.composite.useful
        return replace(
            self.composite,
            lr=lr,
            registrations=registrations,
            shares=compute_blend_weights(registrations, used),
        )


def register_coarse(
    lr: NDArray[np.uint8], references: tuple[Reference, ...], most_pixels: int
) -> CoarseRegistration:
    """Register references to ``lr`` (h, w, 3) RGB uint8, shrunk to ``most_pixels`` if it has more.

    Which references are of use is decided at full size, in the place that each explains best.
    """
    height, width = lr.shape[:2]
    shrink = sqrt(most_pixels / (height * width))
    if shrink >= 1:
        return CoarseRegistration(lr, fuse_references(lr, references), most_pixels)
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    found = CoarseRegistration(
        lr, fuse_references(imresize(lr, size=size), references), most_pixels
    )
    shrink = sqrt(size[0] * size[1] / (height * width))
    registrations = tuple(
        replace(one, zoom=one.zoom * shrink, median_error=one.median_error / shrink)
        for one in found.composite.registrations
    )
    matched = tuple(one.matched for one in registrations)
    composite = replace(found.composite, registrations=registrations, useful=matched)
    found = replace(found, composite=composite)
    used = tuple(matched[index] and tried(found, index) for index in range(len(references)))
    for reference in references:
        reference.filtered.clear()  # those for the shrunk photo are of no more use
    composite = replace(composite, useful=used, shares=compute_blend_weights(registrations, used))
    return replace(found, composite=composite)


def tried(overview: CoarseRegistration, index: int) -> bool:
    """Whether a reference shows more than the photo, measured at full size where it fits best."""
    height, width = overview.lr.shape[:2]
    registration = overview.composite.registrations[index]
    fit = registration.validity * registration.consistency
    ratio = fit.shape[1] / width
    side = max(1, round(TRIAL * ratio))
    around = cv2.boxFilter(fit, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(around.argmax()), fit.shape)

    def around_centre(centre: float, length: int) -> slice:
        start = int(np.clip(centre / ratio - TRIAL / 2, 0, max(0, length - TRIAL)))
        return slice(start, min(length, start + TRIAL))

    rows, cols = around_centre(float(y), height), around_centre(float(x), width)
    here = closer(overview, index, Tile(rows, cols, rows, cols))
    return useful(overview.lr[rows, cols], overview.composite.references[index], here)


def closer(overview: CoarseRegistration, index: int, tile: Tile) -> Registration:
    """A reference's registration in one block, at full size; fields count from its corner."""
    reference = overview.composite.references[index]
    coarse = overview.composite.registrations[index]
    lr = np.ascontiguousarray(overview.lr[tile.rows, tile.cols])
    at = places(overview, tile)
    validity, consistency = sample(coarse.validity, at), sample(coarse.consistency, at)
    xy_ref = sample(coarse.xy_ref, at)
    if overview.shrunk and validity.any():
        xy_ref, doubt = dense(flow.luma(lr), xy_ref, reference, REFINING)
        here, _ = valid(xy_ref, doubt, reference)
        validity = here * np.minimum(1, 2 * validity)  # never where the whole found nothing
        consistency, _ = consistent(lr, xy_ref, reference, coarse.zoom)
    return replace(
        coarse,
        xy_ref=xy_ref,
        validity=validity,
        consistency=consistency,
        color=crop_color(coarse.color, overview.lr.shape, tile),
    )


def nothing(registration: Registration, lr: NDArray[np.uint8]) -> Registration:
    """The registration, in a block (h, w, 3), of a reference that is not used."""
    zero = np.zeros((FIELD_SCALE * lr.shape[0], FIELD_SCALE * lr.shape[1]), np.float32)
    xy_ref = np.zeros((*zero.shape, 2), np.float32)
    return replace(registration, xy_ref=xy_ref, validity=zero, consistency=zero)


def places(overview: CoarseRegistration, tile: Tile) -> Field:
    """Where the field pixels of a block lie on the whole photo's field grid: (2H, 2W, 2)."""
    height, width = overview.lr.shape[:2]
    fit_height, fit_width = overview.composite.lr.shape[:2]
    x = np.arange(FIELD_SCALE * tile.cols.start, FIELD_SCALE * tile.cols.stop) + 0.5
    y = np.arange(FIELD_SCALE * tile.rows.start, FIELD_SCALE * tile.rows.stop) + 0.5
    mesh = np.meshgrid(x * fit_width / width - 0.5, y * fit_height / height - 0.5)
    return np.stack(mesh, axis=-1).astype(np.float32)


def crop_color(color: Image, shape: tuple[int, ...], tile: Tile) -> Image:
    """A block's part of the color match (rows, cols, 6) of a photo of that shape."""
    centres: list[NDArray[np.float64]] = []
    for part, length, nodes in (
        (tile.rows, shape[0], color.shape[0]),
        (tile.cols, shape[1], color.shape[1]),
    ):
        extent = part.stop - part.start
        count = ceil(extent / COLOR_NODE)
        centre = part.start + (np.arange(count) + 0.5) * extent / count
        centres.append(centre * nodes / length - 0.5)
    at = np.stack(np.meshgrid(centres[1], centres[0]), axis=-1).astype(np.float32)
    halves = sample(color[..., :3], at), sample(color[..., 3:], at)
    return np.concatenate(halves, axis=2)
