"""Helpers of the web tests: uploads, and what the server answers."""

from __future__ import annotations

import io
import tempfile
from typing import Any

import httpx
import numpy as np
import PIL.Image
from numpy.typing import NDArray

HOST = "http://127.0.0.1"
WORKER = {"max_memory": 10**9, "threads": 1, "photo_pixels": 270_000, "reference_pixels": 10**7}
WORKER["own_size_pixels"] = 2 * 10**6
PATIENCE = 600  # seconds: other work may share the cores
SHIFT = np.array([[1.1, 0.02, -30.0], [0.01, 1.08, -22.0], [0.0, 0.0, 1.0]])  # HR px to the view's


def encoded(image: NDArray[np.uint8], format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


def files(photo: bytes, *references: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [
        ("photo", ("small one.png", photo)),
        *(("reference", (f"sharp {i}.jpg", data)) for i, data in enumerate(references, start=1)),
    ]


def refused(answer: httpx.Response, status: int) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert sentence.endswith(".")
    assert tempfile.gettempdir() not in sentence
    return sentence
