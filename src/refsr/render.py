"""Filling the canvas: block by block, tile by tile, what the network makes of each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.degradation.aliasing import Aliasing
from refsr.degradation.restore import Restoration
from refsr.errors import ModelError
from refsr.image.photo import Photo
from refsr.image.tiling import Tile, whole
from refsr.inference.back_projection import back_project, back_project_through, downscale_to
from refsr.inference.ensemble import TileNetwork
from refsr.inference.memory import is_out_of_memory, trim_heap
from refsr.inference.plan import GRID, Plan
from refsr.progress import Progress
from refsr.registration.flow import luma
from refsr.registration.fusion import Composite
from refsr.registration.large_image import CoarseRegistration
from refsr.report.provenance import amounts_from_detail, detail_amounts
from refsr.resize import SCALE, imresize
from refsr.result import Canvas

NO_SMALLER = (
    "There is not enough memory for even the smallest tile; close other programs and try again."
)


@dataclass(frozen=True)
class Renderer:
    """What is the same for every tile of a job."""

    photo: Photo
    plan: Plan
    network: TileNetwork | None  # None: the detail transfer
    strength: float  # of the references' detail, 0..1
    restoration: Restoration | None = None  # that made ``photo`` of the one that came
    aliasing: Aliasing | None = None  # that the references show in ``photo``
    condition: Image | None = None  # what the network is told of ``photo``

    def render(self, coarse: CoarseRegistration | None, canvas: Canvas, progress: Progress) -> None:
        """Fill the canvas. ``coarse`` None: without references.

        A tile that memory does not hold is computed again in smaller ones, and so are the tiles
        after it. Raises ModelError where no tile is small enough.
        """
        photo, multiple = self.photo, self.network.model.multiple if self.network else GRID
        tile_pixels = self.plan.budget.tile_pixels
        blocks = coarse.blocks() if coarse else [whole(photo.height, photo.width)]
        for block in blocks:
            composite = coarse.block(block) if coarse else None
            if composite is not None:
                place = block.core_rows, block.core_cols
                canvas.unconfirmed[place] = composite.unconfirmed()[block.core(1)]
                canvas.contradicted += composite.contradicted * canvas.unconfirmed[place].size
            trim_heap()
            while True:
                tiles = self.plan.tiles(multiple, block, tile_pixels)
                done = canvas.done, canvas.error
                problem = None
                for tile in tiles:
                    try:
                        sr, amounts = self.compute(composite, block, tile, tile is tiles[-1])
                        sr = in_gray(sr) if photo.gray else sr
                        canvas.put(photo, tile, np.clip(sr, 0, 1), amounts)
                    except (MemoryError, cv2.error) as error:
                        if not is_out_of_memory(error):
                            raise
                        problem = error
                        break
                    # Outside: what the caller's own callback raises is not for us.
                    progress(canvas.done / (photo.height * photo.width))
                if problem is None:
                    break
                canvas.done, canvas.error = done
                largest = max(tile.pixels for tile in tiles)
                tile_pixels = largest // 2
                smaller = self.plan.tiles(multiple, block, tile_pixels)
                if max(tile.pixels for tile in smaller) >= largest:
                    raise ModelError(NO_SMALLER) from problem

    def compute(
        self,
        composite: Composite | None,  # of the block
        block: Tile,
        tile: Tile,
        last: bool,  # of the block: the network gives its memory back
    ) -> tuple[Image, Image]:
        """A tile at the canvas's scale, about 0..1, and its amounts of detail.

        Raises MemoryError or ModelError.
        """
        levels = np.float32(np.iinfo(self.photo.pixels.dtype).max)
        lr = self.photo.pixels[tile.rows, tile.cols].astype(np.float32) / levels
        rows, cols = tile.inside(block)
        scale = self.plan.size.scale
        if self.network is None:
            sr, amounts = self.transfer(lr, composite, rows, cols)
            return downscale_to(sr, lr, scale), amounts
        if composite is not None:
            ref, validity = composite.aligned(rows, cols)
            validity *= np.float32(self.strength)
            lr = self.without_aliasing(lr, ref, validity)
        else:
            ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
            validity = np.zeros(ref.shape[:2], np.float32)
        sr, gate = self.network.run(lr, ref, validity, last, self.condition)
        if not (np.isfinite(sr).all() and np.isfinite(gate).all()):  # half precision may do it
            raise ModelError(
                f"The model {self.network.model.name} produced NaN or infinity in a part of the "
                "photo; choose another model, runtime or device."
            )
        amounts = detail_amounts(sr, gate, ref, lr)
        sr = downscale_to(sr, lr, scale)
        if self.restoration is not None and self.aliasing is None:
            if not self.restoration.disturbed:  # else noise would be projected, too
                before = self.restoration.before.pixels[tile.rows, tile.cols]
                seen = before.astype(np.float32) / levels
                sr = back_project_through(sr, seen, self.restoration.kernel)
        elif self.network.model.faithful:
            sr = back_project(sr, lr)
        return sr, amounts

    def without_aliasing(self, lr: Image, ref: Image, validity: Image) -> Image:
        """A tile of the photo less the aliasing that its reference shows in it; 0..1."""
        if self.aliasing is None:
            return lr
        levels = np.float32(255)
        return np.clip(self.aliasing.remove(lr * levels, ref * levels, validity) / levels, 0, 1)

    def transfer(
        self, lr: Image, composite: Composite | None, rows: slice, cols: slice
    ) -> tuple[Image, Image]:
        """A tile by the training-free detail transfer: SR (4h, 4w, 3) and its amounts."""
        base = imresize(lr, scale=float(SCALE))
        given = np.zeros_like(base)
        if composite is not None:
            given = composite.detail(rows, cols)
            given *= np.float32(self.strength)
        return base + given, amounts_from_detail(lr, given, np.zeros_like(given))


def in_gray(sr: Image) -> Image:
    """The luma of a tile (H, W, 3) in three equal channels: its network has tinted it a little."""
    gray = luma(sr)[..., None]
    return np.repeat(gray, 3, axis=2)
