"""The time that a job still takes, estimated from its progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from refsr.inference.plan import Estimate


class EtaEstimator:
    """Reports the seconds left of one job.

    A job with references is a registration and two runs of the network: with the references and,
    for the strength slider, without. The speed of the registration says nothing about the network:
    the first progress, which is the registration's share of the first run, starts the network's
    own timing.
    """

    def __init__(
        self,
        send: Callable[[dict[str, Any]], None],
        runs: int,
        ratios: tuple[float, float],
        measure: Callable[[], float] | None = None,
    ) -> None:
        """``ratios``: actual per estimated seconds, of a job with references and of the network.

        ``measure``: measures the second one when the network starts. It is for the first job of a
        process: the ratio measured at its start may be long out of date.
        """
        self.send, self.runs, self.measure = send, runs, measure
        self.job_ratio, self.network_ratio = ratios
        self.job_started = self.network_started = time.perf_counter()
        self.run_seconds = self.network_seconds = 0.0  # estimated: first run; network in each run
        self.finished_runs = 0
        self.registration_share = 0.0  # of the first run
        self.registered = runs == 1

    def announce(self, estimate: Estimate) -> None:
        """Take the upscaler's estimate; that of the first run counts."""
        if self.run_seconds:
            return
        self.job_started = time.perf_counter()
        if self.registered:
            self.start_network()
        self.run_seconds = self.network_seconds = estimate.seconds
        ratio = self.network_ratio if self.registered else self.job_ratio
        self.send({"seconds_left": self.runs * self.run_seconds * ratio})

    def progress(self, done: float) -> None:
        """Take the finished share of the current run, 0..1."""
        if not self.registered:
            self.registered, self.registration_share = True, done
            self.network_seconds = self.run_seconds * (1 - done)
            self.start_network()
        first = self.registration_share if not self.finished_runs else 0.0
        self.report(self.finished_runs + (done - first) / max(1 - first, 1e-9))

    def start_network(self) -> None:
        """Start the timing of the network."""
        if self.measure is not None:
            self.network_ratio = self.measure()
        self.network_started = time.perf_counter()

    def next_run(self) -> None:
        """The first run is finished and there is a second one."""
        self.finished_runs = 1
        self.report(1.0)

    def report(self, runs: float) -> None:
        """Send the seconds left after so many ``runs`` of the network."""
        if runs > 0.05 * self.runs:
            elapsed = time.perf_counter() - self.network_started
            self.network_ratio = elapsed / (runs * max(self.network_seconds, 1e-9))
        left = max(0.0, self.runs - runs) * self.network_seconds * self.network_ratio
        self.send({"seconds_left": left})

    def finish(self) -> tuple[float, float]:
        """The job is done, its files written; returns the ``ratios`` for the next job."""
        runs, now = self.finished_runs + 1, time.perf_counter()
        elapsed = now - self.network_started
        self.network_ratio = elapsed / (runs * max(self.network_seconds, 1e-9))
        if self.runs > 1:
            self.job_ratio = (now - self.job_started) / (runs * max(self.run_seconds, 1e-9))
        return self.job_ratio, self.network_ratio
