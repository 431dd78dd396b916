"""Several references: each pixel uses the one that shows it, whatever their order."""

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.data import astronaut

from refsr import Upscaler
from refsr.evaluate.metrics import psnr
from refsr.registration.fusion import Composite, fuse_references
from refsr.registration.register import prepare_reference
from refsr.resize import imresize

PHOTO = np.ascontiguousarray(astronaut()[:384, :512])
LR = imresize(PHOTO, scale=0.25)
LEFT, RIGHT = PHOTO[:, :300], PHOTO[:, 220:]


def compose(*photos: NDArray[np.uint8]) -> Composite:
    prepared = tuple(prepare_reference(np.ascontiguousarray(photo)) for photo in photos)
    return fuse_references(LR, prepared)


def whole(composite: Composite) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return composite.aligned(slice(0, LR.shape[0]), slice(0, LR.shape[1]))


@pytest.fixture(scope="module")
def both() -> Composite:
    return compose(LEFT, RIGHT)


def test_two_halves_make_the_whole_without_a_step(both: Composite) -> None:
    image, validity = whole(both)
    inner = slice(16, -16), slice(16, -16)
    assert float((validity[inner] > 0.5).mean()) > 0.95
    error = np.abs(image * 255 - PHOTO)[inner].mean(
        axis=(0, 2)
    )  # by column: a seam would stand out
    assert float(error.max()) < 12
    assert float(error[220:300].mean()) < 2 * float(error.mean())


def test_each_half_comes_from_the_one_that_shows_it(both: Composite) -> None:
    source = both.source_index()
    assert float((source[8:-8, 8:48] == 0).mean()) > 0.95
    assert float((source[8:-8, 82:-8] == 1).mean()) > 0.95


def test_order_does_not_matter(both: Composite) -> None:
    image, validity = whole(both)
    again, again_validity = whole(compose(RIGHT, LEFT))
    assert np.allclose(image, again, atol=1e-5)
    assert np.allclose(validity, again_validity, atol=1e-5)


def test_tiles_are_cut_from_the_same_picture(both: Composite) -> None:
    image, validity = whole(both)
    rows, cols = slice(32, 64), slice(40, 96)
    tile, tile_validity = both.aligned(rows, cols)
    area = slice(128, 256), slice(160, 384)
    assert np.abs(tile - image[area]).max() < 1 / 255
    assert np.abs(tile_validity - validity[area]).max() < 0.01


def test_a_foreign_reference_beside_a_good_one_changes_nothing(both: Composite) -> None:
    noise = np.random.default_rng(1).integers(0, 256, PHOTO.shape, np.uint8)
    image, validity = whole(compose(noise, LEFT))
    alone, alone_validity = whole(compose(LEFT))
    assert np.allclose(validity, alone_validity, atol=1e-5)
    assert np.abs((image - alone) * (validity[..., None] > 0.5)).max() < 1e-4


def test_a_reference_no_finer_than_the_photo_is_not_used() -> None:
    composite = compose(LR)
    assert composite.registrations[0].matched  # it does show the same thing
    assert not composite.matched
    assert not whole(composite)[1].any()


def test_a_blurred_reference_is_not_used_and_a_half_sharp_one_is() -> None:
    blurred = imresize(imresize(PHOTO, scale=0.25), scale=4.0)
    half = imresize(imresize(PHOTO, scale=0.5), scale=2.0)
    composite = compose(blurred, half, PHOTO)
    assert composite.useful == (False, True, True)
    assert float((composite.source_index() == 0).mean()) == 0.0


def test_a_refused_reference_leaves_no_trace_beside_good_ones() -> None:
    """The blurred one shows the whole photo, more than either half: it has no say all the same."""
    blurred = imresize(LR, scale=4.0)
    halves, three = compose(LEFT, RIGHT), compose(LEFT, blurred, RIGHT)
    assert three.registrations[1].coverage > max(
        three.registrations[0].coverage, three.registrations[2].coverage
    )
    assert three.useful == (True, False, True)
    assert not three.blend_weights[1].any()
    for index, same in ((0, 0), (2, 1)):
        np.testing.assert_array_equal(three.blend_weights[index], halves.blend_weights[same])


def test_of_a_refused_reference_nothing_is_reported() -> None:
    upscaler = Upscaler.load("detail-transfer")
    alone = upscaler.upscale(LR).photo.pixels
    upscaler.set_reference(imresize(LR, scale=4.0))
    result = upscaler.upscale(LR)
    (reference,) = result.report["references"]
    assert reference["matched"]
    assert not reference["used"]
    assert reference["share_of_photo"] == reference["share_of_borrowed"] == 0.0
    assert not result.similarity.any()
    assert not result.provenance.any()
    np.testing.assert_array_equal(result.photo.pixels, alone)


def test_the_detail_transfer_takes_of_every_reference() -> None:
    """A half helps its half, both help the whole photo, and a blurred one does not hurt."""
    upscaler = Upscaler.load("detail-transfer")

    def result(*photos: NDArray[np.uint8]) -> float:
        upscaler.set_reference([np.ascontiguousarray(photo) for photo in photos])
        return psnr(np.asarray(upscaler.upscale(LR).image), PHOTO, border=4)

    left, right, together = result(LEFT), result(RIGHT), result(LEFT, RIGHT)
    assert together > max(left, right) + 2
    assert result(LEFT, imresize(LR, scale=4.0), RIGHT) == together
