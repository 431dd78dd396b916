"""The time that is left of a job."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from refsr.inference.network import Network
from refsr.inference.plan import DEFAULT_COST
from refsr.web.eta import EtaEstimator
from refsr.web.tasks import FIRST_NETWORK, WorkerState, upscale


def test_the_time_left_counts_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    told: list[float] = []
    eta = EtaEstimator(lambda message: told.append(message["seconds_left"]), 2, (1.0, 1.0))

    class Foreseen:
        seconds = 10.0

    eta.announce(Foreseen())  # type: ignore[arg-type]
    now[0] = 8.0  # registration was foreseen with 4 s, took twice that
    eta.progress(0.4)
    now[0] = 20.0
    eta.progress(1.0)
    eta.next_run()
    now[0] = 32.0
    eta.progress(1.0)
    assert told == pytest.approx([20.0, 12.0, 12.0, 12.0, 0.0]), "registration says nothing of it"
    now[0] = 34.0  # the files are written
    assert eta.finish() == pytest.approx((34 / 20, 26 / 12))


def test_the_pace_of_a_first_job_is_measured_as_its_network_begins() -> None:
    """That of the process's start is long out of date, where others have come meanwhile."""

    class Foreseen:
        seconds = 10.0

    for runs, told_first, then in ((2, 20.0, 36.0), (1, 30.0, None)):
        told: list[float] = []
        eta = EtaEstimator(
            lambda message, to=told: to.append(message["seconds_left"]), runs, (1.0, 1.0), lambda: 3
        )
        eta.announce(Foreseen())  # type: ignore[arg-type]
        if then is not None:
            eta.progress(0.4)  # the registration
        assert told == [told_first, then][:runs]


def test_only_the_first_job_measures_its_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []
    pace = Network.pace
    monkeypatch.setattr(Network, "pace", lambda self: measured.append(pace(self)) or 1e-3)
    PIL.Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "photo", format="png")
    state = WorkerState("ssen", 450_000_000, 1, 4_000_000, 100_000_000)
    assert state.first_ratio == pytest.approx(1e-3 / DEFAULT_COST[1])
    begun, told = len(measured), list[dict[str, Any]]()
    task = {"folder": str(tmp_path), "names": {"photo": "small.png"}, "scale": 4, "model": "ssen"}
    upscale(state, task, told.append)
    assert len(measured) == begun + 1
    assert told[0]["seconds_left"] == pytest.approx(64 * 1e-3 * FIRST_NETWORK)
    assert list(state.ratios) == [("ssen", "true")]
    upscale(state, task, told.append)
    assert len(measured) == begun + 1
