"""The streams of the process: what libraries write to them is kept from the reader."""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from collections.abc import Generator

READERS = (["upscale"], ["batch"], ["check"], ["explain"])  # their photos come from anywhere


@contextlib.contextmanager
def quiet_libraries() -> Generator[None]:
    """What OpenCV, Pillow and NumPy think of a photo is no concern of the user's."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when OpenCV is loaded
    with contextlib.suppress(AttributeError, ValueError):  # a file name may hold any bytes
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    with warnings.catch_warnings():
        if not sys.warnoptions:  # python -W asks for them
            warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def only_our_words(command: list[str]) -> Generator[None]:
    """Keep stderr to this program where it reads photos: libtiff and libpng have their own say.

    They write to file descriptor 2 itself, which therefore leads nowhere until the command ends.
    """
    ours = sys.stderr
    try:
        ours_is_theirs = ours.fileno() == 2
    except (AttributeError, OSError, ValueError):  # there is none, or a test holds it
        ours_is_theirs = False
    if not ours_is_theirs or sys.warnoptions or command[:1] not in READERS:
        yield
        return
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    with open(  # a descriptor has no path
        kept, "w", buffering=1, encoding=ours.encoding, errors="backslashreplace", closefd=False
    ) as words:
        sys.stderr = words
        try:
            yield
        finally:
            sys.stderr = ours
            words.flush()
            os.dup2(kept, 2)
            os.close(kept)
