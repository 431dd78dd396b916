"""Draws the golden scenes of the tests: an LR photo, its truth, and a second photo.

    python research/render_golden.py tests/golden

Each scene is drawn at four times the truth's size and seen by two cameras. The LR photo is the
truth shrunk by MATLAB's bicubic; the second photo has another perspective, zoom, exposure and
noise, and is rendered from the scene, not from the truth's pixels.
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np

from refsr.arrays import Pixels
from refsr.image.photo import Photo, save_photo
from refsr.resize import imresize

WIDTH, HEIGHT, FACTOR = 192, 160, 4  # of the truth, and the scene's size relative to it


def leaves(rng: np.random.Generator) -> Pixels:
    """Overlapping discs of all sizes: the statistics of natural photos."""
    scene = np.full((HEIGHT * FACTOR, WIDTH * FACTOR, 3), 128, np.uint8)
    for _ in range(2600):
        centre = rng.integers(0, (WIDTH * FACTOR, HEIGHT * FACTOR))
        radius = int(6 / rng.uniform(0.04, 1.0))
        color = [int(value) for value in np.clip(rng.normal(120, 55, 3), 0, 255)]
        cv2.circle(scene, centre.tolist(), radius, color, -1, cv2.LINE_AA)
    return scene


def page(rng: np.random.Generator) -> Pixels:
    """Printed text with a colored picture."""
    scene = np.full((HEIGHT * FACTOR, WIDTH * FACTOR, 3), (236, 230, 214), np.uint8)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz  ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"))
    for line in range(11):
        text = "".join(rng.choice(letters, 26))
        at, size = (14, 54 + line * 56), float(rng.uniform(1.1, 1.5))
        cv2.putText(scene, text, at, cv2.FONT_HERSHEY_COMPLEX, size, (30, 26, 40), 3, cv2.LINE_AA)
    scene[330:560, 460:720] = leaves(rng)[330:560, 460:720]
    return scene


def bricks(rng: np.random.Generator) -> Pixels:
    """A wall of bricks that differ in color and outline."""
    scene = np.full((HEIGHT * FACTOR, WIDTH * FACTOR, 3), (150, 146, 138), np.uint8)
    for row in range(13):
        left = -int(rng.integers(20, 90))
        while left < WIDTH * FACTOR:
            width = int(rng.integers(70, 130))
            corner = np.array([left, row * 50], np.int32)
            box = np.array([[4, 4], [width - 4, 4], [width - 4, 46], [4, 46]], np.int32)
            box = box + corner + rng.integers(-4, 5, (4, 2)).astype(np.int32)
            color = [int(value) for value in rng.normal((158, 84, 62), 24).clip(0, 255)]
            cv2.fillConvexPoly(scene, box, color, cv2.LINE_AA)
            left += width
    grain = cv2.GaussianBlur(rng.normal(0, 60, scene.shape[:2]), (0, 0), 2.2)[..., None]
    return np.clip(scene + grain, 0, 255).astype(np.uint8)


def second_photo(scene: Pixels, rng: np.random.Generator) -> Pixels:
    """The scene by another camera, at about the truth's resolution: (200, 240, 3)."""
    size = (240, 200)
    width, height = WIDTH * FACTOR, HEIGHT * FACTOR
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = np.array([[9, 12], [224, 5], [232, 190], [14, 183]], np.float32)
    seen += rng.uniform(-4, 4, (4, 2)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, seen)
    blurred = cv2.GaussianBlur(scene, (0, 0), 1.4)  # against aliasing: about four pixels to one
    photo = cv2.warpPerspective(blurred, matrix, size, flags=cv2.INTER_CUBIC)
    values = np.power(photo / 255.0, 0.92) * (1.04, 1.0, 0.95) + rng.normal(0, 0.006, photo.shape)
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def main(folder: Path) -> None:
    """Write NAME_small.png, NAME_sharp.png and NAME_truth.png of each scene."""
    for draw in (leaves, page, bricks):
        rng = np.random.default_rng(20200614)
        scene = draw(rng)
        truth = imresize(scene, scale=1 / FACTOR)
        pictures = {
            "truth": truth,
            "small": imresize(truth, scale=1 / 4),
            "sharp": second_photo(scene, rng),
        }
        for kind, pixels in pictures.items():
            save_photo(Photo.of(pixels), folder / f"{draw.__name__}_{kind}.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
