"""Counterfeits: references that are right but for a digit, a sign or a part that the photo refutes.

The network is to look closely: what differs stands at full validity, in the same tone and size as
what the photo shows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from string import ascii_letters, digits, punctuation

import cv2
import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

from refsr.arrays import Image, Pixels
from refsr.degradation.simulate import to_levels
from refsr.resize import SCALE, imresize
from refsr.train.datasets import Sample

FONTS = Path("/usr/share/fonts/truetype")  # of the system, where it has any, beside Pillow's own
LETTERS = digits * 8 + ascii_letters + punctuation[:16]
SIZES = 7, 40  # HR pixels, of fonts: glyphs of 5 to 28
SHAPES = 8, 48  # HR pixels a side of what is swapped
CANDIDATES = 12  # places of which the one most alike in tone and contrast is taken
TONE = 0.5, 2.0  # factors of contrast that make a swapped part alike


def counterfeited(rng: np.random.Generator, sample: Sample, other: Pixels) -> Sample:
    """A sample (see ``Sample``) whose reference is a counterfeit: signs, or swapped shapes.

    ``other``: RGB of another photo, of the same size. Signs are written into the
    photo, too, and so the small photo is made anew by MATLAB's bicubic.
    """
    if rng.random() < 0.5:
        return with_signs(rng, sample)
    return replace(sample, ref=with_swapped_shapes(rng, sample.ref, other))


@cache
def font_files() -> tuple[str, ...]:
    """The system's TrueType fonts, sorted."""
    return tuple(sorted(str(path) for path in FONTS.rglob("*.ttf")))


@cache
def load_font(name: str, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font; Pillow's own where ``name`` is empty."""
    return ImageFont.truetype(name, size) if name else ImageFont.load_default(size)


def with_signs(rng: np.random.Generator, sample: Sample) -> Sample:
    """Lines of signs in photo and reference, of which some differ."""
    height, width = sample.hr.shape[:2]
    name = str(rng.choice(("", *font_files())))
    size = round(float(np.exp(rng.uniform(*np.log(SIZES)))))
    font = load_font(name, size)
    share = float(rng.choice((0.1, 0.3, 1.0)))  # of the signs that differ
    shift = rng.normal(0.0, 0.4, 2)  # HR pixels, of the reference's signs: misregistration
    ground, ink = grounds_and_ink(rng, sample.hr)
    layers = [PillowImage.new("L", (width, height)) for _ in range(2)]
    here, there = (ImageDraw.Draw(layer) for layer in layers)
    y = float(rng.uniform(0, size))
    while y < height:
        x = float(rng.uniform(0, 2 * size))
        while x < width:
            sign, other = (str(rng.choice(list(LETTERS))) for _ in range(2))
            here.text((x, y), sign, 255, font)
            told = other if rng.random() < share else sign
            there.text((x + shift[0], y + shift[1]), told, 255, font)
            x += font.getlength(sign) * (3 if rng.random() < 0.15 else 1.05)
        y += size * float(rng.uniform(1.1, 3.0))
    alphas: list[Image] = [np.asarray(layer, np.float32) / np.float32(255) for layer in layers]
    blur = float(rng.uniform(0.0, 0.8))
    if blur > 0.3:  # the reference's camera
        alphas[1] = np.asarray(cv2.GaussianBlur(alphas[1], (0, 0), blur), np.float32)
    cover = board(rng, height, width)

    def written(pixels: Pixels, alpha: Image) -> Pixels:
        image = pixels + cover[..., None] * (ground - pixels)
        return to_levels(np.asarray(image + alpha[..., None] * (ink - image), np.float32))

    hr = written(sample.hr, alphas[0])
    target = None if sample.target is None else written(sample.target, alphas[0])
    ref = written(sample.ref, alphas[1])
    return replace(sample, lr=imresize(hr, scale=1 / SCALE), hr=hr, ref=ref, target=target)


def grounds_and_ink(rng: np.random.Generator, hr: Pixels) -> tuple[Image, Image]:
    """Colors (3,) of the ground that signs stand on, and of the signs."""
    ground = hr[rng.integers(hr.shape[0]), rng.integers(hr.shape[1])].astype(np.float32)
    if rng.random() < 0.5:  # paper or screen
        ground = np.float32((245 if rng.random() < 0.7 else 30) + rng.normal(0, 8, 3))
    contrast = float(rng.uniform(50, 230)) * (1 if ground.mean() < 128 else -1)
    ink = np.clip(ground + contrast + rng.normal(0, 10, 3), 0, 255)
    return np.clip(ground, 0, 255), ink.astype(np.float32)


def board(rng: np.random.Generator, height: int, width: int) -> Image:
    """How much (h, w), 0..1, of the photo a plain board covers: nothing, a part, or everything."""
    cover = np.zeros((height, width), np.float32)
    if rng.random() < 0.75:
        sides = (int(v) for v in rng.integers((height // 3, width // 3), (height + 1, width + 1)))
        rows, columns = sides
        top, left = (int(rng.integers(0, f - s + 1)) for f, s in ((height, rows), (width, columns)))
        cover[top : top + rows, left : left + columns] = min(float(rng.uniform(0.7, 1.3)), 1.0)
    return cover


def with_swapped_shapes(rng: np.random.Generator, ref: Pixels, other: Pixels) -> Pixels:
    """A reference (h, w, 3) in which some small shapes are those of another place or photo."""
    image = ref.astype(np.float32)
    for _ in range(int(rng.integers(1, 9))):
        side = min(round(float(np.exp(rng.uniform(*np.log(SHAPES))))), *ref.shape[:2])
        source = ref if rng.random() < 0.5 else other
        place = random_window(rng, image, side)
        windows = [random_window(rng, source, side) for _ in range(CANDIDATES)]
        target = image[place]
        mean, deviation = moments(target)

        parts = [source[window] for window in windows]
        strangeness = [
            np.abs(np.subtract(moments(part), (mean, deviation))).sum() for part in parts
        ]
        part = parts[int(np.argmin(strangeness))].astype(np.float32)
        its_mean, its_deviation = moments(part)
        gain = np.clip((deviation + 1) / (its_deviation + 1), *TONE)
        mask = np.zeros((side, side), np.float32)
        middle = (side // 2, side // 2)
        axes = (max(2, side // 2 - 3), max(2, round(side * float(rng.uniform(0.25, 0.5))) - 3))
        cv2.ellipse(mask, middle, axes, float(rng.uniform(0, 180)), 0, 360, 1.0, -1)
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), 1.0), np.float32)[..., None]
        image[place] = target + mask * ((part - its_mean) * gain + mean - target)
    return to_levels(image)


def random_window(
    rng: np.random.Generator, image: Image | Pixels, side: int
) -> tuple[slice, slice]:
    """The rows and columns of a random square of ``side`` pixels."""
    top, left = (int(rng.integers(0, length - side + 1)) for length in image.shape[:2])
    return slice(top, top + side), slice(left, left + side)


def moments(part: Image | Pixels) -> tuple[Image, Image]:
    """Means and deviations of the colors (3,), in levels."""
    return np.asarray(part.mean((0, 1)), np.float32), np.asarray(part.std((0, 1)), np.float32)
