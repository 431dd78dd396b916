"""Render the pictures of docs/gallery.md, from photos that scikit-image carries and a drawn facade.

    PYTHONPATH=src:tests python research/render_gallery.py [--only NAME]

Each picture is shown at 100 %: a pixel of the file is a pixel of the result; ``readme``, the
picture at the top of README.md, at 200 %, ``other_digits``, ``other_eyes`` and
``too_small_to_tell`` at 300 %.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFont

from pages import Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.resize import imresize
from scenes import facade, seen_through, with_shut_eyes

OUT = Path(__file__).resolve().parents[1] / "docs" / "gallery"
STRIP = 26  # pixels of a caption
PAGE = (296, 240)  # HR pixels of the page of print, width and height
FINER = 4  # the page is drawn so much larger, and each photo of it shrunk from there
TEXT = (
    "Letters this small do not survive in a photo of 74 by 60 pixels. One or two pixels are left "
    "of each, and no network can know which letter it was.",
    "A second photo of the page, taken from closer, holds what is missing. Each part of it is "
    "found in the small photo, and its detail is used there.",
    "What nobody can guess is the test: 3.14159 26535 89793 23846, platform 7 at 18:42, lot 2056, "
    "row K.",
    "Where the second photo shows something else, it is not used: the result is the one that the "
    "small photo gives alone.",
)
TURN = np.array([[1.08, 0.12, -10.0], [-0.1, 1.1, 32.0], [6e-5, -4e-5, 1.0]])


def captioned(image: Pixels, words: str, under: bool = False) -> Pixels:
    """The picture with a line of words above or under it."""
    strip = np.full((STRIP, image.shape[1], 3), 24, np.uint8)
    white = (255, 255, 255)
    cv2.putText(strip, words, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, white, 1, cv2.LINE_AA)
    return np.vstack([image, strip] if under else [strip, image])


def side_by_side(panels: list[tuple[str, Pixels]], columns: int = 4, under: bool = False) -> Pixels:
    """Panels of one size, each with its caption above or under it, in rows."""
    tiles = [captioned(image, words, under) for words, image in panels]
    tiles += [np.full_like(tiles[0], 24)] * (-len(tiles) % columns)
    gap = np.full((tiles[0].shape[0], 4, 3), 24, np.uint8)
    rows: list[Pixels] = []
    for start in range(0, len(tiles), columns):
        row = [part for tile in tiles[start : start + columns] for part in (tile, gap)][:-1]
        rows.append(np.hstack(row))
    return np.vstack(rows)


def at(image: Pixels, window: tuple[slice, slice]) -> Pixels:
    """A window of a picture, at 100 %."""
    return np.ascontiguousarray(image[window])


def enlarged_twice(image: Pixels) -> Pixels:
    """A picture at 200 %."""
    return np.asarray(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


class Gallery:
    """One upscaler and what every picture needs of it."""

    def __init__(self) -> None:
        self.upscaler = Upscaler.load()

    def result(self, lr: Pixels, references: list[Any], **options: Any) -> Any:
        """The result of ``lr`` with these references."""
        self.upscaler.set_reference(references)
        return self.upscaler.upscale(lr, **options)

    def compare(self, hr: Pixels, references: list[Any], window: tuple[slice, slice]) -> Pixels:
        """Bicubic, without and with references, and the truth, in one window."""
        lr = imresize(hr, scale=0.25)
        images = {
            "bicubic": imresize(lr, scale=4.0),
            "no reference": np.asarray(self.result(lr, []).image),
            "with reference": np.asarray(self.result(lr, references).image),
        }
        panels = [(f"{w}: {psnr(i, hr):.1f} dB", at(i, window)) for w, i in images.items()]
        return side_by_side([*panels, ("truth", at(hr, window))])


def portrait() -> Pixels:
    """A photo of a face, (384, 480, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut()[:384, :480])


def page_of_print() -> Pixels:
    """A page of small letters in uneven light, FINER times PAGE: (H, W, 3)."""
    width, height = FINER * PAGE[0], FINER * PAGE[1]
    page = Image.new("L", (width, height), 255)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FINER * 10)
    margin, line, y = FINER * 14, FINER * 14, FINER * 10
    for paragraph in TEXT:
        words = paragraph.split()
        while words:
            count = len(words)
            while font.getlength(" ".join(words[:count])) > width - 2 * margin:
                count -= 1
            draw.text((margin, y), " ".join(words[:count]), fill=40, font=font)
            words, y = words[count:], y + line
        y += line // 2
    light = np.linspace(0.94, 0.8, width)[None, :] * np.linspace(1, 0.94, height)[:, None]
    lit = (np.asarray(page) * light + 0.5).astype(np.uint8)
    return np.repeat(lit[..., None], 3, axis=2)


def second_photo(page: Pixels) -> Pixels:
    """A simulated second photo of the page: turned, tilted, nearer, cropped, darker, JPEG."""
    width, height = PAGE
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = np.array([[-12, 34], [372, -16], [388, 290], [10, 326]], np.float32)
    matrix = np.asarray(cv2.getPerspectiveTransform(corners, seen), np.float64)
    shrink = np.array([[1, 0, (1 - FINER) / 2], [0, 1, (1 - FINER) / 2], [0, 0, FINER]])
    view = seen_through(page, matrix @ shrink, (370, 300), FINER).astype(np.float32)
    noise = np.random.default_rng(2).normal(0, 1, view.shape[:2])[..., None]
    dark = np.clip(0.8 * view + noise + 0.5, 0, 255).astype(np.uint8)
    _, file = cv2.imencode(".jpg", dark, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)


def readme(gallery: Gallery) -> Pixels:
    """A page of print that can only be read with the help of a second photo."""
    page = page_of_print()
    hr = np.asarray(cv2.resize(page, PAGE, interpolation=cv2.INTER_AREA), np.uint8)
    lr, view = imresize(hr, scale=0.25), second_photo(page)
    window = slice(55, 155), slice(0, PAGE[0])
    panels = {
        f"the small photo: {lr.shape[1]} x {lr.shape[0]} pixels": imresize(lr, 4.0)[window],
        "upscaled without a reference": np.asarray(gallery.result(lr, []).image)[window],
        "the reference: a second photo of the page": view[90:190, 30:326],
        "upscaled with the reference": np.asarray(gallery.result(lr, [view]).image)[window],
    }
    enlarged = [(words, enlarged_twice(image)) for words, image in panels.items()]
    return side_by_side(enlarged, columns=2, under=True)


def another_view(gallery: Gallery) -> Pixels:
    """Another photo of the same thing: turned, nearer, tilted."""
    view = seen_through(portrait(), TURN, (560, 470))
    return gallery.compare(portrait(), [view], (slice(40, 232), slice(130, 322)))


def black_and_white(gallery: Gallery) -> Pixels:
    """The reference is black and white and two stops darker: the colors stay the photo's."""
    view = seen_through(portrait(), TURN, (560, 470)).astype(np.float64)
    gray = 255 * ((view @ [0.299, 0.587, 0.114] / 255) ** 2.2 / 4) ** (1 / 2.2)
    graded = np.repeat((gray + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    return gallery.compare(portrait(), [graded], (slice(40, 232), slice(130, 322)))


def other_windows(gallery: Gallery) -> Pixels:
    """The reference shows other windows of the same facade: nothing is copied."""
    wall = facade(3, 16, 12)
    hr, other = np.ascontiguousarray(wall[:256, :320]), np.ascontiguousarray(wall[384:, 512:])
    return gallery.compare(hr, [other], (slice(32, 224), slice(96, 288)))


def other_digits(gallery: Gallery) -> Pixels:
    """The reference is the same form with other digits: those of the photo are not overwritten."""
    page = Page(18, 0.4, 1)
    hr, view = page.draw(), page.photographed(other=True)
    return false_friend(gallery, hr, view, page.draw(other=True), (slice(0, 120), slice(0, 200)))


def other_eyes(gallery: Gallery) -> Pixels:
    """The reference is another shot, with shut eyes: the photo's stay open."""
    hr = portrait()
    shut = with_shut_eyes(hr)
    view = seen_through(shut, TURN, (560, 470))
    return false_friend(gallery, hr, view, shut, (slice(60, 180), slice(120, 320)))


def too_small_to_tell(gallery: Gallery) -> Pixels:
    """Digits of two pixels of the photo: borrowed, said to be unconfirmed, and left if strict."""
    page = Page(13, 0.0, 2)
    hr, view = page.draw(), page.photographed(other=False)
    lr, window = imresize(hr, scale=0.25), (slice(0, 100), slice(0, 200))
    given = gallery.result(lr, [view])
    panels = {
        "the small photo": imresize(lr, 4.0),
        "with reference": np.asarray(given.image),
        "with reference, strict": np.asarray(gallery.result(lr, [view], strict=True).image),
        "the map: blue cannot be confirmed": given.map()[: hr.shape[0]],
    }
    return side_by_side([(w, enlarged(i, window)) for w, i in panels.items()], columns=2)


def enlarged(image: Pixels, window: tuple[slice, slice]) -> Pixels:
    """A window of a picture, at 300 %."""
    part = at(image, window)
    return np.asarray(cv2.resize(part, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC), np.uint8)


def false_friend(
    gallery: Gallery, hr: Pixels, view: Pixels, other: Pixels, window: tuple[slice, slice]
) -> Pixels:
    """What a reference differs in, at 300 %: ``view`` is a photo of ``other``, not of ``hr``."""
    lr = imresize(hr, scale=0.25)
    panels = {
        "the small photo": imresize(lr, 4.0),
        "the reference shows": other,
        "no reference": np.asarray(gallery.result(lr, []).image),
        "with reference": np.asarray(gallery.result(lr, [view]).image),
    }
    return side_by_side([(w, enlarged(i, window)) for w, i in panels.items()], columns=2)


def map_of_two_parts(gallery: Gallery) -> Pixels:
    """Two references, each of a part: what is borrowed, guessed and the photo's own."""
    hr = portrait()
    parts = [np.ascontiguousarray(hr[:, :250]), np.ascontiguousarray(hr[150:, 200:400])]
    return gallery.result(imresize(hr, scale=0.25), parts).map()


def strengths(gallery: Gallery) -> Pixels:
    """The same reference at four strengths."""
    hr = portrait()
    lr, view = imresize(hr, scale=0.25), seen_through(hr, TURN, (560, 470))
    panels: list[tuple[str, Pixels]] = []
    for strength in (0.0, 0.33, 0.67, 1.0):
        image = np.asarray(gallery.result(lr, [view], strength=strength).image)
        words = f"strength {strength:g}: {psnr(image, hr):.1f} dB"
        panels.append((words, at(image, (slice(150, 342), slice(20, 212)))))
    return side_by_side(panels)


PICTURES = {
    "readme": readme,
    "another_view": another_view,
    "black_and_white": black_and_white,
    "other_windows": other_windows,
    "other_digits": other_digits,
    "other_eyes": other_eyes,
    "too_small_to_tell": too_small_to_tell,
    "map_of_two_parts": map_of_two_parts,
    "strengths": strengths,
}


def main() -> None:
    """Write the pictures, or the one that is asked for."""
    parser = argparse.ArgumentParser(description="Render the pictures of docs/gallery.md.")
    parser.add_argument("--only", choices=tuple(PICTURES))
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    gallery = Gallery()
    for name, draw in PICTURES.items():
        if options.only in (None, name):
            Image.fromarray(draw(gallery)).save(OUT / f"{name}.png", optimize=True)
            print(OUT / f"{name}.png")


if __name__ == "__main__":
    main()
