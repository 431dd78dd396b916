"""The options that hold for every photo of a batch: flags of the command line, light to import."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class BatchOptions:
    """Options for every photo."""

    model: str = "auto"
    """auto, a shipped model (see `refsr info`), detail-transfer, or an exported .onnx file."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Device that runs the network."""
    runtime: Literal["auto", "onnx", "openvino", "torch"] = "auto"
    """Inference runtime; `refsr info` shows what auto selects."""
    scale: Literal[1, 2, 3, 4] = 4
    """How many times wider and higher; 2 and 3 are the result of 4, shrunk; 1 is the same size."""
    strength: float = 1.0
    """How much of the references' detail to use, from 0 (none) to 1 (all)."""
    strict: bool = False
    """Take nothing from the references where the photo is too coarse to confirm them."""
    max_pixels: int = 200_000_000
    """Reject larger photos before decoding them."""
    look: Literal["true", "crisp"] = "true"
    """crisp is sharper where a reference supports it, and takes twice as long."""
    ensemble: bool = False
    """Average eight flips and rotations: slightly better, eight times slower."""
    quality: int = 95
    """Of JPEG, WebP and AVIF files, from 1 to 100."""
    strip_metadata: bool = False
    """Remove EXIF data (location, camera, date) from the results; the color profile stays."""
    maps: bool = False
    """Write a map beside each result, NAME.map.png: green is borrowed, blue cannot be confirmed."""
    cache: Path | None = None
    """Cache the features of references in this folder, so that later runs are faster."""
    own_results: bool = False
    """Use results that refsr wrote as inputs and as references, too."""
    reports: bool = False
    """Write a report in JSON beside each result, NAME.report.json."""
