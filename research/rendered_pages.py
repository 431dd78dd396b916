"""Renders pages, forms, tables and screens, light and dark: what photos of scenes do not teach.

``train_blind.py`` puts them into its bank, ``evaluate_blind.py`` measures on others. Letters come
from Pillow's own font and from those of DejaVu's cuts that this system has.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from refsr.arrays import Pixels
from refsr.degradation.simulate import blur, to_levels

FONTS = Path("/usr/share/fonts/truetype/dejavu")
KEPT_OUT = ("Serif", "Condensed")  # in the names of cuts that train nothing
WORDS = (
    *("Total", "Date", "Street", "Number", "Order", "Page", "Sum", "Code", "Time", "Unit", "the"),
    *("of", "and", "a", "is", "in", "Save", "Open", "Cancel", "File", "Edit", "View", "Help", "OK"),
    *("Invoice", "Amount", "Customer", "Balance", "quickly", "judged", "example", "without"),
)
LETTERS = "aaabcdeeeefghiiijklmnnooopqrrssttuuvwxyz"

Color = tuple[int, int, int]


class Style:
    """The colors and letters of one page."""

    def __init__(self, rng: np.random.Generator, fonts: list[str]) -> None:
        """``fonts``: names that ``font_names`` gives."""
        self.rng, self.name = rng, str(rng.choice(fonts))
        self.size = round(float(np.exp(rng.uniform(np.log(9), np.log(44)))))  # HR pixels
        dark = rng.random() < 0.35
        paper, ink = (rng.uniform(5, 70), rng.uniform(150, 255)) if dark else (255.0, 20.0)
        if not dark and rng.random() < 0.6:
            paper, ink = rng.uniform(190, 255), rng.uniform(0, 100)
        self.paper, self.ink = self.tinted(paper, 10), self.tinted(ink, 25)
        self.smooth = bool(rng.random() < 0.9)  # or black and white letters

    def tinted(self, level: float, by: float) -> Color:
        """A color of about that level."""
        red, green, blue = np.clip(level + self.rng.normal(0, by / 2, 3), 0, 255).astype(int)
        return int(red), int(green), int(blue)

    def between(self, share: float) -> Color:
        """A color between paper (0) and ink (1)."""
        red, green, blue = (
            round(p + share * (i - p)) for p, i in zip(self.paper, self.ink, strict=True)
        )
        return red, green, blue

    def accent(self) -> Color:
        """Any color, as of a button or an icon."""
        red, green, blue = self.rng.integers(0, 256, 3)
        return int(red), int(green), int(blue)

    def font(self, larger: float = 1.0) -> Any:
        """The page's font, or a larger size of it."""
        return load_font(self.name, max(7, round(self.size * larger)))

    def word(self) -> str:
        """A word or a number."""
        kind = self.rng.random()
        if kind < 0.35:
            return "".join(self.rng.choice(list("0123456789.,:-/"), int(self.rng.integers(2, 9))))
        if kind < 0.65:
            return str(self.rng.choice(WORDS))
        word = "".join(self.rng.choice(list(LETTERS), int(self.rng.integers(2, 10))))
        return word.capitalize() if self.rng.random() < 0.2 else word


@cache
def font_names(kept_out: bool = False) -> list[str]:
    """Fonts that train, or those kept out; "" is Pillow's own, which trains."""
    paths = sorted(FONTS.glob("*.ttf"))
    names = [str(p) for p in paths if any(part in p.name for part in KEPT_OUT) == kept_out]
    return names if kept_out and names else ["", *names]


@cache
def load_font(name: str, size: int) -> Any:
    """A font by its name, ``size`` in HR pixels."""
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def render_page(rng: np.random.Generator, width: int, height: int, fonts: list[str]) -> Pixels:
    """A page (height, width, 3) RGB of a random kind; some as a scanner or camera has them."""
    finer = int(rng.choice((1, 1, 1, 2, 3)))  # drawn so much larger: softer letters
    style = Style(rng, fonts)
    style.size *= finer
    image = PillowImage.new("RGB", (width * finer, height * finer), style.paper)
    draw = ImageDraw.Draw(image)
    draw.fontmode = "L" if style.smooth else "1"
    kind = (draw_text, draw_form, draw_table, draw_screen)[int(rng.integers(4))]
    kind(draw, style, (0, 0, *image.size))
    pixels = np.asarray(image)
    if finer > 1:
        pixels = np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))
    return photographed(rng, pixels) if rng.random() < 0.3 else np.ascontiguousarray(pixels)


def photographed(rng: np.random.Generator, page: Pixels) -> Pixels:
    """The page a little turned and blurred, in uneven light, on paper that is not even."""
    height, width = page.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.normal(0, 2), 1.06)
    turned = cv2.warpAffine(
        page, matrix, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    soft = blur(np.asarray(turned, np.uint8), float(rng.uniform(0.4, 1.6)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = 1 - 0.15 * (1 + rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y) * rng.random()
    grain = cv2.GaussianBlur(rng.standard_normal((height, width, 1)), (0, 0), 0.8)
    return to_levels((soft * light[..., None] + 6 * rng.random() * grain[..., None]).astype("f4"))


# --- kinds: each fills a box (left, top, right, bottom) ---

Box = tuple[int, int, int, int]


def draw_line(draw: Any, style: Style, x: float, y: float, end: float, larger: float = 1) -> None:
    """Words from ``x`` to about ``end``."""
    font, color = style.font(larger), style.between(1.0 if style.rng.random() < 0.9 else 0.6)
    while x < end:
        word = style.word() + " "
        if x + font.getlength(word) > end:
            return
        draw.text((x, y), word, color, font)
        x += font.getlength(word)


def draw_text(draw: Any, style: Style, box: Box) -> None:
    """A title and paragraphs in one or two columns."""
    left, top, right, bottom = box
    size, rng = style.size, style.rng
    draw_line(draw, style, left + size, top + size, right, 1.7)
    step, columns = round(size * rng.uniform(1.15, 1.7)), int(rng.integers(1, 3))
    for column in range(columns):
        width = (right - left) // columns
        start = left + column * width
        for y in range(top + 4 * size, bottom, step):
            indent = 2 * size if rng.random() < 0.15 else 0
            end = start + width * (1 if rng.random() < 0.8 else rng.uniform(0.3, 1))
            draw_line(draw, style, start + size + indent, y, end - size / 2)


def draw_form(draw: Any, style: Style, box: Box) -> None:
    """Labels before boxes, rules and check marks."""
    left, top, right, bottom = box
    size, rng = style.size, style.rng
    columns, step = int(rng.integers(1, 4)), round(size * rng.uniform(1.8, 2.6))
    width, rule = (right - left) // columns, max(1, round(size / 12))
    for y in range(top + size // 2, bottom, step):
        for column in range(columns):
            x = left + column * width + size // 2
            middle, end = x + round(width * rng.uniform(0.3, 0.5)), x + width - size
            draw_line(draw, style, x, y, middle)
            field = (middle, y - size // 4, max(end, middle), y + round(1.4 * size))
            kind = rng.random()
            if kind < 0.35:
                draw.rectangle(field, outline=style.between(0.7), width=rule)
            elif kind < 0.6:
                draw.line((middle, field[3], end, field[3]), style.between(0.8), rule)
            elif kind < 0.7:
                draw.rectangle((middle, y, middle + size, y + size), outline=style.ink, width=rule)
                draw.line((middle, y, middle + size, y + size), style.ink, rule)
            if rng.random() < 0.8:
                draw_line(draw, style, middle + size // 3, y, end)


def draw_table(draw: Any, style: Style, box: Box) -> None:
    """Columns of numbers, with rules or bands."""
    left, top, right, bottom = box
    size, rng = style.size, style.rng
    step, width = round(size * rng.uniform(1.4, 2)), round(size * rng.uniform(4, 9))
    bands, rules, rule = rng.random() < 0.4, rng.random() < 0.7, max(1, round(size / 14))
    shade, gray = style.between(rng.uniform(0.04, 0.2)), style.between(rng.uniform(0.2, 1))
    for row, y in enumerate(range(top + size // 3, bottom, step)):
        if bands and row % 2:
            draw.rectangle((left, y, right, y + step), fill=shade)
        for x in range(left + size // 3, right, width):
            draw_line(draw, style, x + size // 4, y + size // 6, x + width)
            if rules:
                draw.rectangle((x, y, x + width, y + step), outline=gray, width=rule)


def draw_screen(draw: Any, style: Style, box: Box) -> None:
    """Windows with bars, lists, buttons, icons and curves."""
    left, top, right, bottom = box
    size, rng = style.size, style.rng
    draw_text(draw, style, box)
    for _ in range(int(rng.integers(2, 6))):
        x, y = int(rng.integers(left, right - 9)), int(rng.integers(top, bottom - 9))
        inner = (x, y, min(right, x + (right - left) // 2), min(bottom, y + (bottom - top) // 2))
        fill = style.between(rng.uniform(0, 0.25)) if rng.random() < 0.7 else style.accent()
        draw.rectangle(inner, fill, style.between(0.5), width=max(1, size // 16))
        draw.rectangle((*inner[:2], inner[2], min(y + 2 * size, inner[3])), style.accent())
        draw_line(draw, style, x + size // 2, y + size // 3, inner[2])
        kind = (draw_text, draw_table, draw_form, draw_curves, draw_icons)[int(rng.integers(5))]
        kind(draw, style, (x, y + 2 * size, *inner[2:]))


def draw_curves(draw: Any, style: Style, box: Box) -> None:
    """Curves over a grid."""
    left, top, right, bottom = box
    if right - left < 16 or bottom - top < 16:
        return
    for x in range(left, right, max(12, style.size)):
        draw.line((x, top, x, bottom), style.between(0.2))
    for _ in range(3):
        across = np.linspace(left, right, 24)
        walk = np.cumsum(style.rng.normal(0, (bottom - top) / 12, 24)) + (top + bottom) / 2
        points = np.stack([across, np.clip(walk, top, bottom)], 1).ravel().tolist()
        draw.line(points, style.accent(), max(1, style.size // 8))


def draw_icons(draw: Any, style: Style, box: Box) -> None:
    """Rows of disks, squares and buttons with words."""
    left, top, right, bottom = box
    size = style.size
    for y in range(top, bottom - size, 2 * size):
        for x in range(left, right - size, 3 * size):
            shape = (draw.ellipse, draw.rectangle)[int(style.rng.integers(2))]
            shape((x, y, x + round(1.3 * size), y + round(1.3 * size)), style.accent())
            draw.text((x + size // 4, y), str(style.rng.integers(10)), style.paper, style.font())
