"""One tone or colors: which photos are worked on in gray, and what color they get back."""

import dataclasses
import io

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.image.photo import Photo, load_photo
from refsr.image.tone import find_tone, without_tone


def gray_of(natural: Pixels) -> Pixels:
    return np.repeat(np.asarray(PIL.Image.fromarray(natural).convert("L"))[..., None], 3, axis=2)


def sepia_of(natural: Pixels) -> Pixels:
    level = np.arange(256) / 255
    colors = np.stack([level**0.85, 0.95 * level + 0.01, 0.85 * level**1.2], axis=1)
    return np.rint(np.clip(255 * colors, 0, 255)).astype(np.uint8)[gray_of(natural)[..., 0]]


def jpeg(pixels: Pixels, quality: int) -> Photo:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return load_photo(file.getvalue())


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_a_compressed_gray_photo_is_gray(natural: Pixels, quality: int) -> None:
    photo = jpeg(gray_of(natural), quality)
    assert not photo.gray  # the file is in color
    tone = find_tone(photo)
    assert tone is not None
    assert tone.gray


@pytest.mark.parametrize("quality", [None, 85, 92])
def test_a_sepia_photo_has_its_own_tone(natural: Pixels, quality: int | None) -> None:
    sepia = sepia_of(natural)
    tone = find_tone(Photo(sepia) if quality is None else jpeg(sepia, quality))
    assert tone is not None
    assert not tone.gray
    assert (np.diff(tone.table.astype(int), axis=0) >= 0).all()
    level = np.asarray(PIL.Image.fromarray(sepia).convert("L"))
    off = np.abs(tone.table[level].astype(int) - sepia)
    assert off.mean() < 1  # the photo's own colors, of luma alone
    steps = np.diff(tone.table[level.min() : level.max()].astype(int), axis=0)
    assert steps.max() <= 3  # no bands


def test_colors_are_not_a_tone(natural: Pixels) -> None:
    assert find_tone(Photo(natural)) is None
    faint = gray_of(natural) + 0.1 * (natural.astype(np.float32) - gray_of(natural))
    assert find_tone(Photo(np.rint(faint).astype(np.uint8))) is None


@pytest.mark.parametrize("make", [gray_of, sepia_of])
def test_one_small_colored_thing_is_a_color(natural: Pixels, make: object) -> None:
    assert callable(make)
    photo: NDArray[np.uint8] = make(natural).copy()
    assert find_tone(Photo(photo)) is not None
    photo[70:74, 81:85] = (200, 40, 40)
    assert find_tone(Photo(photo)) is None


def test_false_colors_are_not_a_tone(natural: Pixels) -> None:
    """A palette in which red falls while luma rises could not be kept monotone."""
    level = np.arange(256)
    red = np.where(level < 128, level, 255 - level)
    colors = np.stack([red, level, level], axis=1).astype(np.uint8)
    assert find_tone(Photo(colors[gray_of(natural)[..., 0]])) is None


def test_16_bits_keep_their_depth(natural: Pixels) -> None:
    deep = gray_of(natural).astype(np.uint16) * 257 + 3
    photo, tone = without_tone(Photo(deep))
    assert tone is not None
    assert tone.table.shape == (65536, 3)
    np.testing.assert_array_equal(photo.pixels, deep)
    assert photo.gray


def test_a_photo_that_is_stored_gray_is_left_alone(natural: Pixels) -> None:
    photo = dataclasses.replace(Photo(gray_of(natural)), gray=True)
    assert without_tone(photo) == (photo, None)
