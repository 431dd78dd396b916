"""Short training runs of the tiny network."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from networks import TINY
from refsr.arrays import Pixels
from refsr.train.config import DataConfig, RunConfig, TrainConfig


def tiny_run(photos: Path, out: Path, **changes: Any) -> RunConfig:
    """Six steps of a tiny network; float32, so that equal means equal."""
    return RunConfig(
        out=str(out),
        model=TINY,
        data=DataConfig(photos=(str(photos),), real=0.0, simulated=0.6, patch=64),
        train=dataclasses.replace(
            TrainConfig(steps=6, batch=2, threads=1, bf16=False, warmup=2, validate_every=100),
            **changes,
        ),
    )


def distillation_run(folder: Path, natural: Pixels, **changes: float) -> RunConfig:
    """A run on one photo, half of the patches with a mismatched reference."""
    (folder / "photos").mkdir()
    Image.fromarray(natural[:128, :160]).save(folder / "photos" / "0.png")
    return RunConfig(
        out=str(folder / "run"),
        model=TINY,
        data=DataConfig(
            photos=(str(folder / "photos"),),
            cache=str(folder / "cache"),
            teacher="ssen-tiny",
            real=0.0,
            simulated=0.0,
            mismatched=0.5,
            patch=64,
        ),
        train=TrainConfig(steps=2, batch=2, threads=1, bf16=False, warmup=1, **changes),
    )
