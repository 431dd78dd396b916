"""References from anywhere: what they show is found, and what they do not show is never made up."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.registration.fusion import fuse_references
from refsr.registration.register import Registration, prepare_reference, register
from refsr.registration.warp import FIELD_SCALE, grid
from refsr.resize import imresize
from refsr.upscaler import Upscaler
from scenes import WINDOW, facade, seen_through


@lru_cache
def wall() -> Pixels:
    """A facade of 8 x 6 windows: (384, 512, 3)."""
    return np.ascontiguousarray(facade(3, 16, 12)[:384, :512])


def found_in(hr: Pixels, reference: Pixels) -> Registration:
    return register(imresize(hr, scale=0.25), prepare_reference(np.ascontiguousarray(reference)))


def misplaced(found: Registration, matrix: NDArray[np.float64], hr: Pixels) -> NDArray[np.floating]:
    """How far, in LR px, each place that is vouched for lies from the truth."""
    height, width = hr.shape[0] // 4, hr.shape[1] // 4
    here = grid(slice(0, FIELD_SCALE * height), slice(0, FIELD_SCALE * width), 2.0).astype(
        np.float64
    )
    truth = cv2.perspectiveTransform(here, matrix)
    off = np.linalg.norm(found.xy_ref - truth, axis=2) / (4 * found.zoom)
    return off[found.validity * found.consistency > 0.8]


@pytest.mark.parametrize("degrees", [45, 173])
def test_any_rotation(degrees: float) -> None:
    turn = np.deg2rad(degrees)
    rotation = [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    matrix = np.array([[1, 0, 330], [0, 1, 330], [0, 0, 1.0]]) @ np.array(rotation)
    matrix = matrix @ np.array([[1, 0, -256], [0, 1, -192], [0, 0, 1.0]])
    found = found_in(wall(), seen_through(wall(), matrix, (660, 660)))
    assert found.coverage > 0.9
    assert np.percentile(misplaced(found, matrix, wall()), 95) < 0.1


@pytest.mark.parametrize("zoom", [0.25, 0.5, 2.0, 8.0])
def test_any_zoom(zoom: float) -> None:
    """At 8 the reference shows a fifth of the photo, on 1792 x 1344 pixels."""
    part = (slice(80, 248), slice(120, 344)) if zoom > 4 else (slice(0, 384), slice(0, 512))
    matrix = np.array(
        [
            [zoom, 0, (zoom - 1) / 2 - zoom * part[1].start],
            [0, zoom, (zoom - 1) / 2 - zoom * part[0].start],
            [0, 0, 1],
        ]
    )
    height, width = (round(zoom * (s.stop - s.start)) for s in part)
    finer = max(1, round(2 / zoom))  # one sample at least for each pixel of the truth
    found = found_in(wall(), seen_through(wall(), matrix, (width, height), finer))
    assert found.matched
    assert found.zoom == pytest.approx(zoom, rel=0.05)
    assert found.coverage > (0.12 if zoom > 4 else 0.9)
    assert np.percentile(misplaced(found, matrix, wall()), 95) < 0.3


@pytest.mark.parametrize("zoom", [0.25, 0.3])
@pytest.mark.parametrize("of", ["wall", "portrait"])
def test_a_reference_hardly_finer_than_the_photo_is_refused(of: str, zoom: float) -> None:
    """Found and in its place, but it would cost more than it gives."""
    hr = wall() if of == "wall" else np.ascontiguousarray(skimage.data.astronaut()[:384])
    reference = prepare_reference(imresize(hr, scale=zoom))
    composite = fuse_references(imresize(hr, scale=0.25), (reference,))
    assert composite.registrations[0].matched
    assert composite.registrations[0].zoom == pytest.approx(zoom, rel=0.05)
    assert not composite.matched


@pytest.mark.parametrize("of", ["wall", "portrait", "cup"])
def test_a_mirrored_reference_is_refused(of: str) -> None:
    photos = {"wall": wall, "portrait": skimage.data.astronaut, "cup": skimage.data.coffee}
    hr = np.ascontiguousarray(np.asarray(photos[of]())[:384])
    found = found_in(hr, hr[:, ::-1])
    assert not found.matched
    assert not found.validity.any()


def test_a_twentieth_of_the_photo_among_repeating_windows() -> None:
    """5 % of the area, on a facade of 16 x 12 windows: the right one, or none."""
    large = facade(3, 16, 12)
    y, x, height, width = 300, 400, 172, 230
    found = found_in(large, large[y : y + height, x : x + width])
    matrix = np.array([[1, 0, -x], [0, 1, -y], [0, 0, 1.0]])
    assert found.matched
    assert 0.03 < found.coverage < 0.06
    assert np.percentile(misplaced(found, matrix, large), 95) < 0.1


@pytest.mark.parametrize("other", ["further windows", "another house", "one window"])
def test_other_windows_of_the_same_kind_are_not_copied(other: str) -> None:
    references = {
        "further windows": facade(3, 16, 12)[384:, 512:],
        "another house": facade(7)[:384],
        "one window": facade(3, 16, 12)[6 * WINDOW : 8 * WINDOW, 8 * WINDOW : 10 * WINDOW],
    }
    found = found_in(wall(), references[other])
    assert not found.matched
    assert not found.validity.any()


def test_a_shifted_view_of_a_facade_is_not_a_window_off() -> None:
    large = facade(3, 16, 12)
    found = found_in(large[:384, : 6 * WINDOW], large[:384, 2 * WINDOW : 8 * WINDOW])
    matrix = np.array([[1, 0, -2.0 * WINDOW], [0, 1, 0], [0, 0, 1]])
    assert 0.5 < found.coverage < 0.68  # four of six columns are shown
    assert np.percentile(misplaced(found, matrix, large[:384, : 6 * WINDOW]), 95) < 0.1
    assert found.validity[:, : 2 * WINDOW // 2 - 8].max() == 0.0


def test_by_night_what_is_lit_is_not_borrowed() -> None:
    """A dark, noisy photo of the wall; some of its windows are lit, the small photo's are not."""
    rng = np.random.default_rng(0)
    night = wall() * np.array([0.22, 0.25, 0.35]) + rng.normal(0, 3, wall().shape)
    lit = np.zeros(wall().shape[:2], bool)
    for row in range(6):
        for column in range(8):
            if rng.random() < 0.4:
                y, x = row * WINDOW, column * WINDOW
                lit[y + 16 : y + 48, x + 20 : x + 44] = True
    night[lit] = night[lit] * 0.1 + rng.uniform(120, 220, (int(lit.sum()), 3))
    found = found_in(wall(), np.clip(night, 0, 255).astype(np.uint8))
    assert found.matched
    trust = found.validity * found.consistency
    at_field = cv2.resize(lit.astype(np.uint8), (256, 192), interpolation=cv2.INTER_AREA) > 0
    inside = cv2.erode(at_field.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert np.median(trust[~at_field]) > 0.9
    assert np.median(trust[inside]) < 0.6


@pytest.mark.parametrize("how", ["mirrored", "other windows"])
def test_without_evidence_the_result_is_that_without_reference(how: str) -> None:
    hr = wall()[:256, :256]
    references = {"mirrored": hr[:, ::-1], "other windows": facade(3, 16, 12)[384:640, 512:768]}
    upscaler = Upscaler.load(threads=1)
    lr = imresize(np.ascontiguousarray(hr), scale=0.25)
    alone = np.asarray(upscaler.upscale(lr).image)
    upscaler.set_reference(np.ascontiguousarray(references[how]))
    np.testing.assert_array_equal(np.asarray(upscaler.upscale(lr).image), alone)
