"""What differs in a photo that was registered shrunk: its most suspect places, at full size.

A large photo is judged block by block while it is rendered. Before that, a check has time for some
blocks only. Shrunk, the photo contradicts right references too, so it accuses nobody; but where it
contradicts them most, what differs will be found.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from refsr.image.tiling import Tile, cut
from refsr.registration.evidence import NO_BOXES
from refsr.registration.fusion import Composite, judged, with_contradicted
from refsr.registration.large_image import GRID, HALO, CoarseRegistration
from refsr.registration.warp import FIELD_SCALE

BLOCK_PIXELS = 512 * 512  # LR pixels of a block with its halo
MOST_PIXELS = 1_500_000  # LR pixels of all blocks; they take as long as registering 750,000
TRUSTED = 0.5  # validity of what counts


@dataclass(frozen=True)
class SpotCheck:
    """What a closer look at a registered photo found."""

    composite: Composite  # its registrations say what share of the photo contradicts them
    judged: float  # share of the photo that was looked at, 0..1
    unconfirmed: float  # share of the photo, in what was looked at, that cannot confirm them


def spot_check(coarse: CoarseRegistration) -> SpotCheck:
    """Judge a photo's references in as many of its blocks as MOST_PIXELS allow, one at least.

    All of the photo where it was not registered shrunk: then it was judged before.
    """
    composite = coarse.composite
    if not (coarse.shrunk and composite.matched):
        return SpotCheck(composite, 1.0, float(composite.unconfirmed().mean()))
    height, width = coarse.lr.shape[:2]
    contradicted = np.zeros(len(composite.registrations))
    judged_pixels = unconfirmed = 0
    for tile in affordable(suspects_first(coarse)):
        found = coarse.block(tile)
        doubtful = found.unconfirmed()[tile.core(1)]
        contradicted += found.contradicted * doubtful.size
        unconfirmed += int(doubtful.sum())
        judged_pixels += doubtful.size
    pixels = height * width
    composite = with_contradicted(composite, contradicted / pixels)
    return SpotCheck(composite, judged_pixels / pixels, unconfirmed / pixels)


def affordable(tiles: list[Tile]) -> list[Tile]:
    """The first tiles, of MOST_PIXELS together; one at least."""
    total = np.cumsum([tile.pixels for tile in tiles])
    return tiles[: max(1, int((total <= MOST_PIXELS).sum()))]


def suspects_first(coarse: CoarseRegistration) -> list[Tile]:
    """The photo's blocks, first those in which the shrunk photo contradicts its references most.

    Among equals those that the references cover most.
    """
    height, width = coarse.lr.shape[:2]
    refuted, valid = contradicted_shrunk(coarse)

    def suspicion(tile: Tile) -> tuple[int, int]:
        rows, cols = (
            slice(part.start * of // length, -(-part.stop * of // length))
            for part, of, length in (
                (tile.core_rows, refuted.shape[0], height),
                (tile.core_cols, refuted.shape[1], width),
            )
        )
        return -int(refuted[rows, cols].sum()), -int(valid[rows, cols].sum())

    block_pixels = min(BLOCK_PIXELS, coarse.block_pixels)
    return sorted(cut(height, width, HALO, GRID, block_pixels), key=suspicion)


def contradicted_shrunk(
    coarse: CoarseRegistration,
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the shrunk photo contradicts a used reference, and where any is valid: (2h, 2w)."""
    before = coarse.composite
    faces = NO_BOXES if coarse.faces is None else coarse.faces
    after = judged(before, faces * np.float32(before.lr.shape[0] / coarse.lr.shape[0]))
    height, width = before.lr.shape[:2]
    refuted = np.zeros((FIELD_SCALE * height, FIELD_SCALE * width), np.bool_)
    valid = refuted.copy()
    pairs = zip(before.registrations, after.registrations, strict=True)
    for used, (was, now) in zip(before.useful, pairs, strict=True):
        if used:
            valid |= was.validity > TRUSTED
            refuted |= (was.validity > TRUSTED) & (now.validity == 0)
    return refuted, valid
