"""Rendered pages of words and numbers, and a reader that tells which digits a picture shows."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from refsr.arrays import Image, Pixels
from refsr.registration.flow import luma
from refsr.resize import imresize

WORDS = ("Total", "Date", "Street", "Number", "Order", "Page", "Sum", "Code", "Time", "Unit")
DIGITS = "0123456789"
MARGIN = 1  # HR pixels around a digit's box


class Page:
    """A page of 448 x 320 HR px, and the same page with other digits."""

    def __init__(self, size: int, share: float, seed: int, dark: bool = False) -> None:
        """``size``: of the font, HR px (digits are 0.7 of it); ``share`` of the digits differ."""
        rng = np.random.default_rng(seed)
        self.font = ImageFont.load_default(size)
        self.paper, self.ink = (
            ((28, 30, 36), (215, 220, 225)) if dark else ((250, 249, 246), (25, 25, 35))
        )
        self.signs: list[tuple[float, int, str, str]] = []  # x, y, here, on the other page
        for y in range(8, 300 - size, round(1.6 * size)):
            x = 10.0
            while x < 330:
                for sign in f"{rng.choice(WORDS)}: ":
                    x = self.put(x, y, sign, sign)
                for _ in range(int(rng.integers(3, 7))):
                    sign = str(rng.choice(list(DIGITS)))
                    others = [other for other in DIGITS if other != sign]
                    x = self.put(
                        x, y, sign, str(rng.choice(others)) if rng.random() < share else sign
                    )
                x += size

    def put(self, x: float, y: int, here: str, there: str) -> float:
        self.signs.append((x, y, here, there))
        return x + self.font.getlength("0" if here in DIGITS else here)

    def draw(self, every: str | None = None, other: bool = False) -> Pixels:
        """The page, RGB uint8; ``other``: with the other digits; or ``every`` sign one digit."""
        image = PillowImage.new("RGB", (448, 320), self.paper)
        draw = ImageDraw.Draw(image)
        for x, y, here, there in self.signs:
            draw.text((x, y), every or (there if other else here), self.ink, self.font)
        return np.asarray(image)

    @property
    def digits(self) -> list[tuple[tuple[slice, slice], str, str]]:
        """Where each digit is, in HR px, and what it is here and on the other page."""
        _, top, _, bottom = self.font.getbbox("0")
        width = self.font.getlength("0")
        return [
            (
                (
                    slice(int(y + top) - MARGIN, int(y + bottom) + 1 + MARGIN),
                    slice(int(x) - MARGIN, int(x + width) + 1 + MARGIN),
                ),
                here,
                there,
            )
            for x, y, here, there in self.signs
            if here in DIGITS
        ]

    def read(self, pixels: Pixels, shrink: int = 1) -> list[str]:
        """The digit that each digit's place looks most like, by correlation.

        ``shrink``: how many HR px a pixel of ``pixels`` is.
        """
        shown = luma(pixels)
        templates = [luma(imresize(self.draw(digit), scale=1 / shrink)) for digit in DIGITS]
        read: list[str] = []
        for place, _, _ in self.digits:
            rows, cols = (slice(p.start // shrink, -(-p.stop // shrink)) for p in place)
            likeness = [correlation(shown[rows, cols], one[rows, cols]) for one in templates]
            read.append(DIGITS[int(np.argmax(likeness))])
        return read

    def photographed(self, other: bool) -> Pixels:
        """The page with its own or the other digits, a little larger, turned and moved."""
        matrix = np.array([[1.1, 0.008, 3.3], [-0.008, 1.1, 5.2]])
        page = self.draw(other=other)
        view = cv2.warpAffine(
            page, matrix, (500, 362), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
        )
        return np.asarray(view, np.uint8)


def correlation(first: Image, second: Image) -> float:
    a, b = first - first.mean(), second - second.mean()
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum() + 1e-6))
