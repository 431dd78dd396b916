"""Registration against ground truth: errors in LR px."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray

from refsr.registration.register import (
    Reference,
    Registration,
    align_reference,
    prepare_reference,
    register,
)
from refsr.registration.warp import FIELD_SCALE, area_ratio, grid, shrink4
from refsr.resize import imresize


@pytest.fixture(autouse=True)
def warnings_are_errors() -> Iterator[None]:
    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        yield


@lru_cache
def astronaut() -> NDArray[np.uint8]:
    return np.asarray(skimage.data.astronaut(), np.uint8)


@lru_cache
def coffee() -> NDArray[np.uint8]:
    return np.asarray(skimage.data.coffee(), np.uint8)


@lru_cache
def astronaut_lr() -> NDArray[np.uint8]:
    return imresize(astronaut(), 0.25)


@lru_cache
def astronaut_reference() -> Reference:
    return prepare_reference(astronaut())


def view(
    hr: NDArray[np.uint8], zoom: float, degrees: float, perspective: float
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A second photo of ``hr``, antialiased, and the homography from HR to its pixels."""
    height, width = hr.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    push = np.random.default_rng(3).uniform(-perspective, perspective, (4, 2)) * min(height, width)
    bent = cv2.getPerspectiveTransform(corners, (corners + push).astype(np.float32))
    turn = np.deg2rad(degrees)
    similar = np.array(
        [
            [zoom * np.cos(turn), -zoom * np.sin(turn), 0],
            [zoom * np.sin(turn), zoom * np.cos(turn), 0],
            [0, 0, 1],
        ]
    )
    matrix = similar @ bent
    moved = cv2.perspectiveTransform(corners[None].astype(np.float64), matrix)[0]
    matrix = np.array([[1, 0, -moved[:, 0].min()], [0, 1, -moved[:, 1].min()], [0, 0, 1]]) @ matrix
    size = np.ceil(np.ptp(moved, axis=0)).astype(int)
    finer = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1]])
    big = cv2.warpPerspective(
        hr,
        finer @ matrix,
        (2 * int(size[0]), 2 * int(size[1])),
        flags=cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_REFLECT,
    )
    shrunk = cv2.resize(big, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, np.uint8), matrix


def textured(lr: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Field pixels (2h, 2w) around which the LR photo has something to hold on to."""
    gray = lr.astype(np.float32).mean(axis=2)
    spread = cv2.blur(gray * gray, (5, 5)) - cv2.blur(gray, (5, 5)) ** 2
    size = (FIELD_SCALE * lr.shape[1], FIELD_SCALE * lr.shape[0])
    return np.asarray(cv2.resize(spread, size)) > 25.0


def errors(found: Registration, truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Distance from the true place, in LR px: (2h, 2w)."""
    per_lr_px = FIELD_SCALE * np.sqrt(np.abs(area_ratio(truth.astype(np.float32))))
    return np.linalg.norm(found.xy_ref - truth, axis=2) / per_lr_px


def hr_grid(lr: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Where the field's pixels lie in the HR photo."""
    return grid(slice(0, FIELD_SCALE * lr.shape[0]), slice(0, FIELD_SCALE * lr.shape[1]), 2.0)


@pytest.mark.parametrize(
    ("zoom", "degrees", "perspective", "gamma", "median", "tail"),
    [
        (1.0, 0.0, 0.1, 1.0, 0.03, 0.06),
        (1.0, 5.0, 0.1, 1.5, 0.05, 0.25),  # another exposure
        (1.4, 115.0, 0.1, 1.0, 0.03, 0.06),
        (4.0, 0.0, 0.05, 1.0, 0.03, 0.06),
        (0.5, -80.0, 0.05, 1.0, 0.04, 0.10),
        (0.25, 0.0, 0.05, 1.0, 0.12, 0.30),  # the reference is as coarse as the input itself
        (1.0, 0.0, 0.22, 1.0, 0.03, 0.06),  # strong perspective
    ],
)
def test_subpixel_truth(
    zoom: float, degrees: float, perspective: float, gamma: float, median: float, tail: float
) -> None:
    lr = astronaut_lr()
    pixels, matrix = view(astronaut(), zoom, degrees, perspective)
    exposed = (255 * (pixels / 255) ** gamma + 0.5).astype(np.uint8)
    found = register(lr, prepare_reference(exposed))
    truth = cv2.perspectiveTransform(hr_grid(lr).astype(np.float64), matrix)
    error = errors(found, truth)[textured(lr)]
    assert found.matched
    assert found.coverage > 0.9
    assert found.zoom == pytest.approx(zoom, rel=0.15)
    assert np.median(error) < median
    assert np.percentile(error, 90) < tail


def test_smooth_parallax_is_followed() -> None:
    """Depth that no homography describes: a disparity of several LR px over the photo."""
    hr = astronaut()
    lr = astronaut_lr()
    y, x = np.mgrid[0:512, 0:512].astype(np.float32)
    disparity = 14 * np.sin(x / 70) * np.cos(y / 90)  # HR px
    backward = np.stack([x + disparity, y], axis=2)
    pixels = np.asarray(cv2.remap(hr, backward, None, cv2.INTER_CUBIC), np.uint8)
    found = register(lr, prepare_reference(pixels))
    place = np.stack([y * 0, y * 0], axis=2)  # invert x_hr = x_ref + d(x_ref, y) by iteration
    place[:] = np.stack([x, y], axis=2)
    for _ in range(30):
        place[..., 0] = x - 14 * np.sin(place[..., 0] / 70) * np.cos(y / 90)
    truth = np.asarray(cv2.remap(place, hr_grid(lr), None, cv2.INTER_LINEAR))
    error = errors(found, truth)[8:-8, 8:-8][textured(lr)[8:-8, 8:-8]]
    assert np.median(error) < 0.04
    assert np.percentile(error, 90) < 0.15


def test_real_stereo_pair() -> None:
    """Middlebury's motorcycle, with its measured disparity: sharp depth edges and occlusion."""
    left, right, disparity = skimage.data.stereo_motorcycle()
    left = np.ascontiguousarray(np.asarray(left, np.uint8)[:500, :740])
    lr = imresize(left, 0.25)
    found = register(lr, prepare_reference(np.asarray(right, np.uint8)))
    xy = hr_grid(lr)
    d = cv2.remap(np.asarray(disparity, np.float32), xy, None, cv2.INTER_NEAREST)
    known = np.isfinite(d) & (d > 0) & textured(lr)
    error = np.hypot(
        found.xy_ref[..., 0] - (xy[..., 0] - np.where(known, d, 0)),
        found.xy_ref[..., 1] - xy[..., 1],
    )
    trusted = known & (found.validity * found.consistency > 0.95)
    assert trusted.sum() > 0.3 * known.sum()
    assert np.median(error[trusted]) / 4 < 0.2
    assert np.percentile(error[trusted], 80) / 4 < 0.5


@pytest.mark.parametrize("seed", [0, 1])
def test_irrelevant_reference_is_recognised(seed: int) -> None:
    lr, foreign = (
        (astronaut_lr(), coffee())
        if seed == 0
        else (imresize(coffee()[:400], 0.25), np.asarray(skimage.data.chelsea(), np.uint8))
    )
    found = register(lr, prepare_reference(foreign))
    assert not found.matched
    assert not found.validity.any()
    assert found.coverage < 0.015


def test_only_the_overlap_is_valid() -> None:
    """A reference that shows the right half only."""
    found = register(astronaut_lr(), prepare_reference(np.ascontiguousarray(astronaut()[:, 256:])))
    assert found.matched
    assert found.validity[:, :120].max() == 0.0
    assert found.validity[8:-8, 140:-8].mean() > 0.9
    assert 0.3 < found.coverage < 0.55


def test_what_the_reference_does_not_show_is_not_consistent() -> None:
    """An object that stands in the input alone."""
    hr = astronaut().copy()
    hr[200:280, 300:380] = (
        np.random.default_rng(1).integers(0, 256, (10, 10, 3)).repeat(8, 0).repeat(8, 1)
    )
    found = register(imresize(hr, 0.25), astronaut_reference())
    trust = found.validity * found.consistency
    assert np.median(trust[104:136, 154:186]) < 0.6
    assert np.median(trust[20:80, 20:80]) > 0.95


def test_repeated_calls_and_threads_agree() -> None:
    pixels, _ = view(astronaut(), 1.1, 20.0, 0.1)
    reference = prepare_reference(pixels)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        first = register(astronaut_lr(), reference)
        cv2.setNumThreads(2)
        second = register(astronaut_lr(), prepare_reference(pixels))
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(first.xy_ref, second.xy_ref)
    assert np.array_equal(first.validity, second.validity)
    assert np.array_equal(first.consistency, second.consistency)


def test_tiles_equal_the_whole_and_carry_the_inputs_colors() -> None:
    pixels, _ = view(astronaut(), 1.3, 10.0, 0.1)
    warm = np.clip(pixels * np.array([0.8, 0.7, 0.6]) + np.array([30, 10, 0]), 0, 255)
    lr = astronaut_lr()
    reference = prepare_reference(warm.astype(np.uint8))
    found = register(lr, reference)
    whole, validity = align_reference(found, reference, lr, slice(0, 128), slice(0, 128))
    assert whole.shape == (512, 512, 3)
    assert whole.dtype == validity.dtype == np.float32
    tile, tile_validity = align_reference(found, reference, lr, slice(37, 90), slice(5, 61))
    np.testing.assert_allclose(tile, whole[148:360, 20:244], atol=1e-5)
    np.testing.assert_allclose(tile_validity, validity[148:360, 20:244], atol=1e-6)
    off = np.abs(shrink4(whole) - lr / np.float32(255))[validity[::4, ::4] > 0.9]
    assert np.median(off) < 2 / 255  # before: 20 to 40 levels


def test_a_prepared_reference_gives_its_zoom_without_aliasing() -> None:
    """Stripes finer than the output must vanish, not turn into coarser stripes."""
    stripes = np.where(np.arange(512) % 2, 255, 0).astype(np.uint8)
    pixels = np.ascontiguousarray(np.broadcast_to(stripes[None, :, None], (512, 512, 3)))
    reference = prepare_reference(pixels)
    for zoom in (1.7, 2.0, 3.0, 4.0):
        filtered, _ = reference.prefiltered(zoom)
        assert filtered[50:-50, 50:-50].std() < 12.0  # 127 unfiltered


def photo(height: int, width: int, kind: str) -> NDArray[np.uint8]:
    if kind == "flat":
        return np.full((height, width, 3), 90, np.uint8)
    if kind == "noise":
        return np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    return np.ascontiguousarray(astronaut()[:height, :width])


@pytest.mark.parametrize("kind", ["flat", "noise", "photo"])
@pytest.mark.parametrize(
    ("lr_size", "ref_size"),
    [
        ((1, 1), (1, 1)),
        ((1, 1), (200, 300)),
        ((40, 50), (1, 1)),
        ((2, 300), (17, 13)),
        ((9, 9), (9, 9)),
        ((130, 120), (64, 64)),
        ((128, 128), (128, 128)),
        ((1, 9000), (40, 2)),  # HR wider than OpenCV's remap takes
    ],
)
def test_any_size_gives_an_answer(
    lr_size: tuple[int, int], ref_size: tuple[int, int], kind: str
) -> None:
    lr = photo(*lr_size, kind) if max(lr_size) <= 512 else photo(*lr_size, "noise")
    reference = prepare_reference(photo(*ref_size, kind))
    found = register(lr, reference)
    height, width = lr_size
    assert found.xy_ref.shape == (2 * height, 2 * width, 2)
    assert found.validity.shape == found.consistency.shape == (2 * height, 2 * width)
    for values in (found.xy_ref, found.validity, found.consistency):
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert found.validity.min() >= 0
    assert found.validity.max() <= 1
    aligned, validity = align_reference(found, reference, lr, slice(0, height), slice(0, width))
    assert aligned.shape == (4 * height, 4 * width, 3)
    assert np.isfinite(aligned).all()
    assert validity.shape == (4 * height, 4 * width)


def test_the_photo_itself_is_the_identity() -> None:
    same = np.ascontiguousarray(astronaut()[:240, 100:340])
    found = register(same, prepare_reference(same))
    here = grid(slice(0, 480), slice(0, 480), 0.5)
    assert found.matched
    assert found.zoom == pytest.approx(0.25, rel=0.02)
    error = np.linalg.norm(found.xy_ref - here, axis=2)[textured(same)]
    assert np.percentile(error, 90) < 0.1
