"""Weights on disk: safetensors with the network's configuration in their header."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from refsr.atomic import reason
from refsr.errors import DataError, ModelError
from refsr.model.ssen import SSEN, SSENConfig
from refsr.train.config import from_dict

LARGEST_SIZE = 1024  # of any number in a network's description: channels, blocks, LR pixels


def save_weights(model: SSEN, path: Path, about: dict[str, Any]) -> None:
    """Write the weights and what is known ``about`` them, whole or not at all."""
    header = {**about, "model": dataclasses.asdict(model.config)}
    partial = path.with_suffix(".partial")
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(tensors, partial, {"about": json.dumps(header)})
    partial.replace(path)


def load_weights(path: Path) -> tuple[SSEN, dict[str, Any]]:
    """Read weights: the network, on the CPU and ready to run, and what is known about it.

    Raises ModelError where the file is no such checkpoint.
    """
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
            shapes = {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        config = from_dict(SSENConfig, about["model"], str(path))
        check_shapes(config, shapes)
        model = SSEN(config)
        model.load_state_dict(load_file(path))
    except (ModelError, DataError):
        raise
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from error
    except (SafetensorError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{path} is not a refsr checkpoint, or is damaged.") from error
    except (RuntimeError, ArithmeticError, RecursionError) as error:
        raise ModelError(f"{path} does not fit its own description; it is damaged.") from error
    return model.eval(), about


def check_shapes(config: SSENConfig, shapes: dict[str, list[int]]) -> None:
    """Raises ModelError where weights of these shapes are not those of ``config``.

    Decided on a network without memory: a damaged description may ask for any size.
    """
    sizes = [value for value in dataclasses.asdict(config).values() if type(value) is int]
    blocks = config.rcan_groups * config.rcan_blocks if config.trunk == "rcan" else 0
    fits = all(0 <= size <= LARGEST_SIZE for size in sizes) and blocks <= LARGEST_SIZE
    if fits:
        with torch.device("meta"):
            wanted = SSEN(config).state_dict()
        fits = {name: list(value.shape) for name, value in wanted.items()} == shapes
    if not fits:
        raise ModelError("A checkpoint's weights are not those of the network that it describes.")
