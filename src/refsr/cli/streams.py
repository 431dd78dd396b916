"""The standard streams of the process: what native libraries write to stderr is discarded."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator


@contextlib.contextmanager
def silent_native_stderr() -> Generator[None]:
    """Discard what libtiff and libpng write to stderr; ``sys.stderr`` still works.

    They write to file descriptor 2 itself, which leads to the null device until the end. Nothing is
    done where ``sys.stderr`` is not that descriptor, or with ``python -W``.
    """
    original = sys.stderr
    try:
        is_descriptor_2 = original.fileno() == 2
    except (AttributeError, OSError, ValueError):  # closed, or captured by a test
        is_descriptor_2 = False
    if not is_descriptor_2 or sys.warnoptions:
        yield
        return
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    with open(  # a descriptor has no path
        saved,
        "w",
        buffering=1,
        encoding=original.encoding,
        errors="backslashreplace",
        closefd=False,
    ) as stream:
        sys.stderr = stream
        try:
            yield
        finally:
            sys.stderr = original
            stream.flush()
            os.dup2(saved, 2)
            os.close(saved)
