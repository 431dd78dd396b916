"""Fig. 7: the pixel that is chosen, and the statistics of its samples."""

from __future__ import annotations

import numpy as np
import pytest

from refsr.arrays import Pixels
from refsr.evaluate.paper.fig7 import most_detailed_pixel, statistics
from refsr.report.explain import Explanation
from refsr.resize import imresize


def test_the_figures_pixel_lies_where_detail_was_lost(natural: Pixels) -> None:
    hr = np.full((192, 256, 3), 128, np.uint8)
    hr[80:100, 120:140] = np.random.default_rng(0).integers(0, 255, (20, 20, 3))
    hr[80:100, 180:200] = 2 * (np.random.default_rng(1).integers(0, 64, (20, 20, 3))) + 64
    lr = imresize(hr, scale=0.25)
    everywhere = np.ones(lr.shape[:2], np.float32)
    x, y = most_detailed_pixel(hr, lr, everywhere)
    assert 116 <= x < 144
    assert 76 <= y < 104
    right = everywhere * (np.arange(64) > 40)
    assert 176 <= most_detailed_pixel(hr, lr, right)[0] < 204
    assert most_detailed_pixel(hr, lr, 0 * everywhere) == (x, y)


def test_how_far_the_samples_reach() -> None:
    blank = np.zeros((4, 4, 3), np.uint8)
    places = np.array([[10, 10], [13, 14], [10, 18], [40, 10]], np.float32)
    found = Explanation(
        at=(40, 40),
        layers=1,
        lr=blank,
        corrected=False,
        sr=blank,
        sr_origin=(0, 0),
        source=blank,
        xy=places,
        xy_identity=places[0],
        strength=np.array([0.4, 0.4, 0.2, 0.0], np.float32),
        borrowed=np.ones(4, bool),
    )
    facts = statistics(found)
    assert facts["samples"] == 4
    assert facts["mean_modulation"] == pytest.approx(0.25)
    assert (facts["reach_half"], facts["reach_nine_tenths"]) == (5.0, 8.0)
