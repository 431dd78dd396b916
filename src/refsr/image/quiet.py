"""Keeping image libraries quiet while they read photos of unknown origin."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """Suppress the log of OpenCV and Python warnings of Pillow and NumPy.

    Enter it before OpenCV is imported, which reads its log level once. ``python -W`` keeps the
    warnings.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
        yield
