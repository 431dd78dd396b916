"""The main plane of a scene: bent stripes are straightened, what really moved is not."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from refsr.arrays import Pixels
from refsr.registration.plane import main_plane, straightened
from refsr.registration.reference import Reference, prepare_reference
from refsr.registration.warp import Field, grid
from refsr.resize import imresize

HEIGHT, WIDTH = 64, 96  # LR pixels
BUMP = 8.0  # HR pixels: two LR pixels


def true_field() -> Field:
    """Of a reference in the photo's own frame, at its HR size."""
    return ((grid(slice(0, 2 * HEIGHT), slice(0, 2 * WIDTH)) + 0.5) * 2 - 0.5).astype(np.float32)


def bump(y: float, x: float) -> np.ndarray:
    """A smooth hill (2h, 2w) of height 1 at an LR pixel, 8 LR pixels wide."""
    rows, columns = np.mgrid[0 : 2 * HEIGHT, 0 : 2 * WIDTH]
    return np.exp(-((rows - 2 * y) ** 2 + (columns - 2 * x) ** 2) / (2 * 12.0**2))


def wall() -> Pixels:
    """Vertical stripes of one HR period in 4.4 pixels, which alias in the small photo."""
    columns = np.arange(4 * WIDTH)
    stripes = 128 + 60 * np.sign(np.sin(2 * np.pi * columns / 17.6))
    texture = np.repeat(stripes[None], 4 * HEIGHT, axis=0)
    return np.repeat(texture[..., None], 3, axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def stripes() -> tuple[Pixels, Reference]:
    return imresize(wall(), scale=0.25), prepare_reference(wall())


def test_a_bent_wall_is_straightened(stripes: tuple[Pixels, Reference]) -> None:
    """Along the stripes the photo cannot tell, so flow may bend them as it likes."""
    lr, reference = stripes
    truth = true_field()
    bent = truth.copy()
    bent[..., 1] += BUMP * bump(32, 48)
    everywhere = np.ones(truth.shape[:2], bool)
    found = straightened(lr, bent, everywhere, reference)
    inner = np.s_[8:-8, 8:-8]
    assert np.abs(bent - truth)[inner].max() > 7
    assert np.abs(found - truth)[inner].max() < 0.25 * BUMP


def test_what_moved_keeps_its_place() -> None:
    """A part of the reference lies elsewhere, and the field says where: it stays."""
    hr = np.ascontiguousarray(skimage.data.astronaut()[: 4 * HEIGHT, 80 : 80 + 4 * WIDTH])
    truth = true_field()
    shift = (BUMP * bump(32, 48)).astype(np.float32)
    at_hr = cv2.resize(shift, (4 * WIDTH, 4 * HEIGHT))
    y, x = np.mgrid[0 : 4 * HEIGHT, 0 : 4 * WIDTH].astype(np.float32)
    moved = np.asarray(cv2.remap(hr, x - at_hr, y, cv2.INTER_CUBIC), np.uint8)
    field = truth.copy()
    field[..., 0] += shift  # nearly the inverse of the reference's
    everywhere = np.ones(truth.shape[:2], bool)
    found = straightened(imresize(hr, scale=0.25), field, everywhere, prepare_reference(moved))
    center = np.s_[56:72, 88:104]
    assert np.abs(found - field)[center].mean() < 0.2 * BUMP
    assert np.abs(field - truth)[center].max() > 7


def test_near_the_plane_flow_is_left_alone(stripes: tuple[Pixels, Reference]) -> None:
    lr, reference = stripes
    near = true_field()
    near[..., 1] += bump(32, 48)  # a quarter of an LR pixel
    everywhere = np.ones(near.shape[:2], bool)
    np.testing.assert_array_equal(straightened(lr, near, everywhere, reference), near)


def test_without_a_plane_nothing_changes(stripes: tuple[Pixels, Reference]) -> None:
    lr, reference = stripes
    noise = np.random.default_rng(0).uniform(0, 200, true_field().shape).astype(np.float32)
    everywhere = np.ones(noise.shape[:2], bool)
    assert main_plane(noise, everywhere, 1.0) is None
    np.testing.assert_array_equal(straightened(lr, noise, everywhere, reference), noise)
    nowhere = np.zeros(noise.shape[:2], bool)
    assert main_plane(true_field(), nowhere, 1.0) is None
