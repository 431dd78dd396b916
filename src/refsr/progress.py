"""Progress callbacks: they take the finished share of a job, 0 to 1, which never decreases."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]


def rising(progress: Progress | None) -> Progress:
    """``progress`` that skips decreasing values, as when tiles are computed again."""
    highest = 0.0

    def report(done: float) -> None:
        nonlocal highest
        if progress and done > highest:
            highest = done
            progress(done)

    return report


def partly(progress: Progress, before: float) -> Progress:
    """A callback for the rest of a job of which the share ``before`` is done."""
    return lambda done: progress(before + (1.0 - before) * done)
