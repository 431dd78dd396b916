"""What a network is told: numbers that mean one thing each, and nothing where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest

from kernels import gaussian, sharpening
from refsr.degradation.blind_estimate import nothing_known
from refsr.degradation.condition import CONDITIONS, condition, nothing_told


def test_a_clean_photo_is_told_as_such() -> None:
    clean = condition(0.0, 0.0, None, None)
    assert clean.tolist() == [1, 0, 0, 0, 0]
    assert clean.dtype == np.float32
    assert nothing_told().tolist() == [0] * len(CONDITIONS)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("aliasing", [(x, 0.0, None, None) for x in (0.0, 0.2, 0.5, 1.0)]),
        ("noise", [(0.0, x, None, None) for x in (0.0, 1.0, 5.0, 20.0)]),
        ("compression", [(0.0, 0.0, x, None) for x in (None, 95, 75, 40, 20)]),
        (
            "amplified",
            [(0.0, 0.0, None, x) for x in (sharpening(), None, gaussian(0.6), gaussian(1.0))],
        ),
    ],
)
def test_each_number_rises_alone(name: str, values: list[tuple[float, float, None, None]]) -> None:
    told = np.stack([condition(*value) for value in values])
    column = CONDITIONS.index(name)
    assert (np.diff(told[:, column]) > 0.05).all()
    assert np.abs(told).max() <= 2.5
    assert (np.ptp(np.delete(told, column, axis=1), axis=0) == 0).all()


def test_a_photo_that_shows_nothing_is_told_as_unknown() -> None:
    assert not nothing_known(75).told().any()
