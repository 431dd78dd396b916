"""The photo itself, enlarged by a program, is no reference; the true photo always is one."""

import io

import cv2
import numpy as np
import PIL.Image
import pytest
from PIL import ImageDraw, ImageFont
from skimage.data import astronaut

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.inference.draw_alone import draw_alone
from refsr.registration.enlarged_copy import (
    bimodality,
    find_copies,
    flat_share,
    is_drawing,
    leave_out,
)
from refsr.registration.large_image import register_coarse
from refsr.registration.reference import prepare_reference
from refsr.resize import imresize
from scenes import facade

HR = np.ascontiguousarray(astronaut()[:384, :512])
LR = imresize(HR, scale=0.25)
SMALL_ENOUGH = 10**6  # LR pixels: registered at full size


def sharpened(pixels: Pixels, sigma: float, amount: float) -> Pixels:
    blurred = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma)
    return np.clip(np.rint(pixels + amount * (pixels - blurred)), 0, 255).astype(np.uint8)


def lanczos(pixels: Pixels, scale: int) -> Pixels:
    size = pixels.shape[1] * scale, pixels.shape[0] * scale
    return np.asarray(PIL.Image.fromarray(pixels).resize(size, PIL.Image.Resampling.LANCZOS))


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.asarray(PIL.Image.open(file))


def letters(size: int) -> Pixels:
    """A page of large letters, whose true edges a network draws almost as they are."""
    page = PIL.Image.new("RGB", (560, 440), (250, 250, 250))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size)
    signs = list("abcdefghjkmnopqRSTUV0123456789")
    rng = np.random.default_rng(size)
    for y in range(4, 440, int(size * 1.5)):
        draw.text((6, y), "".join(rng.choice(signs, 40)), (20, 20, 40), font)
    return np.asarray(page)


def copies(lr: Pixels, *references: Pixels, draws: bool = True) -> tuple[int, ...]:
    prepared = tuple(prepare_reference(np.ascontiguousarray(one)) for one in references)
    coarse = register_coarse(lr, prepared, SMALL_ENOUGH)
    assert all(coarse.composite.useful), "else nothing is tested"
    return find_copies(coarse, draw_alone if draws else None)


@pytest.fixture(scope="module")
def drawn() -> Pixels:
    """The photo as the large network draws it without a reference; it is judged by the small."""
    return np.asarray(Upscaler.load("ssen").upscale(LR).image)


@pytest.mark.parametrize("draws", [False, True])
def test_sharpened_copies_are_found_without_a_network_too(draws: bool) -> None:
    bicubic = imresize(LR, scale=4.0)
    made = sharpened(bicubic, 2, 4), sharpened(lanczos(LR, 4), 2, 3)
    assert copies(LR, *made, draws=draws) == (0, 1)


def test_what_a_network_drew_is_found(drawn: Pixels) -> None:
    made = jpeg(drawn, 85), sharpened(drawn, 1, 0.8), drawn[20:-30, 14:-50]
    assert copies(LR, *made) == (0, 1, 2)
    assert copies(LR, drawn, draws=False) == ()  # no filter makes it


def test_the_true_photo_is_none() -> None:
    true = jpeg(HR, 80), sharpened(HR, 1, 0.8), imresize(HR, scale=0.5), HR[20:-30, 14:-50]
    assert copies(LR, *true) == ()
    assert copies(jpeg(LR, 80), HR) == ()


def test_a_true_drawing_of_bricks_is_none() -> None:
    """The hardest of them: few tones and straight lines, but no flat place."""
    wall = facade(3)[:256, :384]
    assert copies(imresize(wall, scale=0.25), wall, imresize(wall, scale=0.5)) == ()


@pytest.mark.parametrize("size", [24, 60])
def test_a_true_drawing_is_none(size: int) -> None:
    page = letters(size)
    assert copies(imresize(page, scale=0.25), page) == ()
    assert copies(jpeg(imresize(page, scale=0.25), 95), page) == ()


def test_a_drawing_has_two_tones_or_is_flat() -> None:
    page = imresize(letters(60), scale=0.25)
    assert is_drawing(page)
    assert is_drawing(jpeg(page, 80))
    assert not is_drawing(LR)
    assert not is_drawing(jpeg(LR, 80))
    noise = np.random.default_rng(3).normal(100, 20, (120, 120)).astype(np.float32)
    assert bimodality(noise) == pytest.approx(1 / 3, abs=0.05)  # of a Gaussian
    assert bimodality(np.where(noise > 100, 200, 50).astype(np.float32)) == pytest.approx(1)
    assert bimodality(np.full((40, 40), 7, np.float32)) == 0
    assert flat_share(np.full((40, 40), 7, np.float32)) == 1
    assert flat_share(noise) < 0.01


def test_a_large_photo_is_judged_at_full_size() -> None:
    lr = np.ascontiguousarray(astronaut())
    made = prepare_reference(sharpened(imresize(lr, scale=4.0), 2, 3))
    coarse = register_coarse(lr, (made,), 60_000)
    assert coarse.shrunk
    assert coarse.composite.useful == (True,)
    found = find_copies(coarse, None)
    assert found == (0,)
    left = leave_out(coarse, found).composite
    assert (left.useful, left.copies, left.matched) == ((False,), (0,), False)
    assert not np.any(left.blend_weights[0])


def test_a_copy_changes_nothing_and_the_report_says_why(drawn: Pixels) -> None:
    upscaler = Upscaler.load("detail-transfer")
    references = upscaler.prepare([drawn, HR])
    result = upscaler.upscale(LR, references=references)
    copy, true = result.report["references"]
    assert (copy["used"], true["used"]) == (False, True)
    assert copy["verdict"].startswith("This reference is the photo itself, enlarged")
    alone = upscaler.upscale(LR, references=upscaler.prepare([HR]))
    assert (result.image == alone.image).all()
    none = upscaler.upscale(LR, references=upscaler.prepare([drawn]))
    assert (none.image == upscaler.upscale(LR).image).all()
    assert none.report["expected_gain_db"] == 0
