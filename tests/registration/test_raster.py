"""The raster of a reference: found where it is, removed, and never seen in a clean photo."""

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from skimage import data

from pages import Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.image.photo import Photo
from refsr.registration.raster import Raster, find_raster, pass_band, without_raster
from refsr.registration.references import DOTS_NOTE, LINES_NOTE, RASTER_NOTE, less_raster
from refsr.resize import imresize

HR = np.ascontiguousarray(data.astronaut()[:384, 64:448])
LR = imresize(HR, scale=0.25)
SUPERSAMPLING = 3
_WAVE = np.cos(np.linspace(0, 2 * np.pi, 256, endpoint=False))
SHARES = np.linspace(0, 1, 257)  # of the paper below each height of a dot's hill:
HEIGHTS = np.quantile(_WAVE[:, None] + _WAVE, SHARES)


def halftone(pixels: Pixels, pitch: float, degrees: float) -> Pixels:
    """Black dots on white, as large as the tone is dark."""
    size = tuple(SUPERSAMPLING * side for side in pixels.shape[1::-1])
    tone = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size)
    y, x = np.indices(tone.shape) * 2 * np.pi / (SUPERSAMPLING * pitch)
    cos, sin = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    spot = np.cos(x * cos + y * sin) + np.cos(y * cos - x * sin)
    printed = np.where(tone / 255 > np.interp(spot, HEIGHTS, SHARES), 255, 0).astype(np.uint8)
    gray = cv2.resize(printed, pixels.shape[1::-1], interpolation=cv2.INTER_AREA)
    return np.repeat(gray[..., None], 3, axis=2)


def lined(pixels: Pixels, period: int) -> Pixels:
    """Every row darkened by up to a third, as a screen's."""
    share = 1 - 0.17 * (1 + np.cos(2 * np.pi * np.arange(len(pixels)) / period))
    return np.rint(pixels * share[:, None, None]).astype(np.uint8)


def moire(pixels: Pixels) -> Pixels:
    """A slanted wave of a tenth, whose direction drifts a little."""
    y, x = np.indices(pixels.shape[:2])
    wave = np.cos(2 * np.pi * (0.8 * x + 0.6 * y + 3 * np.sin(y / 150)) / 7)
    return np.clip(np.rint(pixels * (1 + 0.1 * wave[..., None])), 0, 255).astype(np.uint8)


def stochastic(pixels: Pixels) -> Pixels:
    """Black dots in no lattice, as many as the tone is dark."""
    noise = np.random.default_rng(5).uniform(0, 255, pixels.shape[:2])
    black = (cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY) < noise)[..., None]
    return np.where(black, 0, 255).astype(np.uint8) * np.ones_like(pixels)


def tilted(pixels: Pixels) -> Pixels:
    """As photographed a little from the side: 3 % narrower at the top."""
    height, width = pixels.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    there = corners + np.array([[0.015 * width, 0], [-0.015 * width, 0], [0, 0], [0, 0]])
    matrix = cv2.getPerspectiveTransform(corners, there.astype(np.float32))
    return np.asarray(cv2.warpPerspective(pixels, matrix, (width, height)), np.uint8)


def in_rgb(gray: Pixels) -> Pixels:
    return np.ascontiguousarray(np.repeat(gray[..., None], 3, axis=2))


@pytest.mark.parametrize(
    "clean",
    [
        HR,
        np.ascontiguousarray(data.coffee()),
        *[in_rgb(one()) for one in (data.brick, data.grass, data.gravel, data.page, data.text)],
        imresize(LR, scale=4.0),
        np.full_like(HR, 120),
        halftone(HR, 4, 45)[:120, :120],
    ],
    ids=["portrait", "table", "brick", "grass", "gravel", "page", "text", "soft", "flat", "small"],
)
def test_a_photo_without_raster_is_the_same_photo(clean: Pixels) -> None:
    photo = Photo.of(clean)
    assert less_raster(photo) is photo


@pytest.mark.parametrize(("pitch", "degrees"), [(3.5, 45), (5, 20), (8, 0), (11, 45)])
def test_dots_are_found_with_their_pitch(pitch: float, degrees: float) -> None:
    raster = find_raster(halftone(HR, pitch, degrees))
    assert raster is not None
    assert raster.kind == "dots"
    assert 1 / raster.lowest == pytest.approx(pitch, rel=0.12)


@pytest.mark.parametrize("period", [2, 3, 4, 6])
def test_lines_are_found_and_leave_the_photo(period: int) -> None:
    given = lined(HR, period)
    clean, raster = without_raster(given)
    assert raster is not None
    assert raster.kind == "lines"
    assert 1 / raster.lowest == pytest.approx(period, rel=0.15)
    darker = np.rint(HR * 0.83).astype(np.uint8)  # of which the lines are a modulation
    assert psnr(clean, darker, 8) > psnr(given, darker, 8) + 10


def test_moire_that_drifts_is_removed() -> None:
    given = moire(HR)
    clean, raster = without_raster(given)
    assert raster is not None
    assert psnr(clean, HR, 8) > psnr(given, HR, 8) + 5


def test_dots_of_a_print_that_was_not_quite_flat_are_removed() -> None:
    clean, raster = without_raster(tilted(halftone(HR, 4, 45)))
    assert raster is not None
    assert raster.kind == "dots"
    gray = in_rgb(np.asarray(cv2.cvtColor(tilted(HR), cv2.COLOR_RGB2GRAY), np.uint8))
    soft = cv2.GaussianBlur(gray, (0, 0), 1.5)
    assert psnr(clean, np.asarray(soft, np.uint8), 16) > 25  # the dots alone: below 8


def test_the_filter_keeps_the_mean_and_takes_the_peak() -> None:
    peaks = np.array([[0.25, 0.0], [-0.25, 0.0]])
    passed = pass_band(Raster("lines", peaks, 10.0, 0.25))
    assert passed[64, 64] == 1
    assert passed[96, 64] == passed[32, 64] == 0
    assert passed[64, 96] > 0.999  # as fine, in the other direction
    np.testing.assert_allclose(passed[1:, 1:], passed[:0:-1, :0:-1], atol=1e-12)  # real kernel


@pytest.mark.parametrize(
    ("raster", "note"),
    [
        (lambda hr: lined(hr, 3), LINES_NOTE),
        (lambda hr: halftone(hr, 4, 45), DOTS_NOTE),
        (stochastic, RASTER_NOTE),
    ],
    ids=["lines", "dots", "stochastic"],
)
def test_a_rastered_reference_is_never_worse_than_none(
    raster: Callable[[Pixels], Pixels], note: str
) -> None:
    transfer = Upscaler.load("detail-transfer")
    result = transfer.upscale(LR, references=transfer.prepare(raster(HR)))
    alone = transfer.upscale(LR)
    assert any(note in one for one in result.report["notes"])
    if note == RASTER_NOTE:
        np.testing.assert_array_equal(result.photo.pixels, alone.photo.pixels)
        assert result.report["expected_gain_db"] == 0
    gained = psnr(result.photo.as_uint8(), HR, 4) - psnr(alone.photo.as_uint8(), HR, 4)
    assert gained > (2 if note == LINES_NOTE else 0) - 1e-9


def test_what_is_transparent_stays_so() -> None:
    alpha = np.full(HR.shape[:2], 255, np.uint8)
    alpha[:100] = 0
    clean = less_raster(Photo(lined(HR, 3), alpha))
    assert clean.alpha is not None
    np.testing.assert_array_equal(clean.alpha, alpha)


@pytest.mark.parametrize(("size", "dark"), [(12, False), (16, True), (24, False)])
def test_lines_of_text_are_no_raster(size: int, dark: bool) -> None:
    page = Page(size, share=0.0, seed=size, dark=dark)
    assert find_raster(np.tile(page.draw(), (2, 2, 1))) is None
    assert find_raster(page.photographed(other=False)) is None
