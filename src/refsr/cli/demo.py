"""The work of ``refsr demo``: upscale a sample photo and compare the result with the ground truth.

The photos are the two views of a real stereo pair in scikit-image. The first is downscaled; the
second becomes the reference, changed as if taken later: other perspective, zoom and exposure, an
occluding object, noise and JPEG compression. It contains no pixels of the first view.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from refsr.arrays import Pixels
from refsr.errors import DataError
from refsr.evaluate.metrics import psnr, ssim
from refsr.image.atomic import atomic_write, make_folder
from refsr.image.photo import Photo, save_photo
from refsr.resize import SCALE, imresize
from refsr.upscaler import Upscaler


def stereo_pair() -> tuple[Pixels, Pixels]:
    """Two real views (H, W, 3) RGB, sides multiples of 4. DataError without scikit-image."""
    try:
        from skimage.data import stereo_motorcycle  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise DataError(
            "scikit-image, which contains the photos, is missing; install it with: "
            "pip install 'refsr[demo]'"
        ) from error
    left, right, _ = cast("tuple[Pixels, Pixels, object]", stereo_motorcycle())
    height, width = (side // SCALE * SCALE for side in left.shape[:2])
    return np.ascontiguousarray(left[:height, :width]), right


def second_photo(view: Pixels) -> Pixels:
    """``view`` (H, W, 3) uint8 as if taken by another camera at another time."""
    height, width = view.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners * 1.12 + np.array([[-20, -40], [-90, -15], [-40, -60], [-60, -30]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    photo = cv2.warpPerspective(view, matrix, (width, height), flags=cv2.INTER_LANCZOS4)
    cv2.circle(photo, (width // 6, height // 5), height // 8, (200, 60, 40), -1, cv2.LINE_AA)
    values = np.power(photo.astype(np.float32) / 255, 0.85) * (1.08, 1.0, 0.9)
    values += np.random.default_rng(0).normal(0, 0.008, values.shape)
    photo = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    return np.ascontiguousarray(cast(Pixels, cv2.imdecode(packed, cv2.IMREAD_COLOR))[..., ::-1])


def labelled(image: Pixels, text: str) -> Pixels:
    """``image`` (H, W, 3) with a line of text above it."""
    bar = np.full((28, image.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (6, 20), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, image])


def run_demo(folder: Path) -> str:
    """Upscale with and without the reference; returns the metrics as text for the user.

    ``folder`` (created if missing) then contains small.png, sharp.jpg, without.png, with.png,
    map.png, side_by_side.png and numbers.json. Raises DataError or PhotoError.
    """
    make_folder(folder)
    truth, other = stereo_pair()
    small, sharp = imresize(truth, scale=1 / SCALE), second_photo(other)
    upscaler = Upscaler.load()
    without = upscaler.upscale(small)
    upscaler.set_reference(sharp)
    with_reference = upscaler.upscale(small)
    images = {
        "bicubic": imresize(small, scale=float(SCALE)),
        "without reference": without.photo.as_uint8(),
        "with reference": with_reference.photo.as_uint8(),
    }
    numbers = {
        name: {
            "psnr": round(psnr(image, truth, border=SCALE), 2),
            "ssim": round(ssim(image, truth), 4),
        }
        for name, image in images.items()
    }
    pictures = {
        "small.png": small,
        "sharp.jpg": sharp,
        "without.png": images["without reference"],
        "with.png": images["with reference"],
        "map.png": with_reference.map(),
        "side_by_side.png": side_by_side(images, truth, numbers),
    }
    for name, pixels in pictures.items():
        save_photo(Photo.of(pixels), folder / name)
    record = {
        "protocol": "BT.601 luma, 4 px border",
        "numbers": numbers,
        "report": with_reference.report,
    }
    atomic_write(folder / "numbers.json", (json.dumps(record, indent=1) + "\n").encode())
    lines = [
        f"{name:18} {value['psnr']:6.2f} dB   SSIM {value['ssim']:.4f}"
        for name, value in numbers.items()
    ]
    return "\n".join([*lines, f"See {folder / 'side_by_side.png'} and {folder / 'map.png'}."])


def side_by_side(
    images: dict[str, Pixels], truth: Pixels, numbers: dict[str, dict[str, float]]
) -> Pixels:
    """The same crop of each image at 100 %, labelled with the PSNR of the whole image."""
    height, width = truth.shape[:2]
    top, left = round(height * 0.35), round(width * 0.4)
    area = slice(top, top + 240), slice(left, left + 280)
    columns = [
        labelled(image[area], f"{name}: {numbers[name]['psnr']:.2f} dB")
        for name, image in images.items()
    ]
    return np.hstack([*columns, labelled(truth[area], "truth")])
