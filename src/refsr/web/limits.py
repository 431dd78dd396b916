"""What the server takes: sizes, counts and times, in one place and in words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from refsr.inference.memory import in_words

FORMATS = ("png", "jpg", "webp", "tif", "avif")  # of a download
LOOKING = 0.3  # share of the memory that belongs to looking and writing; the rest works


@dataclass(frozen=True)
class Limits:
    """What the server takes."""

    upload: int = 100_000_000  # bytes of one request: photo and references together
    references: int = 8  # one more would be an album, which is looked through on a disk
    photo_pixels: int = 4_000_000  # of the small photo: its result has at most 64 megapixels
    reference_pixels: int = 100_000_000
    waiting: int = 32  # jobs in the queue
    waiting_each: int = 4  # of them, from one client
    kept: int = 24  # finished jobs whose files are still there
    keep_seconds: float = 1800.0  # since anybody last asked for one

    def words(self) -> dict[str, str]:
        """The sentences with which the server refuses more."""
        return {
            "upload": f"Photos of more than {in_words(self.upload)} together are not taken here.",
            "references": f"At most {self.references} references are taken here.",
            "queue": "Too many photos are waiting already; try again in a few minutes.",
            "queue_each": f"You have {self.waiting_each} photos waiting already; let one finish.",
        }

    def as_json(self) -> dict[str, Any]:
        """For the page and for programs: the numbers, and the sentences beside them."""
        return {**asdict(self), "words": self.words()}
