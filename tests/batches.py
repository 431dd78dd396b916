"""Helpers of the batch tests: photos to upscale, running `refsr batch`, its journal."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import PIL.Image

from refsr.batch.journal import JOURNAL
from refsr.cli import main


def photo(path: Path, side: int = 8, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side + 1, 3), np.uint8)
    PIL.Image.fromarray(pixels).save(path)
    return path


def records(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / JOURNAL).read_text().splitlines()]


def run(*arguments: object) -> int:
    return main(["batch", *map(str, arguments), "--quiet"])


def outputs(out: Path) -> set[str]:
    return {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()} - {JOURNAL}
