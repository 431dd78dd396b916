"""One TOML file describes a training run; every key is a field of a frozen dataclass below."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from refsr.errors import DataError
from refsr.model.config import SSENConfig, from_dict


@dataclass(frozen=True)
class DataConfig:
    """What to train on. Folders are relative to the TOML file's own folder."""

    photos: tuple[str, ...] = ()  # folders of sharp photos, searched recursively
    pairs: str = ""  # folder of scenes: pairs/<scene>/*.jpg, views of the same thing
    held_out: str = ""  # text file with one scene a line, never trained on
    benchmark: str = ""  # folder of photos for the validation without reference (Set5)
    patch_pairs: str = ""  # folder of small pairs as CUFED's: input/NAME.png and ref/NAME.png
    cache: str = "cache"  # registered pairs are kept here, and mapped photos
    map_photos: bool = False  # keep photos decoded in cache, not in memory (DIV2K: 7 GB)
    max_side: int = 1000  # HR long side in pixels; larger photos are shrunk to it
    patch: int = 128  # HR pixels a side of a training patch
    real: float = 0.5  # share of registered real pairs
    simulated: float = 0.3  # share of simulated references
    foreign: float = 0.08  # share of references that show something else; the rest is blank
    unregistered: float = 0.0  # share of patch_pairs as they lie, the paper's way
    flips: bool = True  # mirror half of the patches, beside the quarter turns; the paper turns only
    labels: str = ""  # folder of targets made beforehand, named as photos and pairs are; labels.py
    teacher: str = ""  # model (a shipped name, or an .onnx) whose results are targets; teacher.py
    degraded: float = 0.0  # share of LR photos that are blurred, noisy, JPEG; the others are clean


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 10_000
    minutes: float = 0.0  # above zero the run, and its schedule with it, ends by then at the latest
    batch: int = 8
    optimizer: Literal["adam", "muon"] = "adam"  # muon: far quicker, at 2.5 times the rate
    learning_rate: float = 4e-4  # at the top of the cosine
    final_learning_rate: float = 1e-6
    warmup: int = 200  # steps of linear rise to the learning rate
    schedule: Literal["cosine", "cosine_restarts", "cosine_decayed", "constant"] = "cosine"
    period: int = 10_000  # steps after which the decaying schedules restart, or lower, the top
    gamma: float = 0.9  # ... to this share of the one before, as in the paper
    offset_learning_rate: float = 0.25  # of the offset estimators, relative to the rest
    gradient_clip: float = 1.0  # norm
    loss: Literal["charbonnier", "charbonnier_eps", "l1"] = "charbonnier"  # _eps: not squared
    charbonnier_epsilon: float = 1e-3  # on values in 0..1; the paper's 1e-6 is all but L1
    distillation: float = 0.7  # share of the loss that is measured on teacher or labels, if any
    reference_path: bool = True  # off: pre-training of the network without its reference path
    ema: float = 0.999  # decay of the averaged weights that are validated and kept
    seed: int = 1
    threads: int = 2  # of torch
    workers: int = 1  # threads that load photos and make batches ahead; the run stays the same
    bf16: bool = True  # autocast where the processor has it; coordinates stay float32
    validate_every: int = 1000  # steps
    checkpoint_minutes: float = 5.0
    start: str = ""  # weights to start from, .safetensors or .onnx; the schedule starts anew


@dataclass(frozen=True)
class AdversarialConfig:
    """The second stage of the paper's recipe: L_rec + weight * L_adv. Off while the weight is 0."""

    weight: float = 0.0  # of the adversarial term beside the reconstruction loss
    objective: Literal["wgan-gp", "vanilla"] = "wgan-gp"
    gradient_penalty: float = 10.0  # weight of the penalty; wgan-gp alone
    warmup: int = 100  # steps in which the discriminator learns before the network hears of it
    learning_rate: float = 2e-4  # of the discriminator; constant
    channels: int = 64  # of its first convolution
    layers: int = 3  # its convolutions of stride 2; three: each score sees 70x70 HR pixels


@dataclass(frozen=True)
class RunConfig:
    """A whole run: where it is kept, the network, the data, the schedule."""

    out: str = "runs/ssen"  # checkpoints, curves and sample sheets
    model: SSENConfig = field(default_factory=SSENConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)


def load_config(path: Path) -> RunConfig:
    """Read a run's TOML file; its relative folders are made absolute. Raises DataError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise DataError(f"{path} is not valid TOML: it is nested too deep.") from error
    config: RunConfig = from_dict(RunConfig, values, str(path))
    base = path.resolve().parent

    def absolute(name: str) -> str:
        if "\0" in name:
            raise DataError(f"{name!r} in {path} is no possible name of a file or folder.")
        return str((base / name).resolve()) if name else ""

    teacher = config.data.teacher
    data = dataclasses.replace(
        config.data,
        photos=tuple(absolute(name) for name in config.data.photos),
        **{
            key: absolute(getattr(config.data, key))
            for key in ("pairs", "held_out", "benchmark", "cache", "patch_pairs", "labels")
        },
        teacher=absolute(teacher) if teacher.endswith(".onnx") else teacher,
    )
    train = dataclasses.replace(config.train, start=absolute(config.train.start))
    return dataclasses.replace(config, out=absolute(config.out), data=data, train=train)
