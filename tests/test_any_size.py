"""Large photos in blocks, memory counted, jobs announced: what must hold at every size."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from numpy.typing import NDArray

from refsr import RefsrError, Upscaler
from refsr.evaluate.metrics import psnr
from refsr.image.tiling import Tile
from refsr.inference import plan
from refsr.inference.memory import free_memory, in_words, parse_memory, resident
from refsr.inference.plan import (
    MAX_FLOW,
    MIN_FLOW,
    MIN_TILE,
    Estimate,
    JobSize,
    compute_budget,
    reference_bytes,
)
from refsr.registration.color_match import apply_color
from refsr.registration.large_image import HALO, CoarseRegistration, crop_color, register_coarse
from refsr.registration.register import prepare_reference
from refsr.resize import imresize

COST = 8_000.0  # bytes per LR pixel


def job(height: int, width: int) -> JobSize:
    return JobSize(height, width, 3, 4, ())


@lru_cache
def seen_in_blocks(natural: bytes) -> tuple[CoarseRegistration, NDArray[np.uint8]]:
    """A small photo that counts as large, registered to its own truth."""
    truth = np.frombuffer(natural, np.uint8).reshape(768, 1024, 3)
    lr = imresize(truth, scale=0.25)
    overview = register_coarse(lr, (prepare_reference(truth),), most_pixels=20_000)
    return overview, truth


@pytest.fixture(scope="module")
def overview(natural: NDArray[np.uint8]) -> CoarseRegistration:
    grown = imresize(natural, scale=4.0)
    texture = np.random.default_rng(3).normal(0, 14, grown.shape[:2])[..., None]
    truth = np.clip(grown + texture, 0, 255).astype(np.uint8)
    return seen_in_blocks(truth.tobytes())[0]


# A photo that is registered shrunk


def test_a_large_photo_is_seen_shrunk_and_in_blocks(overview: CoarseRegistration) -> None:
    assert overview.shrunk
    assert overview.composite.useful == (True,)
    registration = overview.composite.registrations[0]
    assert abs(registration.zoom - 1.0) < 0.03  # of the photo itself, not of the shrunk one
    blocks = overview.blocks()
    assert len(blocks) > 1
    covered = np.zeros(overview.lr.shape[:2], int)
    for block in blocks:
        covered[block.core_rows, block.core_cols] += 1
    assert (covered == 1).all()


def test_blocks_are_registered_at_full_size(overview: CoarseRegistration) -> None:
    """The reference lies exactly on the photo: each field says so, to a twentieth of a pixel."""
    for block in overview.blocks()[:2]:
        found = overview.block(block)
        height, width = found.lr.shape[:2]
        assert found.registrations[0].xy_ref.shape == (2 * height, 2 * width, 2)
        x = np.arange(2 * block.cols.start, 2 * block.cols.stop) * 2 + 0.5
        y = np.arange(2 * block.rows.start, 2 * block.rows.stop) * 2 + 0.5
        error = np.abs(found.registrations[0].xy_ref - np.stack(np.meshgrid(x, y), -1)) / 4
        valid = found.registrations[0].validity > 0.5
        assert valid.mean() > 0.8
        assert np.median(error[valid]) < 0.05


def test_neighbouring_blocks_agree_where_they_overlap(overview: CoarseRegistration) -> None:
    """No seams: the same place is drawn the same from either block."""
    blocks = overview.blocks()
    first = blocks[0]
    second = next(b for b in blocks if b.rows == first.rows and b.cols != first.cols)
    edge = first.core_cols.stop
    rows = slice(first.core_rows.start, first.core_rows.stop)
    drawn: list[NDArray[np.float32]] = []
    for block in (first, second):
        at = slice(edge - 8 - block.cols.start, edge + 8 - block.cols.start)
        aligned, _ = overview.block(block).aligned(rows, at)
        drawn.append(aligned)
    assert np.abs(drawn[0] - drawn[1]).mean() * 255 < 1.0


def test_a_foreign_reference_is_found_out_in_a_large_photo(natural: NDArray[np.uint8]) -> None:
    foreign = np.random.default_rng(0).integers(0, 256, (200, 260, 3), np.uint8)
    found = register_coarse(natural, (prepare_reference(foreign),), most_pixels=20_000)
    assert not found.composite.matched
    assert len(found.blocks()) == 1


def test_the_colors_of_a_block_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    color = rng.uniform(0.8, 1.2, (6, 8, 6)).astype(np.float32) * (1, 1, 1, 0.1, 0.1, 0.1)
    shape, tile = (180, 240, 3), Tile(*(slice(32, 160), slice(64, 224)) * 2)
    pixels = np.full((4 * 64, 4 * 64, 3), 0.5, np.float32)
    of_whole = apply_color(pixels, color.astype(np.float32), shape, slice(64, 128), slice(100, 164))
    part = crop_color(color.astype(np.float32), shape, tile)
    of_block = apply_color(pixels, part, (128, 160, 3), slice(32, 96), slice(36, 100))
    assert np.abs(of_whole - of_block).max() < 0.01


def test_in_blocks_the_result_is_the_same(
    natural: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = np.ascontiguousarray(imresize(natural, scale=3.0)[:480])
    photo = imresize(truth, scale=0.25)
    upscaler = Upscaler.load("detail-transfer")
    upscaler.set_reference(truth)
    whole = upscaler.upscale(photo)
    monkeypatch.setattr(plan, "MAX_FLOW", 12_000)
    monkeypatch.setattr(plan, "MIN_FLOW", 12_000)
    blocks = upscaler.upscale(photo)
    assert blocks.similarity.shape == blocks.provenance.shape == photo.shape[:2]
    assert blocks.report["references"][0]["matched"] == whole.report["references"][0]["matched"]
    loss = psnr(whole.photo.as_uint8(), truth, border=4) - psnr(
        blocks.photo.as_uint8(), truth, border=4
    )
    assert loss < 1.3  # 1.17 measured, at 62 dB: with a perfect reference the smallest error counts


# Memory and time


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (750, 1000), (2000, 3000)])
def test_a_job_keeps_to_what_it_is_allowed_or_says_so(height: int, width: int) -> None:
    for allowed in (0, 300_000_000, 1_500_000_000, 8_000_000_000):
        budget = compute_budget(job(height, width), allowed, COST)
        least = budget.tile_pixels == MIN_TILE
        assert budget.memory <= allowed or least
        assert budget.memory >= job(height, width).held_bytes


def test_more_references_leave_less_for_tiles() -> None:
    reference = prepare_reference(np.zeros((400, 500, 3), np.uint8))
    alone = replace(job(750, 1000), references=(reference,))
    several = replace(alone, references=(reference,) * 4)
    budgets = [compute_budget(one, 1_000_000_000, COST) for one in (job(750, 1000), alone, several)]
    assert budgets[0].tile_pixels >= budgets[1].tile_pixels > budgets[2].tile_pixels
    assert MIN_FLOW <= budgets[2].flow_pixels <= budgets[1].flow_pixels <= MAX_FLOW


def test_finding_a_references_features_is_counted() -> None:
    """For a tiny photo that is the most that a job takes: 12 MP held 452 MB, measured."""
    reference = prepare_reference(np.zeros((3000, 4000, 3), np.uint8))
    alone = replace(job(1, 1), references=(reference,))
    assert 452_000_000 < compute_budget(alone, 1_500_000_000, COST).memory < 600_000_000
    assert compute_budget(job(1, 1), 1_500_000_000, COST).memory < 300_000_000


def test_the_copies_that_the_work_makes_of_a_reference_are_counted_before() -> None:
    """Else the same job would be cut up otherwise when it is done a second time."""
    reference = prepare_reference(np.zeros((400, 500, 3), np.uint8))
    before = reference_bytes(reference)
    reference.prefiltered(1.2)
    assert len(reference.filtered) == 1
    assert reference_bytes(reference) == before > 2 * reference.pixels.nbytes


def test_a_job_is_announced_before_it_begins(natural: NDArray[np.uint8]) -> None:
    upscaler = Upscaler.load("detail-transfer", max_memory="2GB")
    told: list[Estimate] = []
    seen: list[float] = []

    def announce(estimate: Estimate) -> None:
        assert not seen
        told.append(estimate)

    upscaler.upscale(natural[:20, :30], scale=3, announce=announce, progress=seen.append)
    assert [(one.width, one.height, one.allowed) for one in told] == [(90, 60, 2 * 10**9)]
    assert 0 < told[0].seconds < 20
    assert told[0].result <= told[0].memory < 10**9


def test_a_result_that_memory_cannot_hold_is_refused_in_words(
    natural: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "free_memory", lambda: 1_000_000)
    monkeypatch.setattr(plan, "resident", lambda: 0)
    with pytest.raises(RefsrError, match=r"takes \d+ MB of memory, but only 1 MB are free"):
        Upscaler.load("detail-transfer").upscale(natural)


def test_amounts_in_words() -> None:
    assert [in_words(a) for a in (0, 4.2e6, 999e6, 1.45e9)] == ["0 MB", "4 MB", "999 MB", "1.4 GB"]
    assert parse_memory(7) == 7
    assert 0 < parse_memory("auto") <= 1_500_000_000
    free = free_memory()
    assert free is None or free > 0
    assert resident() > 10_000_000
    with pytest.raises(RefsrError, match="not an amount of memory"):
        Upscaler.load("detail-transfer", max_memory="lots")


def test_the_halo_of_blocks_holds_that_of_tiles() -> None:
    assert HALO >= plan.TILE_HALO
    assert HALO % 32 == 0
