"""The paper's Fig. 6: repeated structure with and without SSEN, each photo its own reference.

From Urban100 where it is there, else on a facade that is drawn here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr, ssim
from refsr.evaluate.paper.fig7 import most_detailed_pixel
from refsr.evaluate.paper.sections import Section
from refsr.evaluate.protocol import load_truth
from refsr.evaluate.run import load_method
from refsr.image.photo import Photo, save_photo
from refsr.resize import SCALE, imresize

CROP, ENLARGED = 96, 3  # HR pixels a side that are shown, and how many times enlarged
SIDE = 384  # HR pixels a side of the drawn facade
FINER = 2  # it is drawn so many times larger, and shrunk


def facade() -> Pixels:
    """A wall of windows in perspective (SIDE, SIDE, 3): rows shrink from left to right."""
    side = SIDE * FINER
    wall = np.full((side, side, 3), (196, 178, 160), np.uint8)
    step, bar = 24 * FINER, 2 * FINER
    for top in range(step // 3, side, step):
        for left in range(step // 3, side, step):
            right, bottom = left + step * 5 // 8, top + step * 2 // 3
            cv2.rectangle(wall, (left, top), (right, bottom), (58, 72, 92), -1)
            middle = (left + right) // 2
            cv2.line(wall, (middle, top), (middle, bottom), (228, 226, 220), bar)
            cv2.rectangle(wall, (left, top), (right, bottom), (228, 226, 220), bar)
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]], np.float32)
    seen = np.array([[0, 0], [side, 0.3 * side], [side, 0.7 * side], [0, side]], np.float32)
    turned = cv2.warpPerspective(
        wall, cv2.getPerspectiveTransform(corners, seen), (side, side), borderValue=(150, 186, 220)
    )
    return imresize(np.asarray(turned, np.uint8), scale=1 / FINER)


def compare_structure(
    hr: Pixels, model: str, baseline: str
) -> tuple[Pixels, dict[str, tuple[float, float]]]:
    """The crops beside each other, and PSNR and SSIM of each method by name.

    Crops: bicubic, without SSEN (where there is a ``baseline``), with SSEN, truth. Raises
    ModelError.
    """
    lr = imresize(hr, scale=1 / SCALE)
    names = {"bicubic": "bicubic"}
    names |= {"without SSEN": baseline} if baseline else {}
    names |= {"with SSEN": model}
    results = {name: load_method(one, as_is=True).method(lr, []) for name, one in names.items()}
    x, y = most_detailed_pixel(hr, lr, np.ones(lr.shape[:2], np.float32))
    top, left = (
        int(np.clip(at - CROP // 2, 0, max(0, side - CROP)))
        for at, side in zip((y, x), hr.shape[:2], strict=True)
    )
    crops = [image[top : top + CROP, left : left + CROP] for image in (*results.values(), hr)]
    sheet = np.hstack([crop.repeat(ENLARGED, 0).repeat(ENLARGED, 1) for crop in crops])
    scores = {name: (psnr(sr, hr, SCALE), ssim(sr, hr, SCALE)) for name, sr in results.items()}
    return sheet, scores


def fig6_sections(
    photos: list[Path], model: str, baseline: str, out: Path
) -> tuple[list[Section], dict[str, Any]]:
    """One picture and one row for each photo, or for the drawn facade where there is none.

    Raises ModelError, PhotoError, DataError.
    """
    truths = {path.stem: load_truth(path, None) for path in photos} or {"facade": facade()}
    measured: dict[str, Any] = {}
    rows: list[list[str]] = []
    for name, hr in truths.items():
        sheet, scores = compare_structure(hr, model, baseline)
        file = f"fig6_{name}.png"
        save_photo(Photo.of(sheet).marked("sheet"), out / file)
        measured[name] = {method: list(values) for method, values in scores.items()}
        rows.append([name, *(f"{p:.2f} / {s:.4f}" for p, s in scores.values()), file])
    columns = list(next(iter(measured.values())))
    notes = [f"Pictures, from the left: {', '.join(columns)}, the truth. PSNR / SSIM."]
    notes += [] if photos else ["There is no folder urban100 here: a facade drawn for this figure."]
    notes += (
        [] if baseline else ["Without SSEN: give the network without a reference path, --baseline."]
    )
    title = f"Ours: {model}, each photo its own reference, the network alone"
    return [Section(title, ["photo", *columns, "picture"], rows, notes)], measured
