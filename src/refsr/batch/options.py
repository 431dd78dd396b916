"""What holds for every photo of a batch; the command line's flags, and light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Options:
    """What holds for every photo of a batch."""

    model: str = "auto"
    """auto chooses for clean or damaged photos; or a shipped model, detail-transfer, an .onnx."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Where the network runs."""
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto"
    """What runs it."""
    scale: Literal[2, 3, 4] = 4
    """How many times larger the results are; 2 and 3 are the result of 4, shrunk."""
    strength: float = 1.0
    """How much of the references' detail is taken, from 0 (none) to 1 (all)."""
    max_pixels: int = 200_000_000
    """Photos larger than this are refused before they are decoded."""
    look: Literal["true", "crisp"] = "true"
    """crisp is sharper where a reference supports it, and takes twice as long."""
    ensemble: bool = False
    """Look at every part in eight ways: a little better, eight times as long."""
    strip_metadata: bool = False
    """Leave EXIF (place, camera, date) out of the results; the color profile stays."""
    maps: bool = False
    """Write a picture NAME.map.png beside each result: green is borrowed, orange guessed."""
    cache: Path | None = None
    """Keep in this folder what was found out about references; the next time is quicker."""
    reports: bool = False
    """Write the numbers of each result beside it, NAME.report.json."""
