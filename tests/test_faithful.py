"""The result stays the photo: its colors, its pixels when shrunk again, as much as one asks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
import skimage.data

from refsr import RefsrError, Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.resize import imresize
from refsr.upscaler import Result
from scenes import facade, seen_through

BOUND = 0.5  # levels: mean absolute difference of the result, shrunk again, to the photo


@lru_cache
def loaded() -> Upscaler:
    return Upscaler.load(threads=1)


@lru_cache
def truth() -> Pixels:
    return np.ascontiguousarray(skimage.data.astronaut()[:256, 80:336])


@lru_cache
def view() -> Pixels:
    """``truth`` from a little further left, turned by two degrees: 300 x 290."""
    matrix = np.array([[1.1, 0.05, 5.0], [-0.04, 1.08, 12.0], [0.0, 0.0, 1.0]])
    return seen_through(truth(), matrix, (300, 290))


def small() -> Pixels:
    return imresize(truth(), scale=0.25)


def upscaled(photo: Pixels, *references: Pixels, strength: float = 1.0) -> Result:
    upscaler = loaded()
    upscaler.set_reference(list(references))
    return upscaler.upscale(photo, strength=strength)


def pixels(result: Result) -> Pixels:
    assert isinstance(result.image, np.ndarray)
    return result.image


# Strength


def test_strength_fades_from_the_plain_result_to_the_full_one() -> None:
    plain, full = pixels(upscaled(small())), pixels(upscaled(small(), view()))
    steps = [0.0, 0.25, 0.5, 0.75, 1.0]
    faded = [pixels(upscaled(small(), view(), strength=strength)) for strength in steps]
    np.testing.assert_array_equal(faded[0], plain)
    np.testing.assert_array_equal(faded[-1], full)
    gains = [psnr(image, truth(), border=4) for image in faded]
    assert gains == sorted(gains)
    assert gains[-1] > gains[0] + 4
    nearly = pixels(upscaled(small(), view(), strength=0.51))
    assert np.abs(nearly.astype(int) - faded[2]).mean() < 0.2  # no jump


def test_strength_fades_the_detail_transfer() -> None:
    upscaler = Upscaler.load("detail-transfer")
    upscaler.set_reference(view())
    none, half, full = (
        np.asarray(upscaler.upscale(small(), strength=s).image, np.float32) for s in (0, 0.5, 1)
    )
    assert np.abs(full - none).mean() > 1
    apart = np.abs(half - (none + full) / 2)  # half of the way, but where it is black or white
    assert np.percentile(apart, 99) <= 1


@pytest.mark.parametrize("strength", [-0.1, 1.5, float("nan")])
def test_a_strength_outside_0_and_1_is_refused(strength: float) -> None:
    with pytest.raises(RefsrError, match="strength must be between 0 and 1, not "):
        loaded().upscale(small()[:4, :4], strength=strength)


# Shrunk again it is the photo


@pytest.mark.parametrize("photo", ["portrait", "facade", "facade with reference", "gradient"])
def test_shrunk_again_it_is_the_photo(photo: str) -> None:
    if photo == "gradient":
        lr = np.linspace(0, 255, 48 * 40 * 3).reshape(48, 40, 3).round().astype(np.uint8)
        references: list[Pixels] = []
    else:
        hr = truth() if photo == "portrait" else np.ascontiguousarray(facade(1)[:256, :256])
        lr = imresize(hr, scale=0.25)
        references = [hr] if "reference" in photo else []
    result = upscaled(lr, *references)
    again = np.abs(imresize(pixels(result), scale=0.25).astype(float) - lr)
    assert again.mean() < BOUND
    assert result.report["lr_error_levels"] < BOUND
    assert abs(result.report["lr_error_levels"] - again.mean()) < 0.3  # it says what is so


# Colors


def grade(photo: Pixels, how: str) -> Pixels:
    """The photo as another camera or hand would have graded it."""
    level = photo.astype(np.float64)
    graded = {
        "warm": level * (1.15, 1.0, 0.75),
        "cold": level * (0.75, 0.95, 1.2),
        "-2 EV": 255 * ((level / 255) ** 2.2 / 4) ** (1 / 2.2),
        "a quarter": level / 4,
        "black and white": np.repeat((level @ [0.299, 0.587, 0.114])[..., None], 3, axis=2),
        "night": level * (0.22, 0.25, 0.35)
        + np.random.default_rng(0).normal(0, 2, (*photo.shape[:2], 1)),
    }[how]
    return np.clip(graded + 0.5, 0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("how", "gain"),
    [
        ("warm", 4),
        ("cold", 4),
        ("-2 EV", 4),
        ("a quarter", 3),
        ("black and white", 3),
        ("night", 2),
    ],
)
def test_the_colors_stay_the_photos(how: str, gain: float) -> None:
    """The mean of the whole, every place, and the gain in luma and in color."""
    plain = upscaled(small())
    result = upscaled(small(), grade(view(), how))
    assert result.report["references"][0]["used"]
    image = pixels(result)
    assert np.abs((image.astype(float) - plain.image).mean(axis=(0, 1))).max() < 0.2
    again = np.abs(imresize(image, scale=0.25).astype(float) - small())
    assert again.mean() < BOUND
    assert np.percentile(again, 99) <= 2
    for border_luma in (True, False):  # luma, and all three colors
        before = psnr(pixels(plain), truth(), border=4, luma=border_luma)
        assert psnr(image, truth(), border=4, luma=border_luma) > before + gain


def test_a_negative_is_not_used() -> None:
    result = upscaled(small(), 255 - view())
    np.testing.assert_array_equal(pixels(result), pixels(upscaled(small())))
