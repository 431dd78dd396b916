"""Simulated references: the same place, misaligned and changed as far as they should be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refsr.arrays import Pixels
from refsr.train import simulate
from refsr.train.simulate import MARGIN, simulate_reference


def test_simulated_references_are_sane(rng: np.random.Generator, natural: Pixels) -> None:
    size = 96
    around = np.ascontiguousarray(natural[: size + 2 * MARGIN, : size + 2 * MARGIN])
    truth = around[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)
    errors: list[float] = []
    invalid = 0
    for _ in range(60):
        ref, validity = simulate_reference(rng, around, natural[::-1, ::-1], size)
        assert ref.shape == (size, size, 3)
        assert validity.shape == (size, size)
        assert ref.dtype == validity.dtype == np.uint8
        assert set(np.unique(validity)) <= {0, 255}
        invalid += int((validity == 0).any())
        errors.append(float(np.abs(ref - truth).mean()))
    assert 5 <= invalid <= 30  # a quarter of them
    elsewhere = natural[::-1, ::-1][:size, :size].astype(float)
    assert np.median(errors) < 0.4 * np.abs(elsewhere - truth).mean()  # it shows the same place


def test_without_residual_or_camera_a_simulation_is_the_patch(
    monkeypatch: pytest.MonkeyPatch, natural: Pixels
) -> None:
    class Still:
        """A random generator that never draws anything out of the ordinary."""

        def exponential(self, _: float) -> float:
            return 0.0

        def random(self) -> float:
            return 1.0

        def normal(self, *_: object) -> NDArray[np.float64]:
            return np.zeros(2)

        def integers(self, low: int, _: int) -> int:
            return low

    monkeypatch.setattr(simulate, "smooth_field", lambda _, size, __: np.zeros((size, size), "f4"))
    around = np.ascontiguousarray(natural[: 64 + 2 * MARGIN, 10 : 74 + 2 * MARGIN])
    still: Any = Still()
    ref, validity = simulate_reference(still, around, around, 64)
    np.testing.assert_array_equal(ref, around[MARGIN:-MARGIN, MARGIN:-MARGIN])
    assert (validity == 255).all()
