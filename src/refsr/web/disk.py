"""The disk of the server's temporary files: whether it is full, or would be."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

DISK_FULL = "The server's disk is full; try again later, or ask who runs it to make room."
FULL = (errno.ENOSPC, errno.EDQUOT)


class DiskFull(OSError):
    """There is less room than a job takes."""


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what caused it, means that there is no room on the disk."""
    while error is not None:
        # NumPy has no number for it: "4096 requested and 512 written".
        full = isinstance(error, OSError) and error.errno in FULL
        if full or (isinstance(error, OSError) and str(error).endswith(" written")):
            return True
        error = error.__cause__
    return False


def require_space(folder: Path, amount: int) -> None:
    """Raises DiskFull where the disk of a folder has less than ``amount`` bytes free."""
    if shutil.disk_usage(folder).free < amount:
        raise DiskFull(errno.ENOSPC, "too little room", str(folder))
