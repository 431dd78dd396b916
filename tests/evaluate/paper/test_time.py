"""Forward time and memory by size."""

from __future__ import annotations

import multiprocessing

import numpy as np

from refsr.evaluate.paper.time import measure_forward, textured


def test_forward_time_and_memory_grow_with_the_photo() -> None:
    assert textured(40, 30).shape == (30, 40, 3)
    np.testing.assert_array_equal(textured(40, 30), textured(40, 30))
    with multiprocessing.get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        small, large = (pool.apply(measure_forward, ("ssen", side, side)) for side in (32, 96))
    assert 0 < small["cpu_seconds"] < large["cpu_seconds"]
    assert large["bytes"] > small["bytes"] > 0
