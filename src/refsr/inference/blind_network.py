"""The small network that tells from a small photo alone how it was taken."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from refsr.arrays import Image, Pixels
from refsr.degradation.blind_estimate import BlindEstimate, estimate_of, nothing_known
from refsr.errors import ModelError
from refsr.image.photo import Photo
from refsr.inference.onnx import estimator_options
from refsr.registration.flow import luma
from refsr.registration.misfit import high_pass
from refsr.weights.models import FOLDER

FILE = FOLDER.parent / "estimators" / "blind.onnx"
TILE = 96  # LR pixels a side of the parts of a large photo; a multiple of JPEG's blocks
TILES = 16  # those with the most detail; further ones change little and cost memory
MIN_SIDE = 32  # LR pixels; smaller photos show too little
MIN_DETAIL = 4.0  # square levels: mean energy of luma less its blur; training has none below
OUTPUTS = ["log_transfer", "log_transfer_deviation", "scalars", "scalars_deviation", "clean"]


class BlindNetwork:
    """The loaded network, in ONNX Runtime on the processor. May be called from several threads."""

    def __init__(self, path: Path = FILE) -> None:
        """Raises ModelError where the file is missing or damaged."""
        import onnxruntime

        options = estimator_options()
        try:
            self.session: Any = onnxruntime.InferenceSession(
                path.read_bytes(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(f"{path} cannot be loaded; install refsr again.") from error

    def estimate(self, photo: Photo) -> BlindEstimate:
        """What the photo's pixels and file show. Any size and depth; bounded memory."""
        pixels = photo.as_uint8()
        if min(pixels.shape[:2]) < MIN_SIDE:
            return nothing_known(photo.jpeg_quality)
        crops, detail = choose_crops(pixels)
        if detail < MIN_DETAIL:
            return nothing_known(photo.jpeg_quality)
        transfer, deviation, scalars, scalar_deviations, clean = self.session.run(
            OUTPUTS, {"crops": crops}
        )
        return estimate_of(
            transfer, deviation, scalars, scalar_deviations, float(clean), photo.jpeg_quality
        )


def choose_crops(pixels: Pixels) -> tuple[Image, float]:
    """The parts (N, 3, h, w), 0..1, that show most, and the mean energy of their detail."""
    height, width = pixels.shape[:2]
    if height * width <= TILES * TILE * TILE or min(height, width) < TILE:
        rows = columns = [0]
        pixels = center(pixels)
        tile_height, tile_width = pixels.shape[:2]
    else:
        rows, columns = (list(range(0, side - TILE + 1, TILE)) for side in (height, width))
        tile_height = tile_width = TILE
    parts: list[tuple[float, int, int]] = []
    for top in rows:
        for left in columns:
            part = pixels[top : top + tile_height, left : left + tile_width]
            parts.append((detail_of(part), top, left))
    parts = sorted(parts, key=lambda part: -part[0])[:TILES]
    chosen = [pixels[y : y + tile_height, x : x + tile_width] for _, y, x in parts]
    crops = np.stack(chosen).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    return crops, float(np.mean([detail for detail, _, _ in parts]))


def center(pixels: Pixels) -> Pixels:
    """The middle of a photo, cut along JPEG's grid, where it is too long to be looked at whole."""
    if pixels.shape[0] < pixels.shape[1]:
        return center(pixels.transpose(1, 0, 2)).transpose(1, 0, 2)
    limit = TILES * TILE * TILE // pixels.shape[1]
    start = max(0, (pixels.shape[0] - limit) // 2) // 8 * 8
    return pixels[start : start + limit]


def detail_of(pixels: Pixels) -> float:
    """Mean energy in square levels of luma less its blur."""
    return float((high_pass(luma(pixels)) ** 2).mean())


@cache
def blind_network() -> BlindNetwork:
    """The shipped network, loaded once. Raises ModelError."""
    return BlindNetwork()


def estimate_blindly(photo: Photo) -> BlindEstimate:
    """How a small photo was taken, from itself and its file. Raises ModelError."""
    return blind_network().estimate(photo)
