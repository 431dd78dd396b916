"""Small images for the page: previews, thumbnails and the overlay of the map."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.image.photo import Photo, save_photo, to_8_bits
from refsr.report.provenance import tints
from refsr.upscaler import Result

THUMBNAIL_SIDE = 900  # pixels, the long side
PREVIEW_PIXELS = 12_000_000  # larger images are slow in a browser, and fail on phones
OVERLAY_PIXELS = 1_000_000  # the map is no finer than the photo


def write_preview(photo: Photo, path: Path) -> None:
    """Write a PNG of at most PREVIEW_PIXELS, without metadata but a mark of refsr."""
    save_photo(downscaled(photo, PREVIEW_PIXELS), path, strip_metadata=True)


def write_thumbnail(photo: Photo, path: Path) -> None:
    """Write a JPEG of at most THUMBNAIL_SIDE pixels a side, without metadata."""
    shrink = THUMBNAIL_SIDE / max(photo.width, photo.height)
    max_pixels = photo.width * photo.height * shrink**2
    save_photo(downscaled(photo, max_pixels), path, quality=88, strip_metadata=True)


def write_overlay(result: Result, path: Path) -> None:
    """Write the map as a transparent PNG to lay over the result: green borrowed, orange guessed.

    Blue is borrowed and not confirmed by the photo.
    """
    planes = tints(result.amounts, result.unconfirmed) * 255
    photo = Photo(planes[..., :3].round().astype(np.uint8), planes[..., 3].round().astype(np.uint8))
    save_photo(downscaled(photo, OVERLAY_PIXELS).marked("map"), path)


def downscaled(photo: Photo, max_pixels: float) -> Photo:
    """A photo in 8 bits of at most ``max_pixels``."""
    alpha = None if photo.alpha is None else to_8_bits(photo.alpha)
    shrink = (max_pixels / (photo.width * photo.height)) ** 0.5
    if shrink >= 1:
        return photo.replaced(photo.as_uint8(), alpha)
    size = max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink))

    def resized(plane: NDArray[Any]) -> NDArray[Any]:
        return np.asarray(cv2.resize(plane, size, interpolation=cv2.INTER_AREA), np.uint8)

    return photo.replaced(resized(photo.as_uint8()), None if alpha is None else resized(alpha))
