"""Measures whose digits a result shows where photo and reference show different ones.

    PYTHONPATH=src:tests python research/false_digits.py [--model ssen] [--strict] [--sheets DIR]

Forms, tables, receipts, screens, plates and clock faces are rendered twice, with other digits in a
share of the places, and the second is photographed (turned, 1.1 times larger, JPEG 92) as the
reference of the first, shrunk by MATLAB's bicubic. A digit is read by correlation with all ten.
Only digits that the small photo itself tells are counted: those read right from it.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from pages import DIGITS, WORDS, Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.resize import imresize

FONTS = "/usr/share/fonts/truetype/dejavu/DejaVu{}.ttf"  # Pillow's own where these are missing
COLORS = {
    "form": ((250, 249, 246), (25, 25, 35)),
    "table": ((255, 255, 255), (0, 0, 0)),
    "receipt": ((243, 240, 228), (70, 65, 75)),
    "screen": ((28, 30, 36), (215, 220, 225)),
    "plate": ((245, 205, 60), (15, 15, 20)),
    "clock": ((238, 238, 232), (30, 30, 60)),
}
# Kind, cut of DejaVu, HR px of the font (digits are 0.73 of it), share of digits that differ
SHEETS = (
    ("form", "Sans", 16, 0.3),
    ("form", "Serif", 26, 0.1),
    ("table", "SansMono", 19, 0.5),
    ("table", "Sans-Bold", 22, 0.3),
    ("receipt", "SansMono", 14, 0.3),
    ("receipt", "SansCondensed", 20, 1.0),
    ("screen", "SansCondensed", 22, 1.0),
    ("screen", "Sans", 11, 0.3),
    ("plate", "Sans-Bold", 27, 0.5),
    ("clock", "Serif-Bold", 20, 0.3),
)


class Sheet(Page):
    """A page of one of the kinds, and the same with other digits."""

    def __init__(self, kind: str, cut: str, size: int, share: float, seed: int) -> None:
        """``size``: of the font in HR px; ``share`` of the digits differ."""
        self.kind, self.size, self.share = kind, size, share
        self.rng = np.random.default_rng(seed)
        path = Path(FONTS.format(cut))
        self.font = (
            ImageFont.truetype(path, size) if path.exists() else ImageFont.load_default(size)
        )
        self.paper, self.ink = COLORS[kind]
        self.signs: list[tuple[float, int, str, str]] = []
        if kind == "clock":
            self.place_dials()
        elif kind == "plate":
            self.place_plates()
        else:
            self.place_lines()

    def put_digits(self, x: float, y: int, count: int) -> float:
        """Random digits from ``x`` on; the place after them."""
        for _ in range(count):
            sign = str(self.rng.choice(list(DIGITS)))
            others = [other for other in DIGITS if other != sign]
            differs = self.rng.random() < self.share
            x = self.put(x, y, sign, str(self.rng.choice(others)) if differs else sign)
        return x

    def place_lines(self) -> None:
        """Labels and numbers."""
        for y in range(8, 310 - self.size, round(1.7 * self.size)):
            x = 10.0
            while x < 440 - 10 * self.size:  # a label and its digits are no longer
                for sign in f"{self.rng.choice(WORDS)}: ":
                    x = self.put(x, y, sign, sign)
                x = self.put_digits(x, y, int(self.rng.integers(3, 8))) + self.size

    def place_plates(self) -> None:
        """Numbers in frames."""
        for y in range(12, 300 - self.size, 2 * self.size):
            for left in (16, 236):
                x = float(left)
                for sign in "RF ":
                    x = self.put(x, y, sign, sign)
                self.put_digits(x, y, 5)

    def place_dials(self) -> None:
        """The hours around dials: two figures each, where they differ another hour."""
        for middle in (76, 226, 376):
            for row in (80, 236):
                for hour in range(12):
                    angle = 2 * np.pi * hour / 12
                    x, y = middle + 56 * np.sin(angle), row - 56 * np.cos(angle)
                    self.put_digits(x - self.size / 2, int(y - self.size / 2), 1 + (hour % 2))

    def draw(self, every: str | None = None, other: bool = False) -> Pixels:
        """As a page, with its rules, frames or dials."""
        image = PillowImage.fromarray(super().draw(every, other))
        draw = ImageDraw.Draw(image)
        gray = tuple((2 * p + i) // 3 for p, i in zip(self.paper, self.ink, strict=True))
        if self.kind in ("form", "table"):
            for y in range(6, 320, round(1.7 * self.size)):
                draw.line((4, y, 444, y), gray)
        if self.kind == "table":
            for x in range(4, 448, 110):
                draw.line((x, 0, x, 320), gray)
        if self.kind == "plate":
            for y in range(6, 294 - self.size, 2 * self.size):
                for x in (6, 226):
                    draw.rectangle((x, y, x + 212, y + round(1.7 * self.size)), None, self.ink, 2)
        if self.kind == "clock":
            for x in (76, 226, 376):
                for y in (80, 236):
                    draw.ellipse((x - 74, y - 74, x + 74, y + 74), None, self.ink, 2)
                    draw.line((x, y, x + 20, y - 26), self.ink, 3)
        return np.asarray(image)


def jpeg(pixels: Pixels, quality: int = 92) -> Pixels:
    """Compressed and read again."""
    _, file = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(file, 1), np.uint8)[..., ::-1])


def score(sheet: Sheet, result: Pixels, lr: Pixels) -> Counter[str]:
    """How many digits differ and are told by the photo, and whose the result shows."""
    counts: Counter[str] = Counter()
    told = sheet.read(lr, 4)
    for read, seen, (_, here, there) in zip(sheet.read(result), told, sheet.digits, strict=True):
        if here == there:
            counts["equal"] += 1
            counts["equal read right"] += read == here
        elif seen == here:
            counts["differing"] += 1
            counts["false"] += read == there
            counts["right"] += read == here
    return counts


def main() -> None:
    """Print a row a sheet, and the sums."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--model", default="auto")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sheets", type=Path, help="folder for a picture of each")
    options = parser.parse_args()
    upscaler = Upscaler.load(options.model)
    sums = {"none": Counter[str](), "given": Counter[str]()}
    for number, (kind, cut, size, share) in enumerate(SHEETS):
        sheet = Sheet(kind, cut, size, share, options.seed * 100 + number)
        hr, view = sheet.draw(), jpeg(sheet.photographed(other=True))
        lr = imresize(hr, scale=0.25)
        panels = [hr]
        for method, references in (("none", None), ("given", [view])):
            prepared = upscaler.prepare(references)
            result = upscaler.upscale(lr, references=prepared, strict=options.strict)
            counts = score(sheet, result.photo.as_uint8(), lr)
            sums[method] += counts
            panels.append(result.photo.as_uint8())
            words = ", ".join(f"{name} {count}" for name, count in counts.items())
            print(f"{kind} {cut} {size} px, {share:.0%} differ, {method}: {words}", flush=True)
        if options.sheets:
            options.sheets.mkdir(parents=True, exist_ok=True)
            picture = np.vstack([*panels, sheet.draw(other=True)])
            PillowImage.fromarray(picture).save(options.sheets / f"{number}_{kind}.png")
    for method, counts in sums.items():
        print(f"all, {method}:", ", ".join(f"{name} {count}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
