"""Learning-rate schedules: warmup, cosines, restarts and time limits."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import pytest

from refsr.errors import DataError
from refsr.train.config import RunConfig, TrainConfig
from refsr.train.distributed import Ranks
from refsr.train.loop import check_config
from refsr.train.schedule import learning_rate

TOP, FLOOR = 1e-3, 1e-6


def test_the_learning_rate_rises_and_falls() -> None:
    config = RunConfig(train=TrainConfig(steps=100, warmup=10, learning_rate=1e-3))
    rates = [learning_rate(step, config) for step in range(101)]
    assert rates[0] == pytest.approx(1e-4)
    assert rates[9] == rates[10] == pytest.approx(1e-3)
    assert rates[55] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rates[100] == pytest.approx(1e-6)
    assert learning_rate(500, config) == pytest.approx(1e-6)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_a_time_limit_takes_the_schedule_with_it() -> None:
    limited = RunConfig(train=TrainConfig(steps=100, warmup=10, learning_rate=1e-3, minutes=2))
    assert learning_rate(10, limited, 60) == pytest.approx((1e-3 + 1e-6) / 2)
    assert learning_rate(10, limited, 120) == pytest.approx(1e-6)
    assert learning_rate(90, limited, 1) == learning_rate(90, limited)  # the steps are ahead
    free = RunConfig(train=dataclasses.replace(limited.train, minutes=0))
    assert learning_rate(10, free, 1e6) == pytest.approx(1e-3)


def rates(**changes: object) -> list[float]:
    """The learning rate of each of 310 steps, ten of them rising, with periods of 100."""
    t = TrainConfig(steps=310, warmup=10, learning_rate=TOP, final_learning_rate=FLOOR, period=100)
    config = RunConfig(train=dataclasses.replace(t, **changes))  # type: ignore[arg-type]
    return [learning_rate(step, config) for step in range(311)]


def test_restarts_begin_at_a_lower_top_each() -> None:
    found = rates(schedule="cosine_restarts")
    assert [found[10], found[110], found[210]] == pytest.approx([TOP, 0.9 * TOP, 0.81 * TOP])
    assert found[60] == pytest.approx((TOP + FLOOR) / 2)
    assert found[160] == pytest.approx((0.9 * TOP + FLOOR) / 2)
    assert found[310] == pytest.approx(FLOOR)  # the end is the end of a period, not a new top
    for start in (10, 110, 210):
        assert all(a > b for a, b in pairwise(found[start : start + 100]))


def test_the_decayed_cosine_only_falls_and_drops_by_gamma() -> None:
    found, whole = rates(schedule="cosine_decayed"), rates()
    assert found[:110] == whole[:110]
    assert all(a > b for a, b in pairwise(found[10:]))
    for step in (110, 160, 210, 260):
        share = (found[step] - FLOOR) / (whole[step] - FLOOR)
        top = 0.9 ** ((step - 10) // 100) * TOP
        assert share == pytest.approx((top - FLOOR) / (TOP - FLOOR))
    assert found[310] == pytest.approx(FLOOR)


def test_without_gamma_the_decayed_cosine_is_the_plain_one() -> None:
    assert rates(schedule="cosine_decayed", gamma=1.0) == rates()
    assert rates(schedule="cosine_restarts", period=300, gamma=0.5) == rates()


def test_no_rate_falls_below_the_final_one() -> None:
    for schedule in ("cosine_restarts", "cosine_decayed"):
        assert min(rates(schedule=schedule, period=1, gamma=0.1)[10:]) == FLOOR


def test_a_time_limit_takes_every_schedule_with_it() -> None:
    t = TrainConfig(
        steps=310, warmup=10, learning_rate=TOP, minutes=3, schedule="cosine_restarts", period=100
    )
    config = RunConfig(train=t)
    assert learning_rate(20, config, 90) == pytest.approx(learning_rate(160, config, 0))
    assert learning_rate(20, config, 200) == pytest.approx(t.final_learning_rate)


def test_a_period_of_no_steps_is_refused() -> None:
    config = RunConfig(train=TrainConfig(schedule="cosine_restarts", period=0))
    with pytest.raises(DataError, match="period = 0 must be at least one step"):
        check_config(config, Ranks())
