"""Rendered scenes with known truth: a facade of repeating windows, and views of any photo."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels

WINDOW = 64  # HR pixels from one window to the next


@lru_cache
def facade(seed: int, columns: int = 8, rows: int = 6) -> Pixels:
    """A brick wall with a grid of equal windows, each with its own curtains and flowers.

    RGB uint8 (rows * WINDOW, columns * WINDOW, 3). Drawn at twice the size and shrunk.
    """
    rng = np.random.default_rng(seed)
    side = 2 * WINDOW
    height, width = rows * side, columns * side
    wall = np.full((height, width, 3), (150, 92, 70), np.float32)
    for y in range(0, height, 16):  # bricks of 16 x 40, each a little different
        for x in range(-20 * (y // 16 % 2), width, 40):
            wall[y : y + 14, max(0, x) : x + 37] += rng.normal(0, 14)
        wall[y + 14 : y + 16] = (175, 165, 155)
    for row in range(rows):
        for column in range(columns):
            draw_window(wall[row * side :, column * side :], rng)
    wall += rng.normal(0, 5, wall.shape[:2]).astype(np.float32)[..., None]
    small = cv2.resize(wall, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def draw_window(wall: NDArray[np.float32], rng: np.random.Generator) -> None:
    """One window in the top left corner of ``wall``: the frame is always the same."""
    cv2.rectangle(wall, (28, 20), (100, 108), (225, 222, 215), -1)
    cv2.rectangle(wall, (34, 26), (94, 102), (48, 55, 70), -1)
    for _ in range(6):  # curtains and things behind the glass
        x, y = int(rng.integers(34, 80)), int(rng.integers(26, 84))
        size = (int(rng.integers(4, 16)), int(rng.integers(4, 20)))
        color = tuple(float(c) for c in rng.uniform(20, 230, 3))
        cv2.rectangle(wall, (x, y), (min(94, x + size[0]), min(102, y + size[1])), color, -1)
    for _ in range(14):  # flowers
        centre = (int(rng.integers(34, 94)), int(rng.integers(92, 104)))
        cv2.circle(wall, centre, 3, tuple(float(c) for c in rng.uniform(60, 255, 3)), -1)
    cv2.line(wall, (64, 26), (64, 102), (225, 222, 215), 4)
    cv2.line(wall, (34, 62), (94, 62), (225, 222, 215), 4)


def seen_through(
    hr: Pixels, matrix: NDArray[np.float64], size: tuple[int, int], finer: int = 2
) -> Pixels:
    """``hr`` through a homography (HR px to the view's) as a view of ``size`` (width, height)."""
    up = np.array([[finer, 0, (finer - 1) / 2], [0, finer, (finer - 1) / 2], [0, 0, 1]])
    big = cv2.warpPerspective(
        hr, up @ matrix, (finer * size[0], finer * size[1]), flags=cv2.INTER_CUBIC
    )
    return np.asarray(cv2.resize(big, size, interpolation=cv2.INTER_AREA), np.uint8)


def with_shut_eyes(astronaut: Pixels) -> Pixels:
    """scikit-image's astronaut, or its top left part, with skin where the eyes are."""
    rows, columns = slice(100, 118), slice(190, 252)
    mask = np.zeros(astronaut.shape[:2], np.float32)
    mask[rows, columns] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), 2.0)[..., None]
    skin = astronaut[124:132, 190:200].mean((0, 1), dtype=np.float32)
    return np.rint(astronaut + mask * (skin - astronaut)).astype(np.uint8)
