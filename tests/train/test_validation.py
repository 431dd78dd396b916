"""Validation: the scores of every reference, and the sample sheet."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

from refsr.errors import DataError
from refsr.train.trainer import Trainer
from refsr.train.validation import Validation
from runs import tiny_run


def test_validation_measures_the_gain_of_the_reference(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path)
    benchmark = dataclasses.replace(config.data, benchmark=str(photos))
    validation = Validation(dataclasses.replace(config, data=benchmark))
    scores, sheet = validation.run(Trainer(config).ema)
    assert scores.keys() == {
        "benchmark/blank",
        *(f"simulated/{kind}" for kind in ("blank", "given", "mismatched", "gap")),
    }
    gap = scores["simulated/given"] - scores["simulated/blank"]
    assert scores["simulated/gap"] == pytest.approx(gap)
    assert all(math.isfinite(value) for value in scores.values())
    assert sheet is not None
    assert sheet.dtype == np.uint8


def test_the_best_weights_are_chosen_by_what_the_run_names(photos: Path, tmp_path: Path) -> None:
    config = tiny_run(photos, tmp_path)
    data = dataclasses.replace(config.data, benchmark=str(photos))

    def validation(*best: str) -> Validation:
        train = dataclasses.replace(config.train, best=best)
        return Validation(dataclasses.replace(config, data=data, train=train))

    scores = {"benchmark/blank": 20.0, "simulated/given": 30.0, "simulated/blank": 22.0}
    assert validation().best_by(scores) == pytest.approx(24.0)
    assert validation("simulated/given").best_by(scores) == 30.0
    assert validation("simulated/given", "benchmark/blank").best_by(scores) == 25.0
    for wrong in ("patch_pairs/given", "benchmark/given", "simulated/given/haarpsi", "simulated"):
        with pytest.raises(DataError, match=rf"best = '{wrong}' is no score.*simulated/given"):
            validation(wrong)
