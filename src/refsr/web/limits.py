"""The limits of the server: sizes, counts and times, and the messages about them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from refsr.inference.memory import in_words

CHECK_MEMORY_SHARE = 0.3  # of the memory, for checks and downloads; the rest is for upscaling


@dataclass(frozen=True)
class Limits:
    """The limits of the server; `/api/info` has them under the same names."""

    upload: int = 100_000_000  # bytes of one request: photo and references together
    references: int = 8  # all of them are registered
    photo_pixels: int = 4_000_000  # of the small photo: its result has at most 64 megapixels
    own_size_pixels: int = 25_000_000  # of a photo that is to keep its size
    reference_pixels: int = 100_000_000
    waiting: int = 32  # jobs in the queue
    waiting_each: int = 4  # of them, from one client
    kept: int = 24  # finished jobs whose files still exist
    keep_seconds: float = 1800.0  # since the last request about a job

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
