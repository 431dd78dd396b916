"""Example photos for the page, drawn by program: two views of a street of shops, and a meadow.

Small letters, bricks and flowers are lost in the small photo and restored from the second one.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.resize import imresize

EXAMPLES = (
    {
        "title": "A street and a second photo of it",
        "photo": "street-small.png",
        "references": ["street-second.jpg"],
    },
    {
        "title": "The same street, heavily compressed",
        "photo": "street-damaged.jpg",
        "references": ["street-second.jpg"],
    },
    {
        "title": "A reference that shows another place",
        "photo": "street-small.png",
        "references": ["meadow.jpg"],
    },
)
PHOTOS = ("street-small.png", "street-damaged.jpg", "street-second.jpg", "meadow.jpg")
SIZE = 1200, 900  # pixels of a view, width and height; the small photos are a quarter of it
SUPERSAMPLING = 2  # drawn that much larger and downscaled, for soft edges as of a lens
SHOPS = (("BAKERY", (150, 45, 40)), ("BOOKS", (35, 80, 70)), ("FLOWERS", (60, 60, 110)))
WALLS = ((168, 104, 80), (188, 160, 120), (140, 120, 118))
WORDS = "fresh every morning since 1912 rye wheat rolls cakes open six days a week maps novels"

Canvas = NDArray[np.float32]


@lru_cache
def file_of(name: str) -> bytes:
    """The PNG or JPEG file of one of PHOTOS."""
    if name == "meadow.jpg":
        return encoded(draw_meadow(), name, 93)
    street = draw_street()
    if name == "street-second.jpg":
        return encoded(second_view(street), name, 93)
    small = imresize(np.asarray(cv2.resize(street, SIZE, None, 0, 0, cv2.INTER_AREA)), scale=0.25)
    return encoded(small, name, 35)


def encoded(image: Pixels, name: str, quality: int) -> bytes:
    """A PNG or JPEG file of an image (H, W, 3) RGB."""
    suffix = name[name.rindex(".") :]
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else []
    _, data = cv2.imencode(suffix, image[..., ::-1], options)
    return data.tobytes()


def second_view(street: Pixels) -> Pixels:
    """The street from further left and closer, in warmer light: (H, W, 3) uint8 of SIZE."""
    width, height = SIZE
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = np.array([[-130, -60], [1240, -150], [1290, 1010], [-90, 930]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners * SUPERSAMPLING, moved * SUPERSAMPLING)
    size = SUPERSAMPLING * width, SUPERSAMPLING * height
    big = cv2.warpPerspective(street, matrix, size, flags=cv2.INTER_CUBIC)
    view = cv2.resize(big, SIZE, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    warmer = view**0.9 * np.array([1.06, 1.0, 0.9], np.float32)
    noise = np.random.default_rng(5).normal(0, 0.006, view.shape)
    return np.clip(255 * (warmer + noise) + 0.5, 0, 255).astype(np.uint8)


def draw_street() -> Pixels:
    """A street of three houses, SUPERSAMPLING times SIZE: (H, W, 3) RGB uint8."""
    rng = np.random.default_rng(1)
    width, height = SUPERSAMPLING * SIZE[0], SUPERSAMPLING * SIZE[1]
    street = np.empty((height, width, 3), np.float32)
    house = width // len(SHOPS)
    for index, (sign, color) in enumerate(SHOPS):
        part = street[:, index * house : (index + 1) * house]
        part[:] = draw_bricks(rng, part.shape[:2], WALLS[index])
        for row in range(2):
            for column in range(3):
                draw_window(part, rng, 70 + column * 235, 90 + row * 470, color)
        draw_shop(part, rng, 1080, sign, color)
    street[1690:] = (120, 118, 114)  # the pavement
    for x in range(0, width, 96):
        cv2.line(street, (x, 1690), (x - 60, height), (96, 94, 92), 4, cv2.LINE_AA)
    street += cv2.GaussianBlur(rng.normal(0, 9, street.shape[:2]), (0, 0), 0.8)[..., None]
    return np.clip(street, 0, 255).astype(np.uint8)


def draw_meadow() -> Pixels:
    """Flowers in grass: (H, W, 3) RGB uint8 of SIZE."""
    rng = np.random.default_rng(3)
    width, height = SUPERSAMPLING * SIZE[0], SUPERSAMPLING * SIZE[1]
    field = np.full((height, width, 3), (52, 84, 40), np.float32)
    for _ in range(9000):
        x, y = int(rng.integers(0, width)), int(rng.integers(0, height + 200))
        tip = x + int(rng.normal(0, 40)), y - int(rng.integers(60, 200))
        green = tuple(float(c) for c in rng.uniform((40, 90, 30), (130, 190, 80)))
        cv2.line(field, (x, y), tip, green, int(rng.integers(3, 8)), cv2.LINE_AA)
    for _ in range(260):
        centre = rng.integers((0, 0), (width, height))
        petal = tuple(float(c) for c in rng.uniform((180, 60, 60), (255, 240, 255)))
        for turn in np.arange(0, 2 * np.pi, 2 * np.pi / int(rng.integers(5, 10))):
            place = centre + 22 * np.array([np.cos(turn), np.sin(turn)])
            cv2.circle(field, (int(place[0]), int(place[1])), 14, petal, -1, cv2.LINE_AA)
        cv2.circle(field, (int(centre[0]), int(centre[1])), 12, (240, 200, 60), -1, cv2.LINE_AA)
    small = np.asarray(cv2.resize(field, SIZE, interpolation=cv2.INTER_AREA))
    return np.clip(small + 0.5, 0, 255).astype(np.uint8)


def draw_bricks(
    rng: np.random.Generator, shape: tuple[int, int], color: tuple[int, int, int]
) -> Canvas:
    """A brick wall."""
    wall = np.full((*shape, 3), 198, np.float32)
    for row, y in enumerate(range(0, shape[0], 20)):
        for x in range(-30 * (row % 2), shape[1], 60):
            tone = np.array(color, np.float32) + rng.normal(0, 13) + rng.normal(0, 4, 3)
            wall[y : y + 17, max(0, x) : x + 56] = tone
    return wall


def draw_window(
    wall: Canvas, rng: np.random.Generator, x: int, y: int, color: tuple[int, int, int]
) -> None:
    """Draw a window with shutters, curtains and a flower box; x, y is its top left corner."""
    for left in (x - 52, x + 150):
        cv2.rectangle(wall, (left, y), (left + 46, y + 270), color, -1)
        for slat in range(y + 12, y + 262, 14):
            cv2.line(wall, (left + 6, slat), (left + 40, slat), tuple(c * 0.6 for c in color), 3)
    cv2.rectangle(wall, (x - 2, y - 6), (x + 146, y + 276), (236, 232, 224), -1)
    cv2.rectangle(wall, (x + 8, y + 4), (x + 136, y + 266), (52, 62, 78), -1)
    for side, fold in ((x + 8, 1), (x + 136, -1)):  # curtains, each folded its own way
        cloth = rng.uniform(150, 235, 3)
        for step in range(int(rng.integers(4, 9))):
            shade = tuple(float(c) for c in cloth * (0.75 + 0.25 * (step % 2)))
            top, foot = (side + fold * step * 6, y + 6), (side + fold * step * 5, y + 240)
            cv2.line(wall, top, foot, shade, 6)
    cv2.line(wall, (x + 72, y), (x + 72, y + 270), (236, 232, 224), 8)
    cv2.line(wall, (x, y + 110), (x + 144, y + 110), (236, 232, 224), 8)
    cv2.rectangle(wall, (x - 12, y + 262), (x + 156, y + 300), (104, 74, 52), -1)
    for _ in range(70):
        place = int(rng.integers(x - 10, x + 154)), int(rng.integers(y + 226, y + 270))
        cv2.circle(wall, place, int(rng.integers(4, 8)), (54, int(rng.integers(90, 140)), 50), -1)
    for _ in range(34):
        place = int(rng.integers(x - 8, x + 152)), int(rng.integers(y + 224, y + 264))
        petal = tuple(float(c) for c in rng.uniform((190, 40, 60), (255, 200, 180)))
        cv2.circle(wall, place, 6, petal, -1, cv2.LINE_AA)
        cv2.circle(wall, place, 2, (250, 220, 90), -1, cv2.LINE_AA)


def draw_shop(
    wall: Canvas,
    rng: np.random.Generator,
    y: int,
    sign: str,
    color: tuple[int, int, int],
) -> None:
    """Draw the ground floor from row y: a sign, a shop window, a door, a board of small text."""
    width = wall.shape[1]
    cv2.rectangle(wall, (20, y), (width - 20, 1690), (226, 220, 206), -1)
    cv2.rectangle(wall, (20, y), (width - 20, y + 120), color, -1)
    draw_text(wall, sign, (width // 2, y + 84), 2.6, (244, 232, 200), 6)
    cv2.rectangle(wall, (60, y + 150), (500, y + 520), (60, 68, 74), -1)
    for shelf in range(3):
        bottom = y + 250 + shelf * 120
        cv2.rectangle(wall, (60, bottom), (500, bottom + 8), (150, 112, 70), -1)
        x = 70
        while x < 470:
            wide, high = int(rng.integers(14, 46)), int(rng.integers(30, 84))
            thing = tuple(float(c) for c in rng.uniform(60, 240, 3))
            cv2.rectangle(wall, (x, bottom - high), (x + wide, bottom), thing, -1)
            cv2.line(wall, (x, bottom - high // 2), (x + wide, bottom - high // 2), (30, 30, 34), 3)
            x += wide + int(rng.integers(6, 18))
    cv2.rectangle(wall, (540, y + 150), (760, 1690), color, -1)
    cv2.rectangle(wall, (562, y + 172), (738, y + 400), (74, 84, 92), -1)
    cv2.circle(wall, (574, y + 450), 10, (220, 190, 90), -1, cv2.LINE_AA)
    board = wall[y + 200 : y + 380, 580:720]
    board[:] = (244, 240, 226)
    words = list(rng.permutation(WORDS.split()))
    for line in range(6):
        say = " ".join(words[2 * line : 2 * line + 2])
        draw_text(board, say, (70, 28 + 28 * line), 0.5, (40, 36, 34), 1)


def draw_text(
    image: Canvas,
    words: str,
    centre: tuple[int, int],
    size: float,
    color: tuple[int, int, int],
    thick: int,
) -> None:
    """Draw text centred at x, with its baseline at y."""
    font = cv2.FONT_HERSHEY_COMPLEX
    (width, _), _ = cv2.getTextSize(words, font, size, thick)
    place = centre[0] - width // 2, centre[1]
    ink = np.zeros(image.shape[:2], np.uint8)  # OpenCV writes on bytes only
    cv2.putText(ink, words, place, font, size, (255,), thick, cv2.LINE_AA)
    image += (np.array(color, np.float32) - image) * (ink[..., None] / np.float32(255))
