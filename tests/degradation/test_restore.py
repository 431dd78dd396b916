"""A photo corrected by what its reference shows: better if degraded, untouched if clean."""

from __future__ import annotations

import numpy as np
import pytest

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.degradation.simulate import parse_kind, simulate
from refsr.evaluate.metrics import psnr
from refsr.image.photo import Photo, load_photo
from refsr.registration.large_image import register_coarse
from refsr.registration.register import prepare_reference
from refsr.resize import imresize
from refsr.upscaler import register
from scenes import facade, seen_through

SHIFT = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])


@pytest.fixture(scope="module")
def pair() -> tuple[Pixels, Pixels]:
    """A rendered facade, and another view of it."""
    hr = facade(3)
    return hr[:512, :640], seen_through(facade(3), SHIFT, (768, 640))


def small_photo(hr: Pixels, kind: str) -> Photo:
    return load_photo(simulate(hr, parse_kind(kind), seed=0))


@pytest.mark.parametrize("kind", ["blur:3", "disk:5", "motion:9,30", "sharpened"])
def test_a_degraded_photo_is_corrected_and_gains(pair: tuple[Pixels, Pixels], kind: str) -> None:
    """Against the same pipeline without the correction, which ``strength`` 0 switches off."""
    hr, ref = pair
    photo = small_photo(hr, kind)
    prepared = (prepare_reference(ref),)
    as_it_is = register_coarse(photo.as_uint8(), prepared, 10**6)
    found = register(photo, prepared, 10**6)
    assert len(found.notes) == 1
    assert "as the reference shows: corrected" in found.notes[0]
    assert ("sharpened" in found.notes[0]) == (kind == "sharpened")
    truth = imresize(hr, scale=0.25)
    before, after = (psnr(one.as_uint8(), truth, border=4) for one in (photo, found.photo))
    assert after > before + 2  # dB, at LR size
    assert found.coarse.composite.similarity().mean() > as_it_is.composite.similarity().mean()


def test_a_clean_photo_stays_bit_for_bit(pair: tuple[Pixels, Pixels]) -> None:
    hr, ref = pair
    photo = small_photo(hr, "matlab")
    found = register(photo, (prepare_reference(ref),), 10**6)
    assert found.photo is photo
    assert found.notes == []


def test_a_mismatched_reference_corrects_nothing(pair: tuple[Pixels, Pixels]) -> None:
    photo = small_photo(pair[0], "blur:3")
    other = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    found = register(photo, (prepare_reference(other),), 10**6)
    assert found.photo is photo
    assert found.notes == []


def test_the_result_gains_and_strength_0_is_no_reference(pair: tuple[Pixels, Pixels]) -> None:
    hr, ref = pair
    upscaler = Upscaler.load("detail-transfer")
    references = upscaler.prepare(ref)
    lr = small_photo(hr, "blur:3").pixels
    bicubic = imresize(lr, scale=4.0)
    result = upscaler.upscale(lr, references=references)
    assert psnr(np.asarray(result.image), hr, border=4) > psnr(bicubic, hr, border=4) + 2
    assert result.report["notes"] == upscaler.check(lr, references=references).notes
    assert "blurred by about" in result.report["notes"][0]
    none = upscaler.upscale(lr, references=references, strength=0)
    np.testing.assert_array_equal(none.image, upscaler.upscale(lr).image)


def test_16_bits_and_blocks(pair: tuple[Pixels, Pixels]) -> None:
    """The depth is kept; a photo registered shrunk is measured at full size."""
    hr, ref = pair
    photo = small_photo(hr, "blur:3")
    deep = Photo(photo.pixels.astype(np.uint16) * np.uint16(257))
    restored = register(deep, (prepare_reference(ref),), 10**6).photo
    eight = register(photo, (prepare_reference(ref),), 10**6).photo
    assert restored.bits == 16
    assert np.abs(restored.as_uint8().astype(int) - eight.as_uint8().astype(int)).max() <= 1
    shrunk = register(photo, (prepare_reference(ref),), 12_000)
    assert len(shrunk.notes) == 1
    assert np.abs(shrunk.photo.as_uint8().astype(int) - eight.as_uint8().astype(int)).mean() < 2
