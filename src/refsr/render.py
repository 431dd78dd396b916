"""Filling the canvas: block by block, tile by tile, what the network makes of each."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from refsr.arrays import Image
from refsr.errors import ModelError
from refsr.image.tiling import Tile
from refsr.inference.back_projection import downscale_to
from refsr.inference.corrected_photo import CorrectedPhoto
from refsr.inference.ensemble import TileNetwork
from refsr.inference.memory import is_out_of_memory, trim_heap
from refsr.inference.plan import GRID, Plan
from refsr.progress import Progress
from refsr.registration.flow import luma
from refsr.registration.fusion import Composite
from refsr.report.provenance import amounts_from_detail, detail_amounts
from refsr.resize import SCALE, imresize
from refsr.result import Canvas

NO_SMALLER = (
    "There is not enough memory for even the smallest tile; close other programs and try again."
)


@dataclass(frozen=True)
class Renderer:
    """What is the same for every tile of a job."""

    corrected: CorrectedPhoto
    plan: Plan
    network: TileNetwork | None  # None: the detail transfer

    def render(self, canvas: Canvas, progress: Progress) -> None:
        """Fill the canvas.

        A tile that memory does not hold is computed again in smaller ones, and so are the tiles
        after it. Raises ModelError where no tile is small enough.
        """
        photo = self.corrected.photo
        multiple = self.network.model.multiple if self.network else GRID
        tile_pixels = self.plan.budget.tile_pixels
        for block in self.corrected.blocks():
            composite = self.corrected.block(block)
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
        scale = self.plan.size.scale
        if self.network is None:
            lr = self.corrected.pixels(tile)
            sr, amounts = self.transfer(lr, composite, *tile.inside(block))
            return downscale_to(sr, lr, scale), amounts
        lr, ref, validity = self.corrected.inputs(composite, block, tile)
        sr, gate = self.network.run(lr, ref, validity, last, self.corrected.condition)
        if not (np.isfinite(sr).all() and np.isfinite(gate).all()):  # half precision may do it
            raise ModelError(
                f"The model {self.network.model.name} produced NaN or infinity in a part of the "
                "photo; choose another model, runtime or device."
            )
        amounts = detail_amounts(sr, gate, ref, lr)
        sr = downscale_to(sr, lr, scale)
        return self.corrected.back_projected(sr, lr, tile, self.network.model.faithful), amounts

    def transfer(
        self, lr: Image, composite: Composite | None, rows: slice, cols: slice
    ) -> tuple[Image, Image]:
        """A tile by the training-free detail transfer: SR (4h, 4w, 3) and its amounts."""
        base = imresize(lr, scale=float(SCALE))
        given = np.zeros_like(base)
        if composite is not None:
            given = composite.detail(rows, cols)
            given *= np.float32(self.corrected.strength)
        return base + given, amounts_from_detail(lr, given, np.zeros_like(given))


def in_gray(sr: Image) -> Image:
    """The luma of a tile (H, W, 3) in three equal channels: its network has tinted it a little."""
    gray = luma(sr)[..., None]
    return np.repeat(gray, 3, axis=2)
