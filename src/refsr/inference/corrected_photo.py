"""A photo as a network gets it: corrected, registered to its references, and what is told of it.

What renders a result (``render.py``) and what explains it (``report/explain.py``) cut their tiles
here, so that both see the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from refsr.arrays import Image
from refsr.degradation.aliasing import Aliasing
from refsr.degradation.blind_estimate import BlindEstimate
from refsr.degradation.restore import Registered, Restoration, restore_blindly
from refsr.image.photo import Photo
from refsr.image.tiling import Tile, whole
from refsr.inference.back_projection import back_project, back_project_through
from refsr.registration.fusion import Composite
from refsr.registration.large_image import CoarseRegistration
from refsr.resize import SCALE


@dataclass(frozen=True)
class CorrectedPhoto:
    """A photo, what was done to it, and its references; all of it for a network."""

    photo: Photo  # its kernel undone, if there is a ``restoration``
    coarse: CoarseRegistration | None = None  # None: without references
    restoration: Restoration | None = None
    aliasing: Aliasing | None = None  # that the references show in ``photo``
    condition: Image | None = None  # (5,), what the network is told; see degradation/condition.py
    strength: float = 1.0  # of the references' detail, 0..1

    def blocks(self) -> list[Tile]:
        """The parts of the photo that are registered one by one."""
        if self.coarse is None:
            return [whole(self.photo.height, self.photo.width)]
        return self.coarse.blocks()

    def block(self, block: Tile) -> Composite | None:
        """The references registered to one of ``blocks``; None without references."""
        return None if self.coarse is None else self.coarse.block(block)

    def pixels(self, tile: Tile) -> Image:
        """A tile of the photo (h, w, 3), 0..1."""
        levels = np.float32(np.iinfo(self.photo.pixels.dtype).max)
        return self.photo.pixels[tile.rows, tile.cols].astype(np.float32) / levels

    def inputs(
        self, composite: Composite | None, block: Tile, tile: Tile
    ) -> tuple[Image, Image, Image]:
        """What the network gets of a tile: see ``refsr.inference.network.Network.run``.

        LR (h, w, 3), the aligned references (4h, 4w, 3), their validity (4h, 4w); 0..1.
        ``composite``: of ``block``, in which the tile lies.
        """
        lr = self.pixels(tile)
        if composite is None:
            ref = np.zeros((lr.shape[0] * SCALE, lr.shape[1] * SCALE, 3), np.float32)
            return lr, ref, np.zeros(ref.shape[:2], np.float32)
        ref, validity = composite.aligned(*tile.inside(block))
        validity *= np.float32(self.strength)
        if self.aliasing is not None:
            levels = np.float32(255)
            less = self.aliasing.remove(lr * levels, ref * levels, validity) / levels
            lr = np.clip(less, 0, 1)
        return lr, ref, validity

    def back_projected(self, sr: Image, lr: Image, tile: Tile, faithful: bool) -> Image:
        """A tile's result (H, W, 3), corrected until its photo is the one that came; 0..1.

        ``lr`` (h, w, 3): from ``inputs``. ``faithful``: the network asks for it, if it was clean.
        """
        if self.restoration is not None and self.aliasing is None:
            if self.restoration.disturbed:  # noise would be projected, too
                return sr
            before = self.restoration.before.pixels
            seen = before[tile.rows, tile.cols].astype(np.float32)
            seen /= np.float32(np.iinfo(before.dtype).max)
            return back_project_through(sr, seen, self.restoration.kernel)
        return back_project(sr, lr) if faithful else sr


def correct(
    photo: Photo, registered: Registered | None, blind: BlindEstimate, strength: float = 1.0
) -> CorrectedPhoto:
    """Undo what is known of how a photo was taken.

    ``registered``: with its references; None where there are none, or none is used. ``blind``: what
    the photo alone shows.
    """
    if registered is None:
        restoration, aliasing, coarse = restore_blindly(photo, blind), None, None
    else:
        restoration, aliasing = registered.restoration, registered.aliasing
        coarse = registered.coarse
    told = blind.told(restoration.kernel if restoration else None)
    photo = restoration.photo if restoration else photo
    return CorrectedPhoto(photo, coarse, restoration, aliasing, told, strength)
