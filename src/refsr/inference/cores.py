"""Processor cores: how many this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psutil


def usable_cores() -> int:
    """Logical cores that this process may run on, 1 or more; its CPU affinity counts."""
    count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)
    if count is not None:  # Python 3.13 and newer
        return count() or 1
    process: Any = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has no affinity
        return len(process.cpu_affinity())
    return os.cpu_count() or 1
