"""A sheet for each row of an evaluation: the pictures that its numbers are of."""

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
from refsr.resize import imresize

LINE, GAP, LETTERS = 26, 8, 18  # pixels: of the titles' line, between pictures, of the letters
ERROR_GAIN = 4.0  # an error of 64 gray levels is drawn white
QUALITY = 95  # of the JPEG files
PAPER, INK = 255, 30


def sheet(references: Sequence[Pixels], bicubic: Pixels, sr: Pixels, hr: Pixels) -> Pixels:
    """Reference, bicubic, result; below them truth and the errors in luma of both, HWC uint8.

    Every picture in its own pixels but the first reference, which is fitted in.
    """
    height, width = hr.shape[:2]
    cells = [
        ("reference" if references else "no reference", fitted(references, height, width)),
        ("bicubic", bicubic),
        ("result", sr),
        ("truth", hr),
        (f"error of bicubic, x{ERROR_GAIN:g}", error(bicubic, hr)),
        (f"error of the result, x{ERROR_GAIN:g}", error(sr, hr)),
    ]
    rows, columns = LINE + height + GAP, width + GAP
    page = PIL.Image.new("RGB", (3 * columns - GAP, 2 * rows - GAP), (PAPER,) * 3)
    draw, font = PIL.ImageDraw.Draw(page), PIL.ImageFont.load_default(LETTERS)
    for number, (title, picture) in enumerate(cells):
        left, top = number % 3 * columns, number // 3 * rows
        draw.text((left + 2, top + 2), title, (INK,) * 3, font)
        page.paste(PIL.Image.fromarray(picture), (left, top + LINE))
    return np.asarray(page)


def fitted(references: Sequence[Pixels], height: int, width: int) -> Pixels:
    """The first reference, shrunk into the room where it is larger; gray around it."""
    cell = np.full((height, width, 3), 225, np.uint8)
    if references:
        picture = references[0]
        scale = min(1.0, height / picture.shape[0], width / picture.shape[1])
        size = [max(1, int(side * scale)) for side in picture.shape[:2]]
        cell[: size[0], : size[1]] = imresize(picture, size=(size[0], size[1]))
    return cell


def error(image: Pixels, hr: Pixels) -> Pixels:
    """The absolute difference in luma, ERROR_GAIN times, as gray RGB."""
    off = np.abs(luma(image) - luma(hr)) * ERROR_GAIN
    return np.repeat(np.minimum(off, 255).astype(np.uint8)[..., None], 3, axis=2)


def write_sheet(folder: Path, index: int, name: str, gain: float, page: Pixels) -> None:
    """Save a sheet (HWC) as JPEG; sorted by name, what gains least (in dB) comes first.

    Raises PhotoError where it cannot be written.
    """
    file = io.BytesIO()
    PIL.Image.fromarray(page).save(file, "JPEG", quality=QUALITY, subsampling="4:4:4")
    stem = "-".join(Path(name).with_suffix("").parts[-2:])
    atomic_write(folder / f"{gain:05.2f}dB_{index + 1:03d}_{stem}.jpg", file.getvalue())
