"""References of aliased photos are registered again, through the camera."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import pytest
import skimage.data

from refsr.arrays import Image, Pixels
from refsr.degradation.aliasing import Aliasing, estimate_aliasing
from refsr.degradation.simulate import parse_kind, simulate
from refsr.image.photo import load_photo
from refsr.registration.camera_flow import realign, without_aliasing
from refsr.registration.flow import luma
from refsr.registration.fusion import fuse_references
from refsr.registration.reference import Reference, prepare_reference
from refsr.registration.register import Registration, align_reference, register
from refsr.resize import imresize


@lru_cache
def scene() -> Pixels:
    """A photo (512, 512, 3)."""
    return np.ascontiguousarray(skimage.data.astronaut())


@lru_cache
def moved() -> Pixels:
    """The same from a place nearby: parallax of up to 2 HR pixels, soft."""
    y, x = np.mgrid[:512, :512].astype(np.float32)
    to = x + 2 * np.sin(y / 60), y + 2 * np.cos(x / 60)
    return np.asarray(cv2.remap(scene(), *to, cv2.INTER_CUBIC, borderMode=2), np.uint8)


def photo(kind: str) -> Pixels:
    return load_photo(simulate(scene(), parse_kind(kind))).as_uint8()


def aligned(lr: Pixels, reference: Reference, registration: Registration) -> tuple[Image, Image]:
    """The aligned reference in levels, and its validity."""
    height, width = lr.shape[:2]
    found = align_reference(registration, reference, lr, slice(0, height), slice(0, width))
    return found[0] * np.float32(255), found[1]


def camera_of(lr: Pixels, reference: Reference, registration: Registration) -> Aliasing:
    ref, validity = aligned(lr, reference, registration)
    weight = cv2.resize(validity, lr.shape[1::-1], interpolation=cv2.INTER_AREA)
    found = estimate_aliasing(luma(lr), luma(ref), np.asarray(weight, np.float32))
    assert found is not None
    return found


def error(lr: Pixels, reference: Reference, registration: Registration) -> float:
    """RMS of the aligned reference beside the truth, in levels, off the rim."""
    ref, _ = aligned(lr, reference, registration)
    return float(np.sqrt(np.mean((luma(ref) - luma(scene()))[32:-32, 32:-32] ** 2)))


@pytest.mark.parametrize(("kind", "least"), [("linear", 0.8), ("nearest", 0.99)])
def test_what_was_aliased_lies_nearer_to_its_place(kind: str, least: float) -> None:
    lr, reference = photo(kind), prepare_reference(moved())
    before = register(lr, reference)
    after = realign(lr, before, reference, camera_of(lr, reference, before), (2.0, 1.5))
    assert error(lr, reference, after) < least * error(lr, reference, before)
    assert np.array_equal(after.validity, before.validity)


def test_what_is_not_valid_is_left() -> None:
    lr, reference = photo("linear"), prepare_reference(moved())
    before = register(lr, reference)
    camera = camera_of(lr, reference, before)
    nowhere = replace(before, validity=np.zeros_like(before.validity))
    assert realign(lr, nowhere, reference, camera, (2.0,)) is nowhere


def test_bands_of_rows_have_no_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    """In bands of a few rows all is as in one."""
    lr, reference = photo("linear"), prepare_reference(moved())
    composite = fuse_references(lr, (reference,))
    before = composite.registrations[0]
    camera = camera_of(lr, reference, before)

    def found() -> tuple[Pixels, Image]:
        after = realign(lr, before, reference, camera, (2.0,))
        return without_aliasing(composite, camera), after.xy_ref

    whole = found()
    monkeypatch.setattr("refsr.registration.camera_flow.BAND_ROWS", 24)
    bands = found()
    assert np.abs(whole[0].astype(int) - bands[0]).max() <= 1
    assert np.abs(whole[1] - bands[1]).max() < 0.05
    clean = imresize(scene(), scale=1 / 4).astype(np.float32)
    errors = [float(((image - clean) ** 2)[8:-8, 8:-8].mean()) for image in (lr, whole[0])]
    assert errors[1] < 0.85 * errors[0]
