"""Keeping image libraries quiet while they read photos of unknown origin."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Generator


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """Suppress the log of OpenCV, and Python's warnings and logging of other libraries.

    Only logging that nobody handles is suppressed, which Python would print. Enter it before OpenCV
    is imported, which reads its log level once. ``python -W`` keeps the rest.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    last_resort = logging.lastResort
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            logging.lastResort = logging.NullHandler()
        try:
            yield
        finally:
            logging.lastResort = last_resort
