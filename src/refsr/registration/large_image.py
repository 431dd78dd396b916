"""Coarse-to-fine registration: a large photo is registered shrunk, then refined block by block.

Optical flow takes a kilobyte per LR pixel, so a photo above a limit is registered shrunk. That
decides which references are used and locates every pixel to about a tenth of an LR pixel. Each
block starts from there, and its flow is refined at full size: memory does not grow with the photo.
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
from refsr.registration.camera_flow import Camera, realign, without_aliasing
from refsr.registration.evidence import Boxes
from refsr.registration.fusion import (
    Composite,
    compute_blend_weights,
    fuse_references,
    is_useful,
    judged,
)
from refsr.registration.plane import straightened
from refsr.registration.reference import Reference
from refsr.registration.register import (
    Registration,
    measure_consistency,
    measure_validity,
    refine_with_flow,
)
from refsr.registration.warp import FIELD_SCALE, Field, sample
from refsr.resize import imresize

FLOW_BYTES = 1_100  # memory of the flow per LR pixel, measured
REFINE_ROUNDS = 2  # of flow in a block: one loses 0.6 dB of a perfect match, three gain little
HALO = 64  # LR pixels around a block, twice what the network's tiles need
GRID = 32  # blocks begin at multiples of it: a multiple of every shipped model's grid
TRIAL_SIDE = 256  # LR pixels: side of the block in which a reference is tested at full size
WINDOWS = 2.0, 1.5  # LR pixels: of what moves as one when registered again through the camera
COLOR_NODE = 4  # LR pixels between the nodes of a block's color match


@dataclass(frozen=True)
class CoarseRegistration:
    """A photo's references registered to all of it: at full size or, if it is large, shrunk."""

    lr: NDArray[np.uint8]  # (h, w, 3) RGB, the photo
    composite: Composite  # of the photo, or of the photo shrunk (its ``lr``)
    block_pixels: int  # LR pixels of a block, at most
    faces: Boxes | None = None  # in LR pixels, if contradicted references are not valid
    strict: bool = False  # nor where the photo cannot confirm them
    camera: Camera | None = None  # through which the references were registered again

    @property
    def shrunk(self) -> bool:
        """Whether the photo was registered at less than full size."""
        return self.composite.lr.shape != self.lr.shape

    def blocks(self) -> list[Tile]:
        """The blocks of the photo, with halos, for ``block``; one where it was not shrunk."""
        height, width = self.lr.shape[:2]
        if not self.shrunk or not self.composite.matched:
            return [whole(height, width)]
        return cut(height, width, HALO, GRID, self.block_pixels)

    def block(self, tile: Tile) -> Composite:
        """The references registered to one block; its coordinates start at the block's corner."""
        height, width = self.lr.shape[:2]
        if (tile.rows, tile.cols) == (slice(0, height), slice(0, width)) and not self.shrunk:
            return self.composite
        lr = np.ascontiguousarray(self.lr[tile.rows, tile.cols])
        registrations = tuple(
            refine_block(self, index, tile) if used else unused_registration(registration, lr)
            for index, (registration, used) in enumerate(
                zip(self.composite.registrations, self.composite.useful, strict=True)
            )
        )
        composite = self.realigned(replace(self.composite, lr=lr, registrations=registrations))
        if self.faces is not None:
            corner = np.array([tile.cols.start, tile.rows.start] * 2, np.float32)
            return self.judged(composite, self.faces - corner)
        return composite

    def realigned(self, composite: Composite, windows: tuple[float, ...] = WINDOWS) -> Composite:
        """A composite at full size with its references registered again, through the camera."""
        registrations = composite.registrations
        if self.camera is not None:
            registrations = tuple(
                realign(composite.lr, one, reference, self.camera, windows) if used else one
                for one, reference, used in zip(
                    registrations, composite.references, composite.useful, strict=True
                )
            )
        weights = compute_blend_weights(registrations, composite.useful)
        return replace(composite, registrations=registrations, blend_weights=weights)

    def judged(self, composite: Composite, faces: Boxes) -> Composite:
        """A composite at full size whose references are not valid where the photo refutes them."""
        camera = self.camera
        lr = composite.lr if camera is None else without_aliasing(composite, camera)
        return judged(composite, faces, self.strict, lr)


def only_confirmed(
    coarse: CoarseRegistration, faces: Boxes, strict: bool = False
) -> CoarseRegistration:
    """A registration whose references are not valid where the photo contradicts them.

    For a photo as sharp as the references shrunk: after its restoration. ``faces``: boxes in LR
    pixels in which the two are compared more closely. ``strict``: nor valid where it cannot confirm
    them.
    """
    if not coarse.composite.matched:
        return coarse
    found = replace(coarse, faces=faces, strict=strict)
    if coarse.shrunk:  # another photo than was taken: its blocks are judged, one by one
        return found
    return replace(found, composite=found.judged(coarse.composite, faces))


def of_photo(coarse: CoarseRegistration, lr: NDArray[np.uint8]) -> CoarseRegistration:
    """The same registration of another version (h, w, 3) of the photo."""
    if coarse.shrunk:
        return replace(coarse, lr=lr)
    return replace(coarse, lr=lr, composite=replace(coarse.composite, lr=lr))


def through_camera(
    coarse: CoarseRegistration, camera: Camera, windows: tuple[float, ...]
) -> CoarseRegistration:
    """References registered again as this camera has seen them; see ``camera_flow``."""
    found = replace(coarse, camera=camera)
    if coarse.shrunk:  # another photo than was taken: its blocks are registered again, one by one
        return found
    return replace(found, composite=found.realigned(coarse.composite, windows))


def register_coarse(
    lr: NDArray[np.uint8], references: tuple[Reference, ...], most_pixels: int
) -> CoarseRegistration:
    """Register references to ``lr`` (h, w, 3) RGB uint8, shrunk to ``most_pixels`` if it has more.

    Which references are used is decided at full size, where each fits best.
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
    used = tuple(one and is_useful_at_full_size(found, i) for i, one in enumerate(matched))
    for reference in references:
        reference.filtered.clear()  # the copies for the shrunk photo are not needed again
    composite = replace(
        composite, useful=used, blend_weights=compute_blend_weights(registrations, used)
    )
    return replace(found, composite=composite)


def is_useful_at_full_size(coarse: CoarseRegistration, index: int) -> bool:
    """``is_useful`` for a reference, at full size in the block where it fits best."""
    registration = coarse.composite.registrations[index]
    fit = registration.validity * registration.consistency
    tile = best_block(fit, coarse.lr.shape, TRIAL_SIDE)
    refined = refine_block(coarse, index, tile)
    lr = coarse.lr[tile.rows, tile.cols]
    return is_useful(lr, coarse.composite.references[index], refined)


def best_block(fit: Image, shape: tuple[int, ...], side: int) -> Tile:
    """The block of ``side`` LR pixels, of a photo of that shape, in which ``fit`` is highest.

    ``fit`` (h, w) covers the photo at any resolution.
    """
    height, width = shape[:2]
    ratio = fit.shape[1] / width
    window = max(1, round(side * ratio))
    mean_fit = cv2.boxFilter(fit, -1, (window, window), borderType=cv2.BORDER_CONSTANT)
    y, x = np.unravel_index(int(mean_fit.argmax()), fit.shape)

    def around(center: float, length: int) -> slice:
        start = int(np.clip(center / ratio - side / 2, 0, max(0, length - side)))
        return slice(start, min(length, start + side))

    rows, cols = around(float(y), height), around(float(x), width)
    return Tile(rows, cols, rows, cols)


def refine_block(coarse: CoarseRegistration, index: int, tile: Tile) -> Registration:
    """A reference's registration to one block, at full size, in the block's coordinates."""
    reference = coarse.composite.references[index]
    registration = coarse.composite.registrations[index]
    lr = np.ascontiguousarray(coarse.lr[tile.rows, tile.cols])
    xy = coarse_grid(coarse, tile)
    validity, consistency = sample(registration.validity, xy), sample(registration.consistency, xy)
    xy_ref = sample(registration.xy_ref, xy)
    if coarse.shrunk and validity.any():
        xy_ref, flow_error = refine_with_flow(flow.luma(lr), xy_ref, reference, REFINE_ROUNDS)
        refined, trusted = measure_validity(xy_ref, flow_error, reference)
        xy_ref = straightened(lr, xy_ref, trusted, reference)
        validity = refined * np.minimum(1, 2 * validity)  # zero where the coarse validity is
        consistency, _ = measure_consistency(lr, xy_ref, reference, registration.zoom)
    return replace(
        registration,
        xy_ref=xy_ref,
        validity=validity,
        consistency=consistency,
        color=crop_color(registration.color, coarse.lr.shape, tile),
        unconfirmed=None,
    )


def unused_registration(registration: Registration, lr: NDArray[np.uint8]) -> Registration:
    """The registration to a block (h, w, 3) of a reference that is not used: valid nowhere."""
    zero = np.zeros((FIELD_SCALE * lr.shape[0], FIELD_SCALE * lr.shape[1]), np.float32)
    xy_ref = np.zeros((*zero.shape, 2), np.float32)
    return replace(registration, xy_ref=xy_ref, validity=zero, consistency=zero, unconfirmed=None)


def coarse_grid(coarse: CoarseRegistration, tile: Tile) -> Field:
    """Coordinates of a block's field pixels on the coarse field grid: (2H, 2W, 2)."""
    height, width = coarse.lr.shape[:2]
    coarse_height, coarse_width = coarse.composite.lr.shape[:2]
    x = np.arange(FIELD_SCALE * tile.cols.start, FIELD_SCALE * tile.cols.stop) + 0.5
    y = np.arange(FIELD_SCALE * tile.rows.start, FIELD_SCALE * tile.rows.stop) + 0.5
    mesh = np.meshgrid(x * coarse_width / width - 0.5, y * coarse_height / height - 0.5)
    return np.stack(mesh, axis=-1).astype(np.float32)


def crop_color(color: Image, shape: tuple[int, ...], tile: Tile) -> Image:
    """The color match of one block, from the color match (rows, cols, 6) of the whole photo.

    ``shape``: of the photo, in LR pixels.
    """
    centres: list[NDArray[np.float64]] = []
    for part, length, nodes in (
        (tile.rows, shape[0], color.shape[0]),
        (tile.cols, shape[1], color.shape[1]),
    ):
        extent = part.stop - part.start
        count = ceil(extent / COLOR_NODE)
        centre = part.start + (np.arange(count) + 0.5) * extent / count
        centres.append(centre * nodes / length - 0.5)
    xy = np.stack(np.meshgrid(centres[1], centres[0]), axis=-1).astype(np.float32)
    halves = sample(color[..., :3], xy), sample(color[..., 3:], xy)
    return np.concatenate(halves, axis=2)
