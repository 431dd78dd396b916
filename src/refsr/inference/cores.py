"""Processor cores: how many this process may use."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import psutil

from refsr.inference import cgroup


def usable_cores() -> int:
    """Logical cores that this process may run on, 1 or more: its affinity and a container's limit.

    More threads than a container's CPU time allows for are stopped together, for most of the time.
    """
    within = cgroup.usable_cores()
    cores = affinity_cores()
    return cores if within is None else max(1, min(cores, math.ceil(within)))


def affinity_cores() -> int:
    """Logical cores that this process may run on, 1 or more; its CPU affinity counts."""
    count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    if count is not None:  # Python 3.13 and newer
        return count() or 1
    process: Any = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has no affinity
        return len(process.cpu_affinity())
    return os.cpu_count() or 1
