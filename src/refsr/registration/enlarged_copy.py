"""Recognising a reference that is the photo itself, enlarged by a program.

Such a reference lies over the photo by pure scaling, and its detail follows from the photo: what a
network drew is close to what another one draws, and what was sharpened is the photo, filtered. The
true photo at full size lies over it just as well, but most of its detail cannot be predicted. Only
that of large letters and shapes can: there a network's copy cannot be told from the original, and
is used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Image, Pixels
from refsr.registration.detail_transfer import fine_detail
from refsr.registration.flow import luma
from refsr.registration.fusion import CELLS, best_cells, compute_blend_weights
from refsr.registration.large_image import TRIAL_SIDE, CoarseRegistration, best_block, refine_block
from refsr.registration.reference import Reference
from refsr.registration.register import Registration, align_reference
from refsr.registration.warp import grid
from refsr.resize import SCALE

Draw = Callable[[Pixels], Image]  # (h, w, 3) uint8 -> (4h, 4w, 3) 0..1, by a network, no reference

MAX_SCALING_ERROR = 0.1  # LR px; copies of photos 0.004 to 0.07
MAX_FILTERED = 0.8  # predicted from the photo: sharpened copies 0.81 to 0.97, true photos to 0.56
MAX_DRAWN = 0.9  # and from a network's drawing: most copies 0.9 to 0.97; true photos up to 0.73,
# a true drawing of bricks and windows 0.81 to 0.83, 0.89 at half its size
MAX_FLAT = 0.25  # share; photos 0.00 to 0.26, drawings up to 0.5
MAX_BIMODAL = 0.7  # photos 0.38 to 0.78, one of eight above; large letters and shapes 0.77 to 0.87
WINDOW = 12  # LR pixels a side: a few strokes of large letters
FAINT = 4.0  # square levels: a window of less variance shows nothing
MARGIN = 16  # LR pixels around a cell that the network sees
REACH = 3  # LR pixels to each side from which a filter's output is predicted
RIDGE = 1e-4  # of the mean energy of the predictors


def find_copies(coarse: CoarseRegistration, draw: Draw | None) -> tuple[int, ...]:
    """The used references that are the photo itself, enlarged, by number.

    ``draw``: a network without a reference; with None, and in a drawing, only what filters made is
    recognised.
    """
    composite = coarse.composite
    found: list[int] = []
    draw = None if draw is None or is_drawing(composite.lr) else draw
    for index, used in enumerate(composite.useful):
        registration, lr = composite.registrations[index], coarse.lr
        if not used or scaling_error(registration) > MAX_SCALING_ERROR:
            continue
        if coarse.shrunk:
            fit = registration.validity * registration.consistency
            tile = best_block(fit, lr.shape, TRIAL_SIDE)
            registration = refine_block(coarse, index, tile)
            lr = np.ascontiguousarray(lr[tile.rows, tile.cols])
        reference = composite.references[index]
        if len(best_cells(lr, registration)) < CELLS:  # too little to tell it from a drawn original
            continue
        if predictability(lr, reference, registration, None) > MAX_FILTERED or (
            draw is not None and predictability(lr, reference, registration, draw) > MAX_DRAWN
        ):
            found.append(index)
    return tuple(found)


def leave_out(coarse: CoarseRegistration, copies: tuple[int, ...]) -> CoarseRegistration:
    """A registration in which ``copies`` are known as such and not used."""
    if not copies:
        return coarse
    composite = coarse.composite
    used = tuple(one and i not in copies for i, one in enumerate(composite.useful))
    weights = compute_blend_weights(composite.registrations, used)
    composite = replace(composite, useful=used, blend_weights=weights, copies=copies)
    return replace(coarse, composite=composite)


def scaling_error(registration: Registration) -> float:
    """Median distance, in LR px, of a registration's valid field from one affine map."""
    valid = registration.validity > 0.5
    height, width = valid.shape
    xy_lr = grid(slice(0, height), slice(0, width), 0.5)[valid].astype(np.float64)
    if len(xy_lr) < 3:
        return float("inf")
    xy_ref = registration.xy_ref[valid].astype(np.float64)
    source = np.concatenate([xy_lr, np.ones((len(xy_lr), 1))], axis=1)
    kept = np.ones(len(source), np.bool_)
    distance = np.zeros(len(source))
    for _ in range(3):  # the second and third without outliers
        matrix = np.linalg.lstsq(source[kept], xy_ref[kept], rcond=None)[0]
        distance = np.linalg.norm(source @ matrix - xy_ref, axis=1)
        kept = distance <= 3 * np.median(distance) + 1e-9
    return float(np.median(distance)) / (registration.zoom * SCALE)


def is_drawing(lr: Pixels) -> bool:
    """Whether a photo (h, w, 3) shows large letters or shapes: text, a poster, a diagram."""
    gray = luma(lr)
    return flat_share(gray) > MAX_FLAT or bimodality(gray) > MAX_BIMODAL


def flat_share(gray: Image) -> float:
    """The share of pixels of a luma (h, w), 0..255, that equal their neighbors within a level."""
    levels = np.rint(gray).astype(np.uint8)
    around = np.ones((3, 3), np.uint8)
    return float((cv2.dilate(levels, around) - cv2.erode(levels, around) <= 1).mean())


def bimodality(gray: Image) -> float:
    """How far the windows of a luma (h, w), 0..255, have two tones: 1 is only two, 5/9 uniform.

    Sarle's coefficient, (skewness^2 + 1) / kurtosis, weighted by the finest detail; 0 where there
    is none. Compression hardly changes it.
    """
    fine = (gray - cv2.GaussianBlur(gray, (0, 0), 1.0)) ** 2
    values, energy = windows(gray.astype(np.float64)), windows(fine).sum(axis=1)
    values -= values.mean(axis=1, keepdims=True)
    second, third, fourth = ((values**power).mean(axis=1) for power in (2, 3, 4))
    shown = second > FAINT
    if not energy[shown].sum() > 0:
        return 0.0
    coefficient = (third[shown] ** 2 / second[shown] ** 3 + 1) * second[shown] ** 2 / fourth[shown]
    return float(np.average(coefficient, weights=energy[shown]))


def windows(plane: NDArray[Any]) -> NDArray[Any]:
    """The windows of a plane (h, w), WINDOW pixels a side, as rows (N, WINDOW^2)."""
    rows, cols = plane.shape[0] // WINDOW, plane.shape[1] // WINDOW
    cut = plane[: rows * WINDOW, : cols * WINDOW].reshape(rows, WINDOW, cols, WINDOW)
    return cut.transpose(0, 2, 1, 3).reshape(rows * cols, WINDOW * WINDOW)


def predictability(
    lr: Pixels, reference: Reference, registration: Registration, draw: Draw | None
) -> float:
    """How well the aligned reference's detail is predicted from ``lr`` (h, w, 3): correlation.

    For each of the 16 phases of HR pixels a filter of the photo and of what ``draw`` makes of it is
    fitted in every other cell and applied in the others.
    """
    known: list[list[NDArray[np.float64]]] = [[], []]
    wanted: list[list[NDArray[np.float64]]] = [[], []]
    for number, (rows, cols) in enumerate(best_cells(lr, registration)):
        aligned, valid = align_reference(registration, reference, lr, rows, cols)
        inside = (by_phase(valid) > 0.5).all(axis=2)
        detail = by_phase(luma(fine_detail(aligned) * np.float32(255)))
        wanted[number % 2].append(detail[inside].astype(np.float64))
        known[number % 2].append(predictors(lr, rows, cols, draw)[inside].astype(np.float64))
    if not known[1]:
        return 0.0
    halves = [(np.concatenate(x), np.concatenate(y)) for x, y in zip(known, wanted, strict=True)]
    product = of_wanted = of_found = 0.0
    for (x, y), (other_x, other_y) in (halves, halves[::-1]):
        energy = x.T @ x
        energy += np.eye(len(energy)) * (RIDGE * np.trace(energy) / len(energy) + 1e-9)
        found = other_x @ np.linalg.solve(energy, x.T @ y)
        product += float((found * other_y).sum())
        of_wanted += float((other_y**2).sum())
        of_found += float((found**2).sum())
    return product / max(np.sqrt(of_wanted * of_found), 1e-9)


def predictors(lr: Pixels, rows: slice, cols: slice, draw: Draw | None) -> Image:
    """What the HR detail of a cell is predicted from, at each of its LR pixels: (h, w, N).

    The photo around the pixel less the pixel itself, and the detail that ``draw`` makes.
    """
    height, width = lr.shape[:2]
    top, left = max(0, rows.start - MARGIN), max(0, cols.start - MARGIN)
    part = lr[top : min(height, rows.stop + MARGIN), left : min(width, cols.stop + MARGIN)]
    gray = luma(part)
    padded = np.pad(gray, REACH, mode="edge")
    span = range(2 * REACH + 1)
    planes = [
        padded[y : y + gray.shape[0], x : x + gray.shape[1]] - gray for y in span for x in span
    ]
    if draw is not None:
        drawn = by_phase(luma(fine_detail(draw(part)) * np.float32(255)))
        planes += list(np.moveaxis(drawn, 2, 0))
    core = slice(rows.start - top, rows.stop - top), slice(cols.start - left, cols.stop - left)
    return np.stack([plane[core] for plane in planes], axis=2)


def by_phase(hr: Image) -> Image:
    """A plane (4h, 4w) as (h, w, 16): the HR pixels of each LR pixel."""
    height, width = hr.shape[0] // SCALE, hr.shape[1] // SCALE
    return hr.reshape(height, SCALE, width, SCALE).transpose(0, 2, 1, 3).reshape(height, width, -1)
