"""Validation: the scores of every reference, and the sample sheet."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

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
