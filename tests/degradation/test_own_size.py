"""What a photo holds of its pixels, and its own detail in the result of scale 1."""

from __future__ import annotations

import tracemalloc

import cv2
import numpy as np
import pytest
import skimage.data

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.degradation import own_size
from refsr.degradation.own_size import OwnSize, keep_own_detail, measure_own_size, shrink
from refsr.degradation.simulate import add_noise, blur, encode_jpeg, to_levels
from refsr.evaluate.metrics import psnr
from refsr.image.levels import to_8_bits
from refsr.image.photo import Photo, load_photo
from refsr.inference.plan import PROGRAM_BYTES
from refsr.resize import imresize
from refsr.upscaler import STAYS_NOTE, job_size
from scenes import seen_through

SHIFT = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])
BLURRED = OwnSize(held=4, sharp=False, noise=0.1)


@pytest.fixture(scope="module")
def pair() -> tuple[Pixels, Pixels]:
    """A photo whose sides are no multiples of four, and another view of the same size."""
    hr = skimage.data.astronaut()
    return np.ascontiguousarray(hr[:511, :510]), seen_through(hr, SHIFT, (510, 511))


def blurred(hr: Pixels, sigma: float = 4.0) -> Pixels:
    return to_levels(blur(hr, sigma))


def test_what_a_photo_holds(pair: tuple[Pixels, Pixels]) -> None:
    hr = pair[0]
    sharp = measure_own_size(Photo.of(hr))
    assert (sharp.held, sharp.sharp) == (1, True)
    soft = measure_own_size(Photo.of(blurred(hr)))
    assert (soft.held, soft.sharp) == (4, False)
    noisy = to_levels(add_noise(blur(hr, 4.0), np.random.default_rng(0), 8.0))
    found = measure_own_size(load_photo(encode_jpeg(noisy, 90)))
    assert (found.held, found.sharp) == (4, False)
    assert found.noise > 5 * soft.noise


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (95, 300)])
def test_a_tiny_photo_holds_all_that_it_has(size: tuple[int, int]) -> None:
    assert measure_own_size(Photo.of(np.zeros((*size, 3), np.uint8))).held == 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
@pytest.mark.parametrize("size", [(600, 401), (257, 64), (1, 3)])
def test_shrinking_in_bands_is_shrinking(
    size: tuple[int, int], depth: type[np.unsignedinteger]
) -> None:
    top = np.iinfo(depth).max
    pixels = np.random.default_rng(1).integers(0, top, (*size, 3), depth, endpoint=True)
    beyond = [(0, -size[0] % 4), (0, -size[1] % 4), (0, 0)]
    whole = imresize(np.pad(pixels, beyond, mode="edge"), scale=0.25)
    photo = Photo(pixels, pixels[..., 0].copy(), jpeg_quality=60)
    small = shrink(photo)
    np.testing.assert_array_equal(small.pixels, whole)
    assert small.alpha is None
    assert small.jpeg_quality is None  # a mean of 16 pixels has little of it


def test_own_detail_stays_where_it_is_and_only_there(pair: tuple[Pixels, Pixels]) -> None:
    """The left half of the photo is blurred, the right half sharp; the result is the other way."""
    hr = pair[0][:508, :508]
    soft = blurred(hr)
    photo, result = hr.copy(), hr.copy()
    photo[:, :256], result[:, 256:] = soft[:, :256], soft[:, 256:]
    kept = keep_own_detail(result, Photo.of(photo), BLURRED)
    left, right = np.s_[20:-20, 20:230], np.s_[20:-20, 282:-20]
    assert psnr(to_8_bits(kept.pixels)[left], hr[left]) > 40
    assert psnr(to_8_bits(kept.pixels)[right], hr[right]) > psnr(soft[right], hr[right]) + 5
    assert kept.share[5:-5, 5:57].mean() < 0.2
    assert kept.amount[5:-5, 70:-5].mean() > 5 * kept.amount[5:-5, 5:57].mean()
    assert kept.share.shape == kept.amount.shape == (127, 127)


def test_noise_is_no_detail() -> None:
    hr = np.full((240, 320, 3), 128, np.uint8)
    noisy = to_levels(add_noise(hr.astype(np.float32), np.random.default_rng(0), 10.0))
    own = measure_own_size(Photo.of(noisy))
    kept = keep_own_detail(hr, Photo.of(noisy), own)
    assert psnr(to_8_bits(kept.pixels), hr) > psnr(noisy, hr) + 8


def test_bands_leave_no_seam(pair: tuple[Pixels, Pixels], monkeypatch: pytest.MonkeyPatch) -> None:
    hr = pair[0]
    photo = Photo.of(blurred(hr, 1.0))
    result = np.pad(hr, [(0, 1), (0, 2), (0, 0)], mode="edge")
    in_bands = keep_own_detail(result, photo, BLURRED)
    monkeypatch.setattr(own_size, "BAND_ROWS", 1024)
    whole = keep_own_detail(result, photo, BLURRED)
    assert cv2.absdiff(in_bands.pixels, whole.pixels).max() <= 1
    np.testing.assert_allclose(in_bands.share, whole.share, atol=1e-3)


# ---- the pipeline at scale 1


@pytest.fixture(scope="module")
def upscaler() -> Upscaler:
    return Upscaler.load("detail-transfer")


def test_a_blurred_photo_gets_the_detail_of_a_reference_of_its_size(
    pair: tuple[Pixels, Pixels], upscaler: Upscaler
) -> None:
    hr, ref = pair
    soft = blurred(hr)
    references = upscaler.prepare(ref)
    result = upscaler.upscale(soft, references=references, scale=1)
    assert result.photo.pixels.shape == hr.shape
    assert psnr(result.photo.as_uint8(), hr) > psnr(soft, hr) + 3
    report = result.report
    assert (report["scale"], report["held"]) == (1, 4)
    assert report["input_size"] == report["output_size"] == [510, 511]
    assert report["references"][0]["used"]
    assert result.map().shape == hr.shape
    none = upscaler.upscale(soft, references=references, scale=1, strength=0)
    np.testing.assert_array_equal(none.image, upscaler.upscale(soft, scale=1).image)
    assert psnr(np.asarray(none.image), hr) > psnr(soft, hr) - 0.1


def test_a_sharp_and_clean_photo_stays(pair: tuple[Pixels, Pixels], upscaler: Upscaler) -> None:
    hr, ref = pair
    alone = upscaler.upscale(hr, scale=1)
    np.testing.assert_array_equal(alone.image, hr)
    assert alone.report["detail"] == {"own": 1.0, "borrowed": 0.0, "guessed": 0.0}
    assert "your photo has all the detail that its size can hold" in alone.report["notes"]
    given = upscaler.upscale(hr, references=upscaler.prepare(ref), scale=1)
    assert psnr(given.photo.as_uint8(), hr) > 40


def test_16_bits_and_alpha_at_own_size(pair: tuple[Pixels, Pixels], upscaler: Upscaler) -> None:
    hr, ref = pair
    soft = blurred(hr).astype(np.uint16) * 257
    alpha = np.random.default_rng(0).integers(0, 65536, hr.shape[:2], np.uint16)
    photo = np.dstack([soft, alpha])
    result = upscaler.upscale(photo, references=upscaler.prepare(ref), scale=1).photo
    np.testing.assert_array_equal(result.alpha, alpha)
    eight = upscaler.upscale(blurred(hr), references=upscaler.prepare(ref), scale=1).photo
    # the shrunk photo is rounded to its depth, and its kernel's inverse draws the rounding out
    assert np.abs(result.pixels / 257 - eight.pixels).mean() < 1.5
    assert abs(psnr(result.as_uint8(), hr) - psnr(eight.as_uint8(), hr)) < 0.3


@pytest.mark.parametrize("size", [(1, 1), (2, 7), (30, 33)])
def test_tiny_photos_keep_their_size(size: tuple[int, int], upscaler: Upscaler) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert upscaler.upscale(photo, scale=1).photo.pixels.shape == photo.shape


@pytest.mark.slow
def test_check_advises_the_scale(pair: tuple[Pixels, Pixels], upscaler: Upscaler) -> None:
    """A sharp photo of the same size as a blurred one is no finer only where it is enlarged."""
    hr, ref = pair
    references = upscaler.prepare(ref)
    check = upscaler.check(blurred(hr), references=references)
    assert [row["used"] for row in check.references] == [True]
    assert check.scale == 1
    assert check.advice == (
        "Your photo has no more detail than one of 1/4 of its width and height; "
        "the reference has detail for this size (scale 1)."
    )
    small = upscaler.check(imresize(hr, scale=0.25), references=references)
    assert small.scale == 4
    none = upscaler.check(hr)
    assert (none.scale, none.advice) == (
        None,
        "Your photo has all the detail that its size can hold.",
    )


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_measuring_a_large_photo_takes_little_memory(depth: type[np.unsignedinteger]) -> None:
    """12 megapixels: less than the result of 36 MB that the plan has counted and is not yet made.

    A row of pixels repeated costs nothing itself, and is read like any photo.
    """
    row = np.random.default_rng(0).integers(0, 256, (1, 4000, 3), depth)
    photo = Photo.of(np.zeros((1, 1, 3), depth)).replaced(
        np.broadcast_to(row, (3000, 4000, 3)), None
    )
    tracemalloc.start()
    measure_own_size(photo)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < job_size(shrink(photo), 4, (), (), None, photo).result_bytes - PROGRAM_BYTES


def test_a_sharp_toned_photo_stays_as_it_is(
    pair: tuple[Pixels, Pixels], upscaler: Upscaler
) -> None:
    """Not as its curve of tone would make it: the photo's own pixels."""
    gray = cv2.cvtColor(pair[0], cv2.COLOR_RGB2GRAY)[..., None]
    toned = np.clip(gray * np.array([1.0, 0.85, 0.65]) + 0.5, 0, 255).astype(np.uint8)
    result = upscaler.upscale(toned, scale=1)
    np.testing.assert_array_equal(result.image, toned)
    assert not any("gray" in note for note in result.report["notes"])


@pytest.mark.parametrize("quality", [50, 75])
def test_a_sharp_jpeg_is_no_worse(
    pair: tuple[Pixels, Pixels], upscaler: Upscaler, quality: int
) -> None:
    """Without a reference the network would take more from it than it gives."""
    file = encode_jpeg(pair[0], quality)
    result = upscaler.upscale(file, scale=1)
    np.testing.assert_array_equal(result.photo.pixels, load_photo(file).pixels)
    assert STAYS_NOTE in result.report["notes"]
    assert not any("corrected" in note for note in result.report["notes"])


def test_a_sharp_photo_with_noise_is_improved(
    pair: tuple[Pixels, Pixels], upscaler: Upscaler
) -> None:
    hr = pair[0]
    noisy = to_levels(add_noise(hr.astype(np.float32), np.random.default_rng(0), 15.0))
    result = upscaler.upscale(noisy, scale=1)
    assert psnr(result.photo.as_uint8(), hr) > psnr(noisy, hr) + 1
    assert STAYS_NOTE not in result.report["notes"]
