"""Renders the images of docs/gallery.md from photos of scikit-image and a drawn facade.

    PYTHONPATH=src:tests python research/render_gallery.py [--only NAME]

Each image is shown at 100 %: a pixel of the file is a pixel of the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
from PIL import Image

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.resize import imresize
from scenes import facade, seen_through

OUT = Path(__file__).resolve().parents[1] / "docs" / "gallery"
CAPTION_HEIGHT = 26  # pixels
VIEW = np.array([[1.08, 0.12, -10.0], [-0.1, 1.1, 32.0], [6e-5, -4e-5, 1.0]])


def with_caption(image: Pixels, text: str) -> Pixels:
    """The image below a line of text."""
    strip = np.full((CAPTION_HEIGHT, image.shape[1], 3), 24, np.uint8)
    white = (255, 255, 255)
    cv2.putText(strip, text, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, white, 1, cv2.LINE_AA)
    return np.vstack([strip, image])


def side_by_side(panels: list[tuple[str, Pixels]], columns: int = 4) -> Pixels:
    """Panels of one size, each under its caption, in rows."""
    tiles = [with_caption(image, text) for text, image in panels]
    tiles += [np.full_like(tiles[0], 24)] * (-len(tiles) % columns)
    gap = np.full((tiles[0].shape[0], 4, 3), 24, np.uint8)
    rows: list[Pixels] = []
    for start in range(0, len(tiles), columns):
        row = [part for tile in tiles[start : start + columns] for part in (tile, gap)][:-1]
        rows.append(np.hstack(row))
    return np.vstack(rows)


def crop(image: Pixels, window: tuple[slice, slice]) -> Pixels:
    """A window of an image, at 100 %."""
    return np.ascontiguousarray(image[window])


class Gallery:
    """One upscaler, shared by all images."""

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
        panels = [(f"{name}: {psnr(i, hr):.1f} dB", crop(i, window)) for name, i in images.items()]
        return side_by_side([*panels, ("truth", crop(hr, window))])


def portrait() -> Pixels:
    """A photo of a face, (384, 480, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut()[:384, :480])


def another_view(gallery: Gallery) -> Pixels:
    """Another view: rotated, nearer, tilted."""
    view = seen_through(portrait(), VIEW, (560, 470))
    return gallery.compare(portrait(), [view], (slice(40, 232), slice(130, 322)))


def black_and_white(gallery: Gallery) -> Pixels:
    """A black-and-white reference two stops darker: the colors stay the photo's."""
    view = seen_through(portrait(), VIEW, (560, 470)).astype(np.float64)
    gray = 255 * ((view @ [0.299, 0.587, 0.114] / 255) ** 2.2 / 4) ** (1 / 2.2)
    graded = np.repeat((gray + 0.5).astype(np.uint8)[..., None], 3, axis=2)
    return gallery.compare(portrait(), [graded], (slice(40, 232), slice(130, 322)))


def other_windows(gallery: Gallery) -> Pixels:
    """A reference of other windows of the same facade: nothing is copied."""
    wall = facade(3, 16, 12)
    hr, other = np.ascontiguousarray(wall[:256, :320]), np.ascontiguousarray(wall[384:, 512:])
    return gallery.compare(hr, [other], (slice(32, 224), slice(96, 288)))


def map_of_two_parts(gallery: Gallery) -> Pixels:
    """The provenance map of two references, each of a part."""
    hr = portrait()
    parts = [np.ascontiguousarray(hr[:, :250]), np.ascontiguousarray(hr[150:, 200:400])]
    return gallery.result(imresize(hr, scale=0.25), parts).map()


def strengths(gallery: Gallery) -> Pixels:
    """The same reference at four strengths."""
    hr = portrait()
    lr, view = imresize(hr, scale=0.25), seen_through(hr, VIEW, (560, 470))
    panels: list[tuple[str, Pixels]] = []
    for strength in (0.0, 0.33, 0.67, 1.0):
        image = np.asarray(gallery.result(lr, [view], strength=strength).image)
        text = f"strength {strength:g}: {psnr(image, hr):.1f} dB"
        panels.append((text, crop(image, (slice(150, 342), slice(20, 212)))))
    return side_by_side(panels)


PICTURES = {
    "another_view": another_view,
    "black_and_white": black_and_white,
    "other_windows": other_windows,
    "map_of_two_parts": map_of_two_parts,
    "strengths": strengths,
}


def main() -> None:
    """Write all images, or the one given by --only."""
    parser = argparse.ArgumentParser(description="Render the images of docs/gallery.md.")
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
