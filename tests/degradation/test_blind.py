"""How clean a photo is: each measure against damage of a known size."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from refsr.arrays import Pixels
from refsr.degradation.blind import blocks, estimate_degradation, noise, sharpness
from refsr.image.photo import Photo, load_photo


def as_jpeg(pixels: Pixels, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return file.getvalue()


def gray(pixels: Pixels) -> NDArray[np.float32]:
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.float32)


@pytest.mark.parametrize("quality", [1, 10, 30, 50, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(natural: Pixels, quality: int) -> None:
    found = load_photo(as_jpeg(natural, quality)).jpeg_quality
    assert found is not None
    assert abs(found - quality) <= (1 if quality >= 30 else 12)  # tables end at 255


def test_other_files_have_no_jpeg_quality(natural: Pixels) -> None:
    file = io.BytesIO()
    Image.fromarray(natural).save(file, "PNG")
    assert load_photo(file.getvalue()).jpeg_quality is None
    assert load_photo(natural).jpeg_quality is None


def test_blocks_stand_out_the_more_the_lower_the_quality(natural: Pixels) -> None:
    photo = cv2.GaussianBlur(natural, (0, 0), 1.0)  # without the texture that would hide them
    clean = blocks(gray(np.asarray(photo, np.uint8)))
    seen = [
        blocks(gray(load_photo(as_jpeg(np.asarray(photo, np.uint8), quality)).as_uint8()))
        for quality in (80, 50, 20)
    ]
    assert clean < seen[0] < seen[1] < seen[2]
    assert seen[1] > clean + 0.3


def test_the_grid_is_the_files_own(natural: Pixels) -> None:
    """Cut off three columns: the blocks no longer lie where a JPEG file has them."""
    smooth = np.asarray(cv2.GaussianBlur(natural, (0, 0), 1.0), np.uint8)
    pixels = load_photo(as_jpeg(smooth, 30)).as_uint8()
    assert blocks(gray(pixels)) > 2 * max(0.1, blocks(gray(pixels[3:, 3:])))


@pytest.mark.parametrize("deviation", [2.0, 5.0, 12.0])
def test_noise_is_measured_in_levels(rng: np.random.Generator, deviation: float) -> None:
    flat = np.full((96, 128), 120, np.float32)
    flat += rng.normal(0, deviation, flat.shape).astype(np.float32)
    assert np.exp(noise(flat)) == pytest.approx(deviation, rel=0.2)


def test_blur_lowers_sharpness(natural: Pixels) -> None:
    blurred = [np.asarray(cv2.GaussianBlur(natural, (0, 0), s), np.uint8) for s in (0.5, 1.0)]
    values = [sharpness(gray(pixels)) for pixels in (natural, *blurred)]
    assert values == sorted(values, reverse=True)


def test_tiny_and_flat_photos_have_a_condition() -> None:
    for shape in ((1, 1, 3), (3, 500, 3), (24, 24, 3), (200, 200, 3)):
        found = estimate_degradation(Photo.of(np.full(shape, 77, np.uint8)))
        assert np.isfinite([found.blocks, found.noise, found.sharpness]).all()
        assert abs(found.blocks) < 0.1
