"""A job's progress: a share from 0 to 1 that never goes back."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[float], None]


def rising(progress: Progress | None) -> Progress:
    """``progress`` that never goes back, when tiles are begun again."""
    highest = 0.0

    def report(done: float) -> None:
        nonlocal highest
        if progress and done > highest:
            highest = done
            progress(done)

    return report


def partly(progress: Progress, before: float) -> Progress:
    """``progress`` of what is left when the share ``before`` is done."""
    return lambda done: progress(before + (1.0 - before) * done)
