"""Training configuration: one TOML file per run, whose keys are the fields below."""

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
    """Training data. Folders are relative to the TOML file's folder."""

    photos: tuple[str, ...] = ()  # folders of HR photos, searched recursively
    pairs: str = ""  # folder of scenes: pairs/<scene>/*.jpg, views of the same thing
    held_out: str = ""  # text file of scenes to validate on, one per line
    benchmark: str = ""  # folder of photos for validation without reference (Set5)
    patch_pairs: str = ""  # folder of small pairs as CUFED's: input/NAME.png and ref/NAME.png
    cache: str = "cache"  # folder for registered pairs, decoded photos and teacher results
    map_photos: bool = False  # memory-map decoded photos from the cache (DIV2K: 7 GB)
    max_side: int = 1000  # HR long side in pixels; larger photos are shrunk to it
    patch: int = 128  # HR pixels a side of a training patch
    real: float = 0.5  # share of registered real pairs
    simulated: float = 0.3  # share of simulated references
    mismatched: float = 0.08  # share of references that show something else; the rest is blank
    unregistered: float = 0.0  # share of patch_pairs without registration, as in the paper
    counterfeit: float = 0.0  # share of references with false signs and shapes; counterfeit.py
    flips: bool = True  # flip half of the patches, in addition to rotations; the paper only rotates
    labels: str = ""  # folder of precomputed targets, named as photos and pairs are; labels.py
    teacher: str = ""  # model (a shipped name, or .onnx file) whose results are targets; teacher.py
    degraded: float = 0.0  # share of LR photos from lenses, programs, compression; degrade.py
    aliased: float = 0.0  # share of those that are surely shrunk without antialiasing
    corrected: float = 0.0  # share of those with a reference whose kernel is undone, as refsr does
    corrected_blank: float = 0.0  # ... and of those without one


@dataclass(frozen=True)
class TrainConfig:
    """Optimization, schedule and checkpoints."""

    steps: int = 10_000
    minutes: float = 0.0  # time limit of the run, which the schedule follows; 0: none
    batch: int = 8
    optimizer: Literal["adam", "muon"] = "adam"  # muon: faster, at 2.5 times the learning rate
    learning_rate: float = 4e-4  # peak
    final_learning_rate: float = 1e-6
    warmup: int = 200  # steps of linear rise to the learning rate
    schedule: Literal["cosine", "cosine_restarts", "cosine_decayed", "constant"] = "cosine"
    period: int = 10_000  # steps after which the peak is multiplied by gamma; schedule.py
    gamma: float = 0.9  # as in the paper
    offset_learning_rate: float = 0.25  # of the offset estimators, as a factor
    adam_beta2: float = 0.99  # of Adam's squared gradients; 0.999 is usual
    film_learning_rate: float = 20.0  # of what conditions change, as a factor
    gradient_clip: float = 1.0  # maximal norm; 0: none
    loss: Literal["charbonnier", "charbonnier_eps", "l1"] = (
        "charbonnier"  # _eps: epsilon not squared
    )
    charbonnier_epsilon: float = 1e-3  # for values in 0..1; with the paper's 1e-6 nearly L1
    distillation: float = 0.7  # weight of the loss against teacher or labels, where given
    reference_path: bool = True  # off: pre-training without the reference path
    ema: float = 0.999  # decay of the averaged weights, which are validated and saved; 0: none
    seed: int = 1
    threads: int = 2  # of torch
    workers: int = 1  # threads that prepare batches; the samples do not depend on it
    bf16: bool = True  # autocast where the hardware supports it; coordinates stay float32
    validate_every: int = 1000  # steps
    # Scores of log.jsonl, as "patch_pairs/given", whose mean chooses the best weights; none: all
    # that end in /given or /blank, but no best weights with an adversarial term.
    best: tuple[str, ...] = ()
    checkpoint_minutes: float = 5.0
    start: str = ""  # initial weights, .safetensors or .onnx; the schedule starts at 0


@dataclass(frozen=True)
class AdversarialConfig:
    """The paper's second stage: L_rec + weight * L_adv. Off where the weight is 0."""

    weight: float = 0.0  # of L_adv
    objective: Literal["wgan-gp", "vanilla", "lsgan", "ragan"] = "wgan-gp"
    gradient_penalty: float = 10.0  # weight; wgan-gp only
    warmup: int = 100  # steps in which only the discriminator learns from L_adv
    learning_rate: float = 2e-4  # of the discriminator; constant
    channels: int = 64  # of its first convolution
    layers: int = 3  # of stride 2; with 3, the receptive field of a score is 70x70 HR pixels


@dataclass(frozen=True)
class RunConfig:
    """A training run: output folder, network, data, optimization."""

    out: str = "runs/ssen"  # folder of checkpoints, curves and sample images
    model: SSENConfig = field(default_factory=SSENConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    adversarial: AdversarialConfig = field(default_factory=AdversarialConfig)


def load_config(path: Path) -> RunConfig:
    """Read a run's TOML file and resolve its relative folders. Raises DataError."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"Cannot read the configuration {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from error
    except RecursionError as error:
        raise DataError(f"{path} is not valid TOML: it is nested too deeply.") from error
    config: RunConfig = from_dict(RunConfig, values, str(path))
    base = path.resolve().parent

    def absolute(name: str) -> str:
        if "\0" in name:
            raise DataError(f"{name!r} in {path} is not a valid file or folder name.")
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
