"""A result: while it is rendered, tile by tile, and when it is finished."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray

from refsr.arrays import Image
from refsr.image.levels import to_8_bits
from refsr.image.photo import Photo, Source, save_photo
from refsr.image.tiling import Tile
from refsr.report.provenance import borrowed_share, provenance_map
from refsr.report.report import Report
from refsr.resize import imresize


@dataclass
class Canvas:
    """A result while it is rendered."""

    pixels: NDArray[Any]  # (scale * h, scale * w, 3), the photo's own type
    alpha: NDArray[Any] | None  # (scale * h, scale * w), likewise
    amounts: Image  # (h, w, 3), see refsr.report.provenance
    unconfirmed: NDArray[np.bool_]  # (h, w) where the photo cannot confirm the references
    scale: int
    contradicted: NDArray[np.float64] | float = 0.0  # LR pixels that contradict each reference
    error: float = 0.0  # of the downscaled result, in 8-bit levels: the sum over the photo
    done: int = 0  # LR pixels

    @staticmethod
    def empty(photo: Photo, scale: int) -> Canvas:
        """An uninitialised canvas for a photo."""
        size = photo.height * scale, photo.width * scale
        alpha = None if photo.alpha is None else np.empty(size, photo.alpha.dtype)
        pixels = np.empty((*size, 3), photo.pixels.dtype)
        amounts = np.empty((photo.height, photo.width, 3), np.float32)
        return Canvas(pixels, alpha, amounts, np.zeros(amounts.shape[:2], np.bool_), scale)

    def put(self, photo: Photo, tile: Tile, sr: Image, amounts: Image) -> None:
        """Copy the core of a finished tile: ``sr`` is scale times its size, 0..1."""
        core, core_lr = tile.core(self.scale), tile.core(1)
        place = tile.core_rows, tile.core_cols
        rows, cols = (slice(s.start * self.scale, s.stop * self.scale) for s in place)
        levels = np.float32(np.iinfo(self.pixels.dtype).max)
        self.pixels[rows, cols] = np.rint(sr[core] * levels)
        self.amounts[place] = amounts[core_lr]
        if self.alpha is not None:
            assert photo.alpha is not None
            self.alpha[rows, cols] = enlarge(photo.alpha[tile.rows, tile.cols], self.scale)[core]
        lr = photo.pixels[tile.rows, tile.cols] / levels
        downscaled = imresize(sr, size=lr.shape[:2])
        self.error += float(np.abs(downscaled - lr)[core_lr].sum()) * 255 / 3
        self.done += lr[core_lr].shape[0] * lr[core_lr].shape[1]


@dataclass(frozen=True)
class Result:
    """A finished job. LR pixels at scale 1 are those of the photo shrunk by four."""

    photo: Photo  # the result with the input's metadata
    image: NDArray[Any] | PIL.Image.Image  # the same: an array (HWC RGB), PIL if the input was
    similarity: Image  # (h, w) 0..1: how well the references explain each LR pixel
    amounts: Image  # (h, w, 3) 0..1: own, borrowed and guessed detail; see refsr.report.provenance
    unconfirmed: NDArray[np.bool_]  # (h, w) where the photo cannot confirm the references
    report: Report

    @property
    def provenance(self) -> Image:
        """Share of the new detail that was borrowed from references: (h, w) 0..1."""
        return borrowed_share(self.amounts)

    def save(self, path: str | Path, **options: Any) -> None:
        """Write the result with its metadata; options as in ``save_photo``. Raises PhotoError."""
        save_photo(self.photo, path, **options)

    def map(self) -> NDArray[np.uint8]:
        """A picture of where each detail came from, uint8 of the result's size."""
        return provenance_map(self.photo.as_uint8(), self.amounts, self.unconfirmed)


def save_map(result: Result, path: Path) -> None:
    """Write the picture of where each detail came from. Raises PhotoError."""
    save_photo(Photo(result.map()).marked("map"), path)


def finish_result(
    source: Source,
    photo: Photo,
    canvas: Canvas,
    similarity: Image | None,  # of any size; None where there were no references
    report: Report,
) -> Result:
    """The Result of a filled canvas; its image is of the kind that ``source`` was."""
    stays = canvas.pixels is photo.pixels  # it is the user's own photo
    done = photo.replaced(canvas.pixels, canvas.alpha)
    done = done if stays else done.marked("result")
    if similarity is None:
        similarity = np.zeros(canvas.amounts.shape[:2], np.float32)
    image = to_pil(done) if isinstance(source, PIL.Image.Image) else done.pixels
    similarity = match_size(similarity, canvas.amounts.shape)
    return Result(done, image, similarity, canvas.amounts, canvas.unconfirmed, report)


def match_size(image: Image, shape: tuple[int, ...]) -> Image:
    """An image (h, w[, C]) at the height and width of ``shape``; itself where it has them."""
    if image.shape[:2] == shape[:2]:
        return image
    smaller = shape[0] < image.shape[0]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (shape[1], shape[0]), interpolation=how), np.float32)


def enlarge(plane: NDArray[Any], scale: int) -> NDArray[Any]:
    """A plane (h, w), ``scale`` times larger, of the same type."""
    return imresize(plane, scale=float(scale))


def to_pil(photo: Photo) -> PIL.Image.Image:
    """8-bit PIL image of a result, with its alpha."""
    image = PIL.Image.fromarray(photo.as_uint8())
    if photo.alpha is not None:
        image.putalpha(PIL.Image.fromarray(to_8_bits(photo.alpha)))
    return image.convert("L") if photo.gray and photo.alpha is None else image
