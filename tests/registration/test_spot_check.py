"""A photo registered shrunk: what differs is found in its most suspect blocks, and said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pages import Page
from refsr import Upscaler
from refsr.arrays import Pixels
from refsr.inference import plan
from refsr.registration import spot_check as module
from refsr.registration.evidence import NO_BOXES
from refsr.registration.large_image import CoarseRegistration, only_confirmed, register_coarse
from refsr.registration.register import prepare_reference
from refsr.registration.spot_check import spot_check, suspects_first
from refsr.resize import imresize
from scenes import seen_through

SHIFT = np.array([[1.02, 0.03, -6.0], [-0.02, 1.03, 4.0], [1e-5, 0.0, 1.0]])
BLOCK = 26_000  # LR pixels: one cell of the grid with its halo


def sheet(other: bool) -> Pixels:
    """Four pages, (640, 896, 3); ``other``: with other digits on the last one alone."""
    pages = [Page(18, 0.5, seed) for seed in range(4)]
    drawn = [page.draw() for page in pages[:3]] + [pages[3].draw(other=other)]
    return np.vstack([np.hstack(drawn[:2]), np.hstack(drawn[2:])])


@pytest.fixture(scope="module")
def coarse() -> CoarseRegistration:
    lr = imresize(sheet(False), scale=0.25)
    reference = prepare_reference(seen_through(sheet(True), SHIFT, (910, 660)))
    coarse = register_coarse(lr, (reference,), round(0.6 * lr.shape[0] * lr.shape[1]))
    assert coarse.shrunk
    assert coarse.composite.matched
    return replace(only_confirmed(coarse, NO_BOXES), block_pixels=BLOCK)


def test_what_differs_is_looked_for_where_it_is(
    coarse: CoarseRegistration, monkeypatch: pytest.MonkeyPatch
) -> None:
    height, width = coarse.lr.shape[:2]
    first = suspects_first(coarse)[:2]
    assert all(2 * tile.core_rows.stop > height for tile in first)
    assert all(2 * tile.core_cols.stop > width for tile in first)
    monkeypatch.setattr(module, "MOST_PIXELS", BLOCK)
    looked = spot_check(coarse)
    assert 0 < looked.judged < 0.4
    assert looked.composite.contradicted[0] > 0.05 * looked.judged


def test_all_of_it_says_what_the_blocks_say(coarse: CoarseRegistration) -> None:
    looked = spot_check(coarse)
    assert looked.judged == 1.0
    sizes: list[int] = []
    shares: list[float] = []
    for tile in suspects_first(coarse):
        found = coarse.block(tile)
        sizes.append(found.unconfirmed()[tile.core(1)].size)
        shares.append(float(found.contradicted[0]))
    assert sum(sizes) == coarse.lr.shape[0] * coarse.lr.shape[1]
    assert looked.composite.contradicted[0] == pytest.approx(np.average(shares, weights=sizes))


def test_check_says_it_of_a_large_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    page = Page(20, 0.5, 3)
    lr = imresize(page.draw(), scale=0.25)
    pixels = lr.shape[0] * lr.shape[1]
    monkeypatch.setattr(plan, "MIN_FLOW", 1)
    monkeypatch.setattr(plan, "MAX_FLOW", round(0.88 * pixels))
    upscaler = Upscaler.load("detail-transfer")
    wrong, right = (upscaler.prepare(page.photographed(other)) for other in (True, False))
    found = upscaler.check(lr, references=wrong)
    assert any(note.startswith("in about") for note in found.notes)
    assert found.references[0]["contradicted"] > 0.02
    assert not any("something else" in note for note in upscaler.check(lr, references=right).notes)
    monkeypatch.setattr(module, "MOST_PIXELS", 1)
    monkeypatch.setattr(module, "BLOCK_PIXELS", 1)
    partly = upscaler.check(lr, references=wrong).notes
    assert any(note.startswith("in at least") for note in partly)
    assert any(note.startswith("the photo is large") for note in partly)
