"""The network alone, as the paper evaluates it: the reference just as it lies.

No registration, no color match, no correction of the photo, no back-projection: what a network that
was trained on unregistered pairs gets there is what it gets here.
"""

from __future__ import annotations

import numpy as np

from refsr.arrays import Image, Pixels
from refsr.errors import DataError
from refsr.image.tiling import cut
from refsr.inference.ensemble import TileNetwork
from refsr.inference.plan import MIN_TILE, PICTURE_BYTES, PROGRAM_BYTES, TILE_HALO, cost
from refsr.resize import SCALE, imresize


def fit_reference(reference: Pixels, height: int, width: int) -> Pixels:
    """A reference (H, W, 3) in the result's frame of ``height`` x ``width`` HR pixels.

    A larger one is shrunk until it fits inside, its aspect kept; what is then missing below and at
    the right repeats its border. It is never enlarged.
    """
    rows, cols = reference.shape[:2]
    shrink = min(1.0, height / rows, width / cols)
    if shrink < 1.0:
        size = min(height, max(1, round(rows * shrink))), min(width, max(1, round(cols * shrink)))
        reference = imresize(reference, size=size)
    rows, cols = reference.shape[:2]
    return np.pad(reference, ((0, height - rows), (0, width - cols), (0, 0)), "edge")


def run_as_is(
    network: TileNetwork,
    lr: Pixels,  # (h, w, 3)
    references: list[Pixels],  # one, or none: then the network gets its validity as zero
    max_memory: int,  # bytes; a photo that does not fit is computed in tiles
) -> Pixels:
    """The network's result (4h, 4w, 3), rounded. Raises DataError for several references."""
    if len(references) > 1:
        raise DataError("A reference as it is is one alone; name one in each row.")
    height, width = lr.shape[:2]
    size = height * SCALE, width * SCALE
    ref = np.zeros((*size, 3), np.float32)
    validity = np.full(size, float(bool(references)), np.float32)
    if references:
        ref = unit(fit_reference(references[0], *size))
    each = cost(network, height * width, timed=False)[0] + PICTURE_BYTES
    pixels = max(MIN_TILE, int((max_memory - PROGRAM_BYTES) / each))
    sr = np.empty((*size, 3), np.float32)
    for tile in cut(height, width, TILE_HALO, network.model.multiple, pixels):
        hr = enlarged(tile.rows), enlarged(tile.cols)
        part, _ = network.run(unit(lr[tile.rows, tile.cols]), ref[hr], validity[hr])
        sr[enlarged(tile.core_rows), enlarged(tile.core_cols)] = part[tile.core(SCALE)]
    return np.clip(np.rint(sr * 255.0), 0, 255).astype(np.uint8)


def unit(pixels: Pixels) -> Image:
    """8-bit pixels as float32 0..1."""
    return pixels.astype(np.float32) / np.float32(255)


def enlarged(part: slice) -> slice:
    """A slice of LR pixels in HR pixels."""
    return slice(part.start * SCALE, part.stop * SCALE)
