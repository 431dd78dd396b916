"""Tiles cover the photo once, stay on the grid and within the budget."""

import numpy as np
import pytest

from refsr.image.tiling import cut


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 500), (31, 33), (225, 300), (750, 1000)])
@pytest.mark.parametrize("budget", [0, 10_000, 100_000])
@pytest.mark.parametrize("halo", [16, 32])
def test_cores_cover_every_pixel_once(height: int, width: int, budget: int, halo: int) -> None:
    seen = np.zeros((height, width), int)
    for tile in cut(height, width, halo, 32, budget):
        seen[tile.core_rows, tile.core_cols] += 1
        assert tile.rows.start % 32 == 0
        assert tile.cols.start % 32 == 0
        assert tile.core_rows.start == 0 or tile.core_rows.start - tile.rows.start == halo
        assert tile.rows.stop == height or tile.rows.stop % 32 == 0
        assert tile.rows.stop == height or tile.rows.stop - tile.core_rows.stop == halo
        area = np.arange(height * width).reshape(height, width)[tile.rows, tile.cols]
        core = np.arange(height * width).reshape(height, width)[tile.core_rows, tile.core_cols]
        assert (area[tile.core(1)] == core).all()
        assert tile.pixels == area.size <= max(budget, 96 * 96)
    assert (seen == 1).all()


def test_a_photo_within_the_budget_is_one_tile() -> None:
    assert len(cut(225, 300, 32, 32, 256 * 320)) == 1


def test_each_row_is_parted_by_itself() -> None:
    """Two rows of 416 and 384 LR pixels: four tiles are as wide as the upper one may be."""
    tiles = cut(768, 1024, 16, 32, 148_000)
    rows = [one.rows.start for one in tiles]
    assert [rows.count(row) for row in dict.fromkeys(rows)] == [4, 3]
    assert sum(one.pixels for one in tiles) < 1.125 * 768 * 1024
