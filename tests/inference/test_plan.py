"""The estimate of time goes by the machine as it is; the tiles do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from refsr.inference.plan import DEFAULT_COST, GRID, TILE_WORK, TIMED_FROM, JobSize, make_plan
from refsr.weights.models import Model


class Paced:
    """A network of a known pace."""

    passes = 1
    model = Model("paced", Path("paced.onnx"), GRID, {})

    def __init__(self, pace: float) -> None:
        self.seconds, self.sides = pace, list[int]()

    def pace(self, side: int) -> float:
        self.sides.append(side)
        return self.seconds

    def probe(self) -> tuple[float, float]:
        return DEFAULT_COST[0], self.seconds


@pytest.mark.parametrize("width", [TIMED_FROM // 150, 4_000])
def test_a_timed_estimate_follows_the_pace_and_the_tiles_do_not(width: int) -> None:
    size = JobSize(150, width, 3, 4, ())
    plans = []
    for pace in (1e-5, 2e-4):
        network: Any = Paced(pace)
        plans.append(make_plan(size, network, 10**9, timed=True))
        seen = sum(tile.pixels for tile in plans[-1].tiles(32))
        assert plans[-1].estimate.seconds == pytest.approx(seen * pace * TILE_WORK)
    assert plans[0].tiles(32) == plans[1].tiles(32)


def test_a_small_photo_or_an_untimed_one_is_not_measured() -> None:
    network: Any = Paced(1.0)
    make_plan(JobSize(150, TIMED_FROM // 150, 3, 4, ()), network, 10**9)
    make_plan(JobSize(20, 30, 3, 4, ()), network, 10**9, timed=True)
    assert network.sides == []
