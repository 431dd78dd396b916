"""Comparison sheets: the images behind each row of an evaluation."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from refsr.arrays import Pixels
from refsr.evaluate.metrics import luma
from refsr.image.atomic import atomic_write
from refsr.image.exif import with_mark
from refsr.resize import imresize

TITLE_HEIGHT, GAP, FONT_SIZE = 26, 8, 18  # pixels
ERROR_GAIN = 4.0  # an error of 64 gray levels is drawn white
QUALITY = 95  # of the JPEG files
PAPER, INK = 255, 30  # gray levels of background and text


def draw_sheet(references: Sequence[Pixels], bicubic: Pixels, sr: Pixels, hr: Pixels) -> Pixels:
    """Reference, bicubic, result; below them the truth and both luma errors, HWC uint8.

    Every image at 100 % except the first reference, which is shrunk to fit.
    """
    height, width = hr.shape[:2]
    cells = [
        ("reference" if references else "no reference", fit_reference(references, height, width)),
        ("bicubic", bicubic),
        ("result", sr),
        ("truth", hr),
        (f"error of bicubic, x{ERROR_GAIN:g}", error_map(bicubic, hr)),
        (f"error of the result, x{ERROR_GAIN:g}", error_map(sr, hr)),
    ]
    rows, columns = TITLE_HEIGHT + height + GAP, width + GAP
    page = PIL.Image.new("RGB", (3 * columns - GAP, 2 * rows - GAP), (PAPER,) * 3)
    draw, font = PIL.ImageDraw.Draw(page), PIL.ImageFont.load_default(FONT_SIZE)
    for number, (title, image) in enumerate(cells):
        left, top = number % 3 * columns, number // 3 * rows
        draw.text((left + 2, top + 2), title, (INK,) * 3, font)
        page.paste(PIL.Image.fromarray(image), (left, top + TITLE_HEIGHT))
    return np.asarray(page)


def fit_reference(references: Sequence[Pixels], height: int, width: int) -> Pixels:
    """The first reference, shrunk to (height, width) if larger, on gray."""
    cell = np.full((height, width, 3), 225, np.uint8)
    if references:
        reference = references[0]
        scale = min(1.0, height / reference.shape[0], width / reference.shape[1])
        size = [max(1, int(side * scale)) for side in reference.shape[:2]]
        cell[: size[0], : size[1]] = imresize(reference, size=(size[0], size[1]))
    return cell


def error_map(image: Pixels, hr: Pixels) -> Pixels:
    """The absolute difference in luma, ERROR_GAIN times, as gray RGB."""
    error = np.abs(luma(image) - luma(hr)) * ERROR_GAIN
    return np.repeat(np.minimum(error, 255).astype(np.uint8)[..., None], 3, axis=2)


def write_sheet(folder: Path, index: int, name: str, gain: float, page: Pixels) -> None:
    """Save a sheet (HWC) as JPEG; sorted by name, the least gain (in dB) comes first.

    Raises PhotoError where it cannot be written.
    """
    file = io.BytesIO()
    options = {"quality": QUALITY, "subsampling": "4:4:4", "exif": with_mark(None, "sheet")}
    PIL.Image.fromarray(page).save(file, "JPEG", **options)
    stem = "-".join(Path(name).with_suffix("").parts[-2:])
    atomic_write(folder / f"{gain:05.2f}dB_{index + 1:03d}_{stem}.jpg", file.getvalue())
