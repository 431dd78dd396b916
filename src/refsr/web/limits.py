"""The limits of the server: sizes, counts and times, and the messages about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from refsr.inference.memory import in_words
from refsr.resize import SCALE

CHECK_MEMORY_SHARE = 0.3  # of the memory, for checks and downloads; the rest is for upscaling
DEFAULT_PHOTO_PIXELS = 4_000_000


@dataclass(frozen=True)
class Limits:
    """The limits of the server; `/api/info` has them under the same names."""

    upload: int = 100_000_000  # bytes of one request: photo and references together
    references: int = 8  # all of them are registered
    photo_pixels: int = DEFAULT_PHOTO_PIXELS  # of a photo that is enlarged four times
    own_size_pixels: int = 25_000_000  # of a photo that is to keep its size
    reference_pixels: int = 100_000_000
    waiting: int = 32  # jobs in the queue
    waiting_each: int = 4  # of them, from one client
    kept: int = 24  # finished jobs whose files still exist
    kept_downloads: int = 6  # files of one job that were written for a download
    keep_seconds: float = 1800.0  # since the last request about a job
    unread_seconds: float = 300.0  # the same, of a job that waits or works: then it is cancelled
    check_seconds: float = 600.0  # that a check or a download may take
    upscale_seconds: float = 7200.0  # that a job may take

    @staticmethod
    def with_photo_pixels(photo_pixels: int, upload: int) -> Limits:
        """Limits for photos of at most ``photo_pixels``; what may keep its size grows along."""
        own_size = max(Limits.own_size_pixels, SCALE * photo_pixels)
        return Limits(upload=upload, photo_pixels=photo_pixels, own_size_pixels=own_size)

    def messages(self) -> dict[str, str]:
        """The error messages by limit."""
        return {
            "upload": f"Photos of more than {in_words(self.upload)} together are not accepted.",
            "references": f"At most {self.references} references are accepted.",
            "queue": "Too many photos are waiting; try again in a few minutes.",
            "queue_each": f"You have {self.waiting_each} photos waiting; wait until one is done.",
        }

    def as_json(self) -> dict[str, Any]:
        """The numbers and, under "words", the messages."""
        return {**asdict(self), "words": self.messages()}


def most_pixels(scale: int, photo_pixels: int, own_size_pixels: int) -> int:
    """Pixels of the largest photo at a scale: results have at most 16 times ``photo_pixels``."""
    return max(photo_pixels, own_size_pixels if scale == 1 else SCALE**2 * photo_pixels // scale**2)
