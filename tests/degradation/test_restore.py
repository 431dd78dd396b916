"""A photo corrected by what its reference shows: better if degraded, untouched if clean."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.degradation.aliasing import Aliasing
from refsr.degradation.blind_estimate import GRID, BlindEstimate, Spread, kernel_of
from refsr.degradation.kernel import Kernel
from refsr.degradation.restore import (
    ALIASING_NOTE,
    added_by_reference,
    is_marred,
    restore_blindly,
    undo,
)
from refsr.degradation.simulate import parse_kind, sharpen, simulate
from refsr.evaluate.metrics import psnr
from refsr.image.photo import Photo, load_photo
from refsr.inference.blind_network import estimate_blindly
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
    found = register(photo, prepared, 10**6, estimate_blindly(photo))
    assert found.restoration is not None
    assert len(found.notes) == 1
    assert "as the reference shows: corrected" in found.notes[0]
    assert ("sharpened" in found.notes[0]) == (kind == "sharpened")
    truth = imresize(hr, scale=0.25)
    before, after = (
        psnr(one.as_uint8(), truth, border=4) for one in (photo, found.restoration.photo)
    )
    assert after > before + 2  # dB, at LR size
    assert found.coarse.composite.similarity().mean() > as_it_is.composite.similarity().mean()


def test_a_clean_photo_stays_bit_for_bit(pair: tuple[Pixels, Pixels]) -> None:
    hr, ref = pair
    photo = small_photo(hr, "matlab")
    found = register(photo, (prepare_reference(ref),), 10**6, estimate_blindly(photo))
    assert found.restoration is None
    assert found.notes == []


def test_a_mismatched_reference_corrects_nothing(pair: tuple[Pixels, Pixels]) -> None:
    photo = small_photo(pair[0], "blur:3")
    other = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    found = register(photo, (prepare_reference(other),), 10**6, estimate_blindly(photo))
    assert found.restoration is None
    assert found.notes == []


def test_the_result_gains_and_strength_0_is_no_reference(pair: tuple[Pixels, Pixels]) -> None:
    hr, ref = pair
    upscaler = Upscaler.load("detail-transfer")
    references = upscaler.prepare(ref)
    lr = small_photo(hr, "blur:3").pixels
    bicubic = imresize(lr, scale=4.0)
    result = upscaler.upscale(lr, references=references)
    assert psnr(np.asarray(result.image), hr, border=4) > psnr(bicubic, hr, border=4) + 2
    foretold = upscaler.check(lr, references=references).notes
    both = (result.report["notes"], foretold)
    told, check = ([note for note in notes if "confirm" not in note] for notes in both)
    assert told == check  # what cannot be confirmed is said before as what may be borrowed
    assert "blurred by about" in result.report["notes"][0]
    none = upscaler.upscale(lr, references=references, strength=0)
    np.testing.assert_array_equal(none.image, upscaler.upscale(lr).image)


@pytest.mark.parametrize("kind", ["area", "linear"])
def test_aliasing_that_the_reference_shows_is_removed(
    pair: tuple[Pixels, Pixels], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in blocks; against the same pipeline that leaves it."""
    hr, ref = pair
    upscaler = Upscaler.load("ssen-tiny", threads=1)
    references = upscaler.prepare(ref)
    lr = small_photo(hr, kind).pixels
    better = upscaler.upscale(lr, references=references)
    assert ALIASING_NOTE in better.report["notes"]
    assert ALIASING_NOTE in upscaler.check(lr, references=references).notes
    photo, prepared = Photo(lr), (prepare_reference(ref),)
    assert register(photo, prepared, 12_000, estimate_blindly(photo)).aliasing is not None
    monkeypatch.setattr("refsr.upscaler.register_aliased", lambda *given: None)
    before = upscaler.upscale(lr, references=references)
    found = [psnr(np.asarray(one.image), hr, border=4) for one in (before, better)]
    assert found[1] > found[0] + 0.2


def test_16_bits_and_blocks(pair: tuple[Pixels, Pixels]) -> None:
    """The depth is kept; a photo registered shrunk is measured at full size."""
    hr, ref = pair
    photo = small_photo(hr, "blur:3")
    deep = Photo(photo.pixels.astype(np.uint16) * np.uint16(257))
    restored, eight, shrunk = (
        register(one, (prepare_reference(ref),), flow_pixels, estimate_blindly(one)).restoration
        for one, flow_pixels in ((deep, 10**6), (photo, 10**6), (photo, 12_000))
    )
    assert restored is not None
    assert eight is not None
    assert shrunk is not None
    assert restored.photo.bits == 16
    levels = [one.photo.as_uint8().astype(int) for one in (restored, eight, shrunk)]
    assert np.abs(levels[0] - levels[1]).max() <= 1
    assert np.abs(levels[2] - levels[1]).mean() < 2


def test_a_sharp_reference_does_not_make_the_photo_blurred(pair: tuple[Pixels, Pixels]) -> None:
    """Beside a reference that its camera sharpened, the kernel stays near the one of the photo."""
    hr, ref = pair
    photo = small_photo(hr, "blur:2")
    sharpened = np.clip(np.rint(sharpen(sharpen(ref, 1.5), 1.0)), 0, 255).astype(np.uint8)
    blind = estimate_blindly(photo)
    found = [
        register(photo, (prepare_reference(one),), 10**6, blind).restoration
        for one in (ref, sharpened)
    ]
    assert found[0] is not None
    assert found[1] is not None
    assert abs(found[0].kernel[4, 4] - found[1].kernel[4, 4]) < 0.1


def test_without_a_reference_the_photo_itself_tells(pair: tuple[Pixels, Pixels]) -> None:
    """Blur is undone, with and without a reference that shows something else; clean stays clean."""
    photo = small_photo(pair[0], "blur:3")
    truth = imresize(pair[0], scale=0.25)
    found = restore_blindly(photo, estimate_blindly(photo))
    assert found is not None
    assert "as the photo itself shows" in found.note
    before, after = (psnr(one.as_uint8(), truth, border=4) for one in (photo, found.photo))
    assert after > before + 1
    clean = small_photo(pair[0], "matlab")
    assert restore_blindly(clean, estimate_blindly(clean)) is None
    upscaler = Upscaler.load("detail-transfer")
    other = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    alone = upscaler.upscale(photo.pixels)
    with_other = upscaler.upscale(photo.pixels, references=upscaler.prepare(other))
    np.testing.assert_array_equal(alone.image, with_other.image)


def test_the_network_for_clean_photos_after_a_slight_correction() -> None:
    """Sharpening loses nothing, nor does a slight blur; but noise and motion do."""
    photo = Photo(np.full((8, 8, 3), 90, np.uint8))
    y, x = np.mgrid[-4:5, -4:5]
    narrow, wide = (np.exp(-(x**2 + y**2) / (2 * sigma**2)) for sigma in (0.35, 0.75))
    sharp = -0.5 * wide / wide.sum() + 1.5 * ((x == 0) & (y == 0))
    motion = ((y == 0) & (abs(x) <= 1)).astype(float)
    kernels = [kernel / kernel.sum() for kernel in (narrow, sharp, wide, motion)]
    quiet, compressed = (seen_alone(transfer(2.0, 0.0), jpeg) for jpeg in (None, 70))
    slight = [undo(photo, kernel, quiet, by_reference=True).is_slight for kernel in kernels]
    assert slight == [True, True, False, False]
    assert not undo(photo, kernels[0], compressed, by_reference=True).is_slight


def test_the_network_after_aliasing_was_removed() -> None:
    """A little of it, that of area averages, is gone with what the reference shows of it."""
    nothing = replace(seen_alone(transfer(2.0, 0.0)), kernel=None)
    area, linear, clean = (replace(nothing, aliasing=share) for share in (0.2, 0.4, 0.04))
    found, strong = (
        Aliasing(np.zeros((9, 9)), np.zeros((8, 8)), np.zeros((9, 9)), evidence)
        for evidence in (1.2, 1.7)
    )
    assert is_marred(area, None, None)
    assert not is_marred(area, None, found)
    assert is_marred(area, None, strong)
    assert is_marred(linear, None, found)
    assert not is_marred(clean, None, None)


def transfer(frequency_power: float, strength: float) -> NDArray[np.float64]:
    """A log transfer (GRID, GRID) that falls with a power of the frequency."""
    axis = np.fft.fftfreq(GRID)
    return -strength * np.hypot(axis[:, None], axis[None, :]) ** frequency_power


def seen_alone(log_transfer: NDArray[np.float64], jpeg: int | None = None) -> BlindEstimate:
    nothing = np.full((GRID, GRID), 0.1)
    spread = Spread(0.1, 0.1, 0.1, 0.1)
    return BlindEstimate(
        kernel_of(log_transfer), 0.0, jpeg, 0.0, 0.0, spread, log_transfer, nothing
    )


def pair_kernel(log_transfer: NDArray[np.float64], added: float) -> Kernel:
    """What a pair shows whose reference was sharpened: the photo's kernel over that sharpening."""
    axis = np.fft.fftfreq(GRID)
    fine = 1 - np.exp(-((np.hypot(axis[:, None], axis[None, :]) / 0.12) ** 2))
    return kernel_of(log_transfer - np.log1p(added * fine))


def test_a_reference_that_its_camera_sharpened_is_told_from_a_blurred_photo() -> None:
    lens = transfer(3.0, 12.0)  # passes what is coarse, and little of what is fine
    found = added_by_reference(pair_kernel(lens, 0.4), seen_alone(lens))
    assert found == pytest.approx(1 - 1 / 1.4, abs=0.06)
    assert added_by_reference(pair_kernel(lens, 0.0), seen_alone(lens)) == 0
    assert added_by_reference(pair_kernel(lens, 0.4), seen_alone(lens, jpeg=60)) == 0


def test_a_gaussian_blur_is_the_photos_own() -> None:
    """Seen at two thirds of what it is, as on soft scenes."""
    blur = transfer(2.0, 5.0)
    assert added_by_reference(pair_kernel(blur, 0.0), seen_alone(blur / 1.5)) == 0
