"""A black and white or toned photo stays so, whatever its reference, and takes its detail."""

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from skimage.data import astronaut

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.image.photo import Photo, save_photo
from refsr.image.tone import find_tone
from refsr.resize import imresize

COLOR = np.ascontiguousarray(astronaut()[:256, 64:384])
GRAY = np.repeat(np.asarray(PIL.Image.fromarray(COLOR).convert("L"))[..., None], 3, axis=2)
LEVEL = np.arange(256) / 255
SEPIA = np.stack([LEVEL**0.85, 0.95 * LEVEL + 0.01, 0.85 * LEVEL**1.2], axis=1)
TONED = np.rint(np.clip(255 * SEPIA, 0, 255)).astype(np.uint8)[GRAY[..., 0]]


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("ssen-tiny")


def is_gray(pixels: Pixels) -> bool:
    return bool((pixels == pixels[..., :1]).all())


def small(hr: Pixels, quality: int | None = None) -> bytes:
    file = io.BytesIO()
    image = PIL.Image.fromarray(imresize(hr, scale=0.25))
    if quality is None:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()


@pytest.mark.parametrize("quality", [None, 90])
def test_a_gray_photo_takes_detail_and_no_color(upscaler: Upscaler, quality: int | None) -> None:
    photo = small(GRAY, quality)
    alone = upscaler.upscale(photo)
    result = upscaler.upscale(photo, references=upscaler.prepare(COLOR))
    assert is_gray(result.photo.pixels)
    assert is_gray(alone.photo.pixels)
    assert not result.photo.gray  # the file was in color, and stays of its kind
    assert any("black and white" in note for note in result.report["notes"])
    with_reference, without = (psnr(one.photo.as_uint8(), GRAY, 4) for one in (result, alone))
    assert with_reference > without + 1


def test_the_detail_transfer_and_a_faded_reference_are_gray_too() -> None:
    transfer = Upscaler.load("detail-transfer")
    references = transfer.prepare(COLOR)
    assert is_gray(transfer.upscale(small(GRAY), references=references).photo.pixels)
    half = transfer.upscale(small(GRAY), references=references, strength=0.5)
    assert is_gray(half.photo.pixels)


def test_a_toned_photo_lies_on_its_curve(upscaler: Upscaler) -> None:
    lr = imresize(TONED, scale=0.25)
    tone = find_tone(Photo(lr))
    assert tone is not None
    result = upscaler.upscale(lr, references=upscaler.prepare(COLOR))
    colors = {tuple(color) for color in tone.table.tolist()}
    assert {tuple(color) for color in result.photo.pixels.reshape(-1, 3).tolist()} <= colors
    assert any("single tone" in note for note in result.report["notes"])
    alone = upscaler.upscale(lr)
    assert psnr(result.photo.as_uint8(), TONED, 4) > psnr(alone.photo.as_uint8(), TONED, 4) + 1


def test_depth_and_alpha_are_kept(upscaler: Upscaler) -> None:
    lr = imresize(GRAY, scale=0.25)[:32, :48]
    alpha = np.full((*lr.shape[:2], 1), 200, np.uint8)
    deep = np.dstack([lr, alpha]).astype(np.uint16) * 257
    result = upscaler.upscale(deep, references=upscaler.prepare(COLOR))
    assert result.photo.pixels.dtype == np.uint16
    assert is_gray(result.photo.pixels)
    assert result.photo.alpha is not None


def test_a_gray_file_is_not_tinted_by_a_color_reference(tmp_path: Path) -> None:
    """Its array, too: the reference was left in color where neither has a profile."""
    transfer = Upscaler.load("detail-transfer")
    lr = Photo(imresize(GRAY, scale=0.25), gray=True)
    save_photo(lr, tmp_path / "gray.png")
    result = transfer.upscale(tmp_path / "gray.png", references=transfer.prepare(COLOR))
    assert result.photo.gray
    assert is_gray(result.photo.pixels)
    assert not any("gray" in note for note in result.report["notes"])


def test_check_says_so() -> None:
    transfer = Upscaler.load("detail-transfer")
    found = transfer.check(small(GRAY, 80), references=transfer.prepare(COLOR))
    assert any("black and white" in note for note in found.notes)
    assert found.expected_gain_db > 1
