"""Aliasing is told from blur, noise and sharpening, and taken away where a reference shows it."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import pytest
import skimage.data

from refsr.arrays import Image, Pixels
from refsr.degradation.aliasing import Aliasing, estimate_aliasing
from refsr.degradation.simulate import parse_kind, simulate
from refsr.image.photo import load_photo
from refsr.registration.flow import luma
from refsr.resize import imresize

ALIASED = ["area", "linear", "nearest"]


@lru_cache
def scene() -> Pixels:
    """A photo (512, 512, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut())


def photo(kind: str) -> Image:
    return load_photo(simulate(scene(), parse_kind(kind))).as_uint8().astype(np.float32)


def estimated(lr: Image, ref: Pixels) -> Aliasing:
    found = estimate_aliasing(luma(lr), luma(ref), np.ones(lr.shape[:2], np.float32))
    assert found is not None
    return found


def wavy(pixels: Pixels, by: float) -> Pixels:
    """A reference that registration left up to ``by`` HR pixels beside the photo, to all sides."""
    y, x = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float32)
    moved = cv2.remap(
        pixels, x + by * np.sin(y / 23), y + by * np.sin(x / 31), cv2.INTER_CUBIC, borderMode=2
    )
    return np.asarray(moved, np.uint8)


@pytest.mark.parametrize("off", [0.0, 0.6])
@pytest.mark.parametrize("kind", ALIASED)
def test_aliasing_is_seen_and_removed(kind: str, off: float) -> None:
    lr, ref = photo(kind), wavy(scene(), off)
    found = estimated(lr, ref)
    assert found.is_evident
    everywhere = np.ones(ref.shape[:2], np.float32)
    better = found.remove(lr, ref.astype(np.float32), everywhere)
    clean = imresize(scene(), scale=1 / 4).astype(np.float32)
    # what a kernel explains stays: it is undone otherwise
    errors = [float(((image - clean)[4:-4, 4:-4] ** 2).mean()) for image in (lr, better)]
    assert errors[1] < (0.9 if kind == "nearest" else 0.8) * errors[0]
    nowhere = found.remove(lr, ref.astype(np.float32), 0 * everywhere)
    assert np.array_equal(nowhere, lr)


@pytest.mark.parametrize("kind", ["matlab", "blur:2", "noise:5", "jpeg:75", "sharpened"])
def test_what_else_befalls_a_photo_is_no_aliasing(kind: str) -> None:
    assert not estimated(photo(kind), wavy(scene(), 0.6)).is_evident


def test_taps_are_those_of_the_program() -> None:
    """OpenCV's linear is the mean of the inner 2x2; the kernel takes a little of it."""
    taps = estimated(photo("linear"), scene()).taps
    inner = taps[3:5, 3:5]
    assert inner.min() > 0.15
    assert np.abs(taps).sum() - np.abs(inner).sum() < 1.6
    assert np.delete(taps.ravel(), [27, 28, 35, 36]).max() < 0.6 * inner.min()


def test_too_little_tells_nothing() -> None:
    lr = photo("linear")
    assert estimate_aliasing(luma(lr), luma(scene()), np.zeros(lr.shape[:2], np.float32)) is None
    flat = np.full_like(lr[..., 0], 100)
    ones = np.ones_like(flat)
    assert estimate_aliasing(flat, np.full((512, 512), 100, np.float32), ones) is None
