"""Faces: where they are found, and that another's eyes are not borrowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data

from pages import Page
from refsr.arrays import Pixels
from refsr.errors import ModelError
from refsr.inference import faces
from refsr.inference.faces import FaceFinder, face_finder, faces_of
from refsr.registration.evidence import NO_BOXES
from refsr.registration.large_image import only_confirmed, register_coarse
from refsr.registration.reference import prepare_reference
from refsr.resize import imresize
from scenes import with_shut_eyes

FACE = (177, 66, 263, 176)  # left, top, right, bottom of the astronaut's, HR px, by hand
TOLERANCE = 16  # HR px: three times the side of an LR pixel and a bit


@pytest.fixture(scope="module")
def hr() -> Pixels:
    return skimage.data.astronaut()


def shot(hr: Pixels) -> Pixels:
    """Another photo of it: 1.3 times larger, turned a little, moved."""
    matrix = np.array([[1.3, 0.01, 4.0], [-0.01, 1.3, 9.0]])
    moved = cv2.warpAffine(hr, matrix, (680, 690), flags=cv2.INTER_CUBIC)
    return np.asarray(moved, np.uint8)


@pytest.mark.parametrize("shrink", [1, 2, 4])
def test_a_face_is_found_at_every_size(hr: Pixels, shrink: int) -> None:
    photo = hr if shrink == 1 else imresize(hr, scale=1 / shrink)
    found = shrink * face_finder().find(photo, 24 / shrink)
    assert found.shape == (1, 4)
    np.testing.assert_allclose(found[0], FACE, atol=TOLERANCE)


def test_no_face_where_there_is_none() -> None:
    for photo in (skimage.data.rocket(), skimage.data.coffee(), Page(20, 0.0, 1).draw()):
        assert len(face_finder().find(np.ascontiguousarray(photo), 24)) == 0


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (12, 12), (40, 13)])
def test_tiny_photos_hold_none(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert face_finder().find(photo, 6).shape == (0, 4)


def test_bands_find_what_the_whole_finds(hr: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = face_finder().propose(hr, 0.5)
    monkeypatch.setattr(faces, "BAND_PIXELS", 1)
    for ours, theirs in zip(face_finder().propose(hr, 0.5), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_a_large_photo_is_looked_at_in_bounded_memory(
    hr: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    run = FaceFinder.run

    def spy(self: FaceFinder, stage: int, images: np.ndarray) -> list[np.ndarray]:
        seen.append(images[0, 0].size)
        return run(self, stage, images)

    monkeypatch.setattr(FaceFinder, "run", spy)
    large = np.tile(hr, (4, 4, 1))
    assert len(face_finder().find(large, 6)) >= 12
    assert max(seen) < 1.3 * faces.BAND_PIXELS


def test_damaged_weights_are_said(tmp_path: Path) -> None:
    path = tmp_path / "mtcnn_pnet.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(ModelError, match="install refsr again"):
        FaceFinder((path, path, path))


def test_a_references_face_is_found_in_the_photos_frame(hr: Pixels) -> None:
    lr = imresize(hr, scale=0.25)
    coarse = register_coarse(lr, (prepare_reference(shot(hr)),), 10**6)
    found = 4 * faces_of(coarse)
    assert len(found) == 2  # the photo's, and the reference's
    np.testing.assert_allclose(found, [FACE, FACE], atol=TOLERANCE + 4)


def test_without_a_match_nothing_is_looked_for(hr: Pixels) -> None:
    coarse = register_coarse(
        imresize(hr, scale=0.25), (prepare_reference(skimage.data.coffee()),), 10**6
    )
    assert len(faces_of(coarse)) == 0


@pytest.mark.parametrize("block", [10**6, 6_000])
def test_other_eyes_are_not_borrowed(hr: Pixels, block: int) -> None:
    """In one piece, and where a large photo is registered block by block."""
    lr = imresize(hr, scale=0.25)
    kept: dict[str, np.ndarray] = {}
    for name, photo in (("same", hr), ("other", with_shut_eyes(hr))):
        coarse = register_coarse(lr, (prepare_reference(shot(photo)),), block)
        coarse = only_confirmed(coarse, faces_of(coarse))
        validity = np.zeros(lr.shape[:2], np.float32)
        for tile in coarse.blocks():
            height, width = (part.stop - part.start for part in (tile.rows, tile.cols))
            found = coarse.block(tile).aligned(slice(0, height), slice(0, width))[1]
            small = cv2.resize(found, (width, height), interpolation=cv2.INTER_AREA)
            validity[tile.core_rows, tile.core_cols] = small[tile.core(1)]
        kept[name] = validity
    eyes = np.s_[26:29, 48:62]
    assert kept["same"][eyes].mean() > 0.8
    assert kept["other"][eyes].mean() < 0.2
    away = np.ones(lr.shape[:2], bool)
    away[10:50, 38:72] = False
    assert kept["other"][away].mean() > 0.9 * kept["same"][away].mean()


def test_faces_alone_refute_nothing(hr: Pixels) -> None:
    """Without boxes the same comparison as before."""
    lr = imresize(hr, scale=0.25)
    coarse = register_coarse(lr, (prepare_reference(shot(with_shut_eyes(hr))),), 10**6)
    found = only_confirmed(coarse, NO_BOXES).composite.registrations[0]
    assert (
        found.contradicted
        < only_confirmed(coarse, faces_of(coarse)).composite.registrations[0].contradicted
    )


def test_many_windows_take_no_more_memory_than_a_few() -> None:
    finder, seen = FaceFinder(), list[int]()
    windows = np.random.default_rng(0).random((150, 3, 24, 24), np.float32)
    session = finder.sessions[1]
    whole = session.run(None, {session.get_inputs()[0].name: windows})

    class Watched:
        def get_inputs(self) -> Any:
            return session.get_inputs()

        def run(self, outputs: Any, inputs: dict[str, Any]) -> Any:
            seen.extend(map(len, inputs.values()))
            return session.run(outputs, inputs)

    finder.sessions[1] = Watched()
    for ours, theirs in zip(finder.run(1, windows), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert seen == [64, 64, 22]
