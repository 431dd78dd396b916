"""Finds faces: where a wrong eye or mouth matters more than anything that averages tell.

The cascade of MTCNN (Zhang et al., "Joint Face Detection and Alignment using Multi-task Cascaded
Convolutional Networks", 2016): a network that proposes windows at every scale, and two that check
them closer and closer. Its weights are not ours; see ``weights/estimators/mtcnn.md``.
"""

from __future__ import annotations

from functools import cache
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels
from refsr.errors import ModelError
from refsr.inference.onnx import estimator_options
from refsr.registration.evidence import NO_BOXES, Boxes
from refsr.registration.large_image import CoarseRegistration
from refsr.registration.register import Registration
from refsr.registration.warp import FIELD_SCALE
from refsr.resize import SCALE
from refsr.weights.models import FOLDER

FILES = tuple(FOLDER.parent / "estimators" / f"mtcnn_{name}net.onnx" for name in "pro")
WINDOW, STRIDE = 12, 2  # pixels: side of the first network's windows, and from one to the next
OCTAVE = 0.709  # from one scale to the next
SIDES = 24, 48  # pixels a side that the other networks see
CONFIDENCE = 0.6, 0.7, 0.7  # probability from which a network passes a window on
OVERLAP = 0.5, 0.7, 0.7, 0.4  # within a scale, between scales, after the second and third network
SMALLEST = 6.0  # LR pixels a side; in smaller faces there is nothing to tell
MOST_PIXELS = 1_500_000  # looked at; smaller faces of a larger photo are not found
BAND_PIXELS, MIN_BAND = 200_000, 64  # pixels, and rows, looked at at a time, about
MAPPED = 16  # field pixels of a reference's face, at least, that lie in the photo
MOST_WINDOWS = 2_000  # checked; the most probable ones
WINDOWS = 64  # checked at a time: 48 pixels a side, they take 0.3 MB each


class FaceFinder:
    """The loaded networks, in ONNX Runtime on the processor. May be called from several threads."""

    def __init__(self, paths: tuple[Path, ...] = FILES) -> None:
        """Raises ModelError where a file is missing or damaged."""
        import onnxruntime

        options = estimator_options()
        try:
            self.sessions: list[Any] = [
                onnxruntime.InferenceSession(
                    path.read_bytes(), options, providers=["CPUExecutionProvider"]
                )
                for path in paths
            ]
        except Exception as error:  # onnxruntime's own exceptions share no base
            raise ModelError(f"{paths[0].parent} cannot be loaded; install refsr again.") from error

    def find(self, pixels: Pixels, smallest: float) -> Boxes:
        """Boxes (N, 4) of the faces in a photo (h, w, 3) RGB: left, top, right, bottom in pixels.

        ``smallest``: pixels a side of the smallest face that is looked for.
        """
        height, width = pixels.shape[:2]
        scale = min(WINDOW / smallest, sqrt(MOST_PIXELS / (height * width)))
        found: list[tuple[Boxes, Image]] = [(NO_BOXES, np.zeros(0, np.float32))]
        while min(height, width) * scale >= WINDOW:
            found.append(self.propose(pixels, scale))
            scale *= OCTAVE
        boxes, scores = (np.concatenate(part) for part in zip(*found, strict=True))
        boxes, scores = best(boxes, scores, OVERLAP[1])
        for stage, side in enumerate(SIDES, start=1):
            if not len(boxes):
                break
            boxes, scores = self.check(stage, pixels, squares(boxes), side)
        return boxes

    def propose(self, pixels: Pixels, scale: float) -> tuple[Boxes, Image]:
        """Windows of the photo that may hold a face, at one scale, and their probabilities."""
        shrunk = resized(pixels, round(pixels.shape[1] * scale), round(pixels.shape[0] * scale))
        step = max(MIN_BAND, BAND_PIXELS // shrunk.shape[1]) // STRIDE * STRIDE
        shifts: list[Image] = []
        faces: list[Image] = []
        for top in range(0, shrunk.shape[0] - WINDOW + 1, step):
            band = shrunk[top : top + step + WINDOW - STRIDE]
            shift, face = self.run(0, normalized(band)[None])
            shifts.append(shift[0])
            faces.append(face[0, 1])
        shift, face = np.concatenate(shifts, axis=1), np.concatenate(faces)
        y, x = np.nonzero(face > CONFIDENCE[0])
        corner = STRIDE * np.stack([x, y], axis=1)
        boxes = np.concatenate([corner, corner + WINDOW], axis=1) / np.float32(scale)
        boxes = boxes.astype(np.float32)
        return best(shifted(boxes, shift[:, y, x].T), face[y, x], OVERLAP[0])

    def check(self, stage: int, pixels: Pixels, boxes: Boxes, side: int) -> tuple[Boxes, Image]:
        """Those of the windows (N, 4) that a network takes for faces, put right."""
        crops = np.stack([normalized(crop(pixels, box, side)) for box in boxes])
        shift, *_, face = self.run(stage, crops)
        sure = face[:, 1] > CONFIDENCE[stage]
        return best(shifted(boxes[sure], shift[sure]), face[sure, 1], OVERLAP[stage + 1])

    def run(self, stage: int, images: Image) -> list[Image]:
        """Outputs of a network: the boxes' shifts first, the probability of a face last."""
        session = self.sessions[stage]
        name = session.get_inputs()[0].name
        parts = [
            session.run(None, {name: images[first : first + WINDOWS]})
            for first in range(0, len(images), WINDOWS)
        ]
        return [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]


def normalized(pixels: Pixels) -> Image:
    """Pixels (h, w, 3) as these networks take them: (3, h, w), -1 to 1."""
    image = (pixels.astype(np.float32) - np.float32(127.5)) / np.float32(128)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Pixels (h, w, 3) at another size."""
    how = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=how), np.uint8)


def crop(pixels: Pixels, box: Image, side: int) -> Pixels:
    """What a box (4,) holds of a photo (h, w, 3): (side, side, 3)."""
    height, width = pixels.shape[:2]
    left, top = np.clip(box[:2].astype(int), 0, (width - 1, height - 1))
    right, bottom = np.clip(box[2:].astype(int), (left + 1, top + 1), (width, height))
    return resized(pixels[top:bottom, left:right], side, side)


def shifted(boxes: Boxes, shift: Image) -> Boxes:
    """Boxes whose sides are moved by shares (N, 4) of their size."""
    size = boxes[:, 2:] - boxes[:, :2]
    return (boxes + shift * np.concatenate([size, size], axis=1)).astype(np.float32)


def squares(boxes: Boxes) -> Boxes:
    """The squares around boxes."""
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True) / 2
    return np.concatenate([center - half, center + half], axis=1).astype(np.float32)


def best(boxes: Boxes, scores: Image, overlap: float) -> tuple[Boxes, Image]:
    """Boxes and their scores (N,), without those that overlap a better one by more than a share."""
    if not len(boxes):
        return boxes, scores
    corners = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)  # and sizes
    kept = cv2.dnn.NMSBoxes(corners.tolist(), scores.tolist(), 0.0, overlap, top_k=MOST_WINDOWS)
    order: NDArray[np.intp] = np.asarray(kept, np.intp).ravel()
    return boxes[order], scores[order]


@cache
def face_finder() -> FaceFinder:
    """The shipped networks, loaded once. Raises ModelError."""
    return FaceFinder()


def faces_of(coarse: CoarseRegistration) -> Boxes:
    """Faces in a photo, and what its references have faces of: boxes (N, 4) in LR pixels.

    Raises ModelError.
    """
    composite = coarse.composite
    if not composite.matched:
        return NO_BOXES
    found = [face_finder().find(coarse.lr, SMALLEST)]
    field_pixel = coarse.lr.shape[0] / (FIELD_SCALE * composite.lr.shape[0])  # LR pixels
    for reference, registration, used in zip(
        composite.references, composite.registrations, composite.useful, strict=True
    ):
        if used:
            smallest = SMALLEST * SCALE * max(registration.zoom, 1 / SCALE)
            theirs = face_finder().find(reference.pixels, smallest)
            found.append(field_pixel * in_field(theirs, registration))
    return np.concatenate(found)


def in_field(boxes: Boxes, registration: Registration) -> Boxes:
    """Boxes of a reference as boxes on the field grid, without those that are not valid there."""
    x, y = registration.xy_ref[..., 0], registration.xy_ref[..., 1]
    valid = registration.validity > 0
    found: list[NDArray[np.float32]] = []
    for left, top, right, bottom in boxes:
        rows, columns = np.nonzero(valid & (x > left) & (x < right) & (y > top) & (y < bottom))
        if len(rows) >= MAPPED:
            low, high = (np.quantile([columns, rows], share, axis=1) for share in (0.02, 0.98))
            found.append(np.concatenate([low, high + 1]).astype(np.float32))
    return np.stack(found) if found else NO_BOXES
