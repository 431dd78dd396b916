"""Reference pools: the few references that help are selected by their thumbnails."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import skimage.data

from refsr import RefsrError, Upscaler
from refsr.arrays import Pixels
from refsr.registration import pool, references
from refsr.registration.pool import build_pool, load_thumbnail
from refsr.resize import imresize

LIMIT = 10**8


@lru_cache
def truth() -> Pixels:
    return np.ascontiguousarray(skimage.data.astronaut()[:384, :512])


@lru_cache
def small() -> Pixels:
    return imresize(truth(), scale=0.25)


def strangers(count: int) -> list[Pixels]:
    """Cut-outs of photos of other things."""
    photos = [np.asarray(p) for p in (skimage.data.coffee(), skimage.data.chelsea())]
    rng = np.random.default_rng(4)
    out: list[Pixels] = []
    for index in range(count):
        photo = photos[index % 2]
        y, x = (int(rng.integers(0, side - 200)) for side in photo.shape[:2])
        out.append(np.ascontiguousarray(photo[y : y + 200, x : x + 200]))
    return out


def test_the_parts_of_a_panorama_are_found_among_strangers() -> None:
    halves = [np.ascontiguousarray(part) for part in (truth()[:, :300], truth()[:, 220:])]
    many = [*strangers(6), halves[0], *strangers(6), halves[1], *strangers(3)]
    selection = build_pool(many, LIMIT).select(small())
    assert set(selection.chosen) == {6, 13}
    assert len(selection.reasons) == len(many) - 2
    assert set(selection.reasons.values()) == {"could not be matched"}


def test_the_finer_of_two_that_show_the_same_comes_first() -> None:
    coarse = imresize(truth(), scale=0.4)
    finer = imresize(truth(), scale=0.9)
    many = [*strangers(4), coarse, *strangers(4), finer]
    selection = build_pool(many, LIMIT).select(small())
    assert selection.chosen[0] == 9
    assert len(selection.chosen) <= 2


def test_where_nothing_matches_a_few_are_still_tried() -> None:
    selection = build_pool(strangers(12), LIMIT).select(small())
    assert len(selection.chosen) == pool.MIN_CANDIDATES


def test_the_same_photo_many_times_is_registered_a_few_times() -> None:
    selection = build_pool([truth()] * 9, LIMIT).select(small())
    assert 1 <= len(selection.chosen) <= pool.MIN_CANDIDATES
    assert "others show as much" in selection.reasons.values()


def test_candidates_keep_to_a_number_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MAX_CANDIDATE_PIXELS", 512 * 384)
    parts = [np.ascontiguousarray(truth()[:, 64 * i : 64 * i + 128]) for i in range(7)]
    selection = build_pool([*parts, *strangers(3)], LIMIT).select(small())
    assert sum(parts[i].shape[1] for i in selection.chosen) <= 512
    assert len(selection.chosen) >= 3


@pytest.mark.parametrize("size", [(1, 1), (3, 40), (17, 13)])
def test_any_size_of_photo_and_reference(size: tuple[int, int]) -> None:
    tiny = np.ascontiguousarray(truth()[: size[0], : size[1]])
    assert build_pool([tiny] * 3 + strangers(2), LIMIT).select(tiny).chosen


def test_a_jpeg_is_decoded_small_and_upright(tmp_path: Path) -> None:
    large = np.asarray(PIL.Image.fromarray(truth()).resize((2560, 1920)))
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    path = tmp_path / "large.jpg"
    PIL.Image.fromarray(large).save(path, exif=exif)
    seen, pixels = load_thumbnail(path, LIMIT)
    assert pixels == 2560 * 1920
    assert seen.shape == (640, 480, 3)
    upright = np.asarray(PIL.Image.fromarray(np.rot90(large, -1)).resize((480, 640)))
    assert np.abs(seen.astype(int) - upright).mean() < 6


def folder_of(tmp_path: Path, photos: list[Pixels]) -> Path:
    for index, photo in enumerate(photos):
        PIL.Image.fromarray(photo).save(tmp_path / f"{index:02}.png")
    return tmp_path


def test_an_album_gives_what_its_best_photo_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(tmp_path, [*strangers(9), truth()])
    (folder / "10.png").write_bytes(b"no photo")
    upscaler = Upscaler.load("detail-transfer")
    opened: list[str] = []
    load = references.load_reference

    def counted(source: Any, *options: Any) -> Any:
        opened.append(pool.source_name(source))
        return load(source, *options)

    monkeypatch.setattr("refsr.upscaler.load_reference", counted)
    upscaler.set_reference(folder)
    assert opened == []
    result = upscaler.upscale(small())
    assert "09.png" in opened
    assert len(opened) <= pool.MIN_CANDIDATES
    tried = list(opened)
    facts = result.report["album"]
    assert facts["looked_at"] == 11
    assert facts["registered"] == tried
    reasons = {one["reference"]: one["why"] for one in facts["not_registered"]}
    assert len(reasons) == 11 - len(tried)
    assert "10.png" in reasons["10.png"]
    upscaler.set_reference(truth())
    alone = upscaler.upscale(small())
    assert alone.report["album"] is None
    np.testing.assert_array_equal(np.asarray(result.image), np.asarray(alone.image))


def test_a_named_reference_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, strangers(9))
    upscaler = Upscaler.load("detail-transfer")
    with pytest.raises(RefsrError, match="no file"):
        upscaler.set_reference([*sorted(folder.iterdir()), folder / "missing.png"])
    for path in folder.iterdir():
        path.write_bytes(b"no photo")
    with pytest.raises(RefsrError):
        upscaler.set_reference(folder)
