"""Noise is not detail: what is removed from a reference, and what never is."""

import numpy as np
import pytest
from skimage.data import astronaut

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.evaluate.metrics import psnr
from refsr.registration.fusion import fuse_references
from refsr.registration.noise import is_noisy, measure_noise, without_noise
from refsr.registration.reference import prepare_reference
from refsr.resize import imresize

HR = np.ascontiguousarray(astronaut()[:320, 64:448])
LR = imresize(HR, scale=0.25)


def noisy(pixels: Pixels, sigma: float) -> Pixels:
    noise = sigma * np.random.default_rng(7).standard_normal(pixels.shape)
    return np.clip(np.rint(pixels + noise), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("clean", [HR, imresize(LR, scale=4.0), np.full_like(HR, 120)])
def test_a_clean_reference_is_the_same_array(clean: Pixels) -> None:
    assert without_noise(clean) is clean


@pytest.mark.parametrize(("sigma", "gain"), [(5, 2), (10, 3), (20, 4)])
def test_noise_is_measured_and_removed(sigma: int, gain: float) -> None:
    given = noisy(HR, sigma)
    noise = measure_noise(given)
    assert noise is not None
    assert is_noisy(noise)
    white = noise[0, 1:].mean()  # of luma: sqrt(0.299^2 + 0.587^2 + 0.114^2) of each channel's
    assert 0.8 * 0.67 * sigma < white < 1.15 * 0.67 * sigma
    assert psnr(without_noise(given), HR, 4) > psnr(given, HR, 4) + gain


def test_bands_meet_without_a_step() -> None:
    flat = np.full((600, 200, 3), 128, np.uint8)
    clean = without_noise(noisy(flat, 10)).astype(np.float32)
    assert np.abs(clean[250:262].mean(axis=1) - 128).max() < 2
    assert clean[:, 8:-8].std() < 2.5  # of 10 levels


def test_texture_is_not_noise() -> None:
    """Fine checks all over, without a flat place, and smooth noise that falls with frequency."""
    waves = np.random.default_rng(3).standard_normal((256, 256, 3)).cumsum(0).cumsum(1)
    rough = np.clip(128 + 40 * waves / waves.std(), 0, 255).astype(np.uint8)
    assert without_noise(rough) is rough


def test_a_small_photo_is_left_alone() -> None:
    tiny = noisy(HR[:64, :64], 20)
    assert without_noise(tiny) is tiny


def test_a_noisy_reference_is_used_without_its_noise_and_the_report_says_so() -> None:
    transfer = Upscaler.load("detail-transfer")
    given = noisy(HR, 20)
    result = transfer.upscale(LR, references=transfer.prepare(given))
    assert any("noise was removed" in note for note in result.report["notes"])
    with_noise = transfer.upscale(LR, references=transfer.prepare(HR))
    assert not any("noise" in note for note in with_noise.report["notes"])
    assert psnr(result.photo.as_uint8(), HR, 4) > psnr(transfer.upscale(LR).photo.as_uint8(), HR, 4)


@pytest.fixture(scope="module")
def large() -> tuple[Pixels, Pixels]:
    """A photo large enough for its noise to be measured, and the same at twice its size."""
    photo = np.ascontiguousarray(astronaut())
    return imresize(photo, scale=0.5), photo


def test_noise_in_the_photo_does_not_refuse_a_finer_reference(large: tuple[Pixels, Pixels]) -> None:
    small, twice = large
    for photo in (small, noisy(small, 20)):
        assert fuse_references(photo, (prepare_reference(twice),)).useful == (True,)


@pytest.mark.parametrize("sigma", [0, 10])
def test_an_enlarged_photo_is_refused_even_with_noise_on_it(sigma: int) -> None:
    enlarged = noisy(imresize(LR, scale=4.0), sigma)
    composite = fuse_references(LR, (prepare_reference(without_noise(enlarged)),))
    assert composite.registrations[0].matched
    assert composite.useful == (False,)
