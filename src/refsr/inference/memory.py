"""Memory: parsing and formatting amounts, free memory, and what this process holds."""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress

import psutil

from refsr.errors import DataError
from refsr.inference import cgroup

DEFAULT_LIMIT = 1_500_000_000  # bytes; more makes no job faster
OPENCV_NO_MEMORY = -4  # cv2.error's code of a failed allocation
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def parse_memory(amount: int | str) -> int:
    """Bytes of "2GB", "800MB", a plain number, or "auto": see ``default_memory``.

    Raises DataError.
    """
    text = str(amount)
    if text.strip().lower() == "auto":
        return default_memory()
    match = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMGT]?B?)\s*", text, re.IGNORECASE)
    unit = match.group(2).upper() if match else ""
    unit = unit if unit in UNITS else unit + "B"
    if not match or unit not in UNITS:
        raise DataError(
            f"{text[:40]!r} is not an amount of memory; write for example 2GB or 800MB."
        )
    return int(float(match.group(1)) * UNITS[unit])


def in_words(amount: float) -> str:
    """An amount of bytes in words: "1.4 GB", "850 MB"."""
    return f"{amount / 1e9:.1f} GB" if amount >= 0.9995e9 else f"{round(amount / 1e6)} MB"


def default_memory() -> int:
    """Half of the free memory, at most 1.5 GB."""
    free = free_memory()
    return DEFAULT_LIMIT if free is None else min(DEFAULT_LIMIT, free // 2)


def free_memory() -> int | None:
    """Bytes that programs can still allocate, within a container's limit; None where unknown."""
    found: list[int] = []
    with suppress(OSError, psutil.Error):
        found.append(psutil.virtual_memory().available)
    within = cgroup.free_memory()
    if within is not None:
        found.append(within)
    return max(0, min(found)) if found else None


def resident() -> int:
    """Bytes of physical memory that this process holds now; 0 where unknown."""
    with suppress(OSError, psutil.Error):
        return psutil.Process().memory_info().rss
    return 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed; OpenCV has a code for it."""
    return isinstance(error, MemoryError) or getattr(error, "code", None) == OPENCV_NO_MEMORY


def trim_heap() -> None:
    """Return freed memory to the system: glibc keeps blocks of up to 32 MB for later."""
    with suppress(OSError, AttributeError):  # no glibc: macOS, Windows, musl
        ctypes.CDLL("libc.so.6").malloc_trim(0)
