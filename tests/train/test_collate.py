"""Batches: their arrays, their order, and the worker threads behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refsr.train.collate import batches, stack
from refsr.train.sampler import PatchSampler
from runs import tiny_run


def test_batches_depend_on_neither_the_workers_nor_the_first_step(
    photos: Path, tmp_path: Path
) -> None:
    config = tiny_run(photos, tmp_path).data
    first, again = PatchSampler(config, 3), PatchSampler(config, 3, workers=3)
    one, three = list(batches(first, 0, 7, 2)), list(batches(again, 0, 7, 2))
    late = list(batches(again, 5, 7, 2))
    assert len(one) == len(three) == 7
    assert len(late) == 2
    for a, b in zip(one + one[5:], three + late, strict=True):
        assert a.keys() == {"lr", "hr", "ref", "validity", "condition"}
        for key in a:
            assert np.array_equal(a[key], b[key]), key


def test_leaving_early_stops_the_workers(
    monkeypatch: pytest.MonkeyPatch, photos: Path, tmp_path: Path
) -> None:
    sampler = PatchSampler(tiny_run(photos, tmp_path).data, 1, workers=2)
    made: list[int] = []
    sample = sampler.sample
    monkeypatch.setattr(sampler, "sample", lambda *at: made.append(1) or sample(*at))
    ahead: Any = batches(sampler, 0, 1_000_000, 1)
    assert next(ahead)["lr"].shape == (1, 3, 16, 16)
    ahead.close()
    assert 1 <= len(made) <= 5  # the one that was used, and four ahead


def test_batches_are_as_the_network_wants_them(photos: Path, tmp_path: Path) -> None:
    sampler = PatchSampler(tiny_run(photos, tmp_path).data, 1)
    batch = stack([sampler.sample(0, index) for index in range(5)])
    shapes = {"lr": (5, 3, 16, 16), "hr": (5, 3, 64, 64), "ref": (5, 3, 64, 64)}
    shapes["validity"] = (5, 1, 64, 64)
    for key, shape in shapes.items():
        assert batch[key].shape == shape
        assert batch[key].dtype == np.float32
        assert 0 <= batch[key].min() <= batch[key].max() <= 1
