"""Weights on disk: safetensors with the network's configuration in their header."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from refsr.errors import DataError, ModelError
from refsr.image.atomic import reason
from refsr.model.config import SSENConfig, from_dict
from refsr.model.ssen import SSEN
from refsr.weights.models import find_model

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


def exported_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights in an exported model, whose graph keeps their names, and its card's facts.

    Raises ModelError where file and card are not one of ours.
    """
    about = find_model(path).card["training"]
    values = {
        one.name.removeprefix("model."): torch.from_numpy(
            onnx.numpy_helper.to_array(one).astype(np.float32)
        )
        for one in onnx.load(path, load_external_data=False).graph.initializer
    }
    return values, about


def load_weights(path: Path) -> tuple[SSEN, dict[str, Any]]:
    """Read weights: the network, on the CPU and ready to run, and what is known about it.

    A checkpoint of training (.safetensors), or an exported model (.onnx, its card beside it).
    Raises ModelError where the file is neither.
    """
    try:
        if path.suffix == ".onnx":
            values, about = exported_weights(path)
        else:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {}).get("about", "{}"))
            values = load_file(path)
        config: SSENConfig = from_dict(SSENConfig, dict(about["model"]), str(path))
        names = names_that_fit(config, {name: value.shape for name, value in values.items()})
        model = SSEN(config)
        model.load_state_dict({name: values[name] for name in names})
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from error
    except (SafetensorError, DataError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a refsr checkpoint, or is damaged.") from error
    except (RuntimeError, ArithmeticError) as error:  # a RecursionError is one, too
        raise ModelError(f"{path} does not fit its own description; it is damaged.") from error
    return model.eval(), about


def names_that_fit(config: SSENConfig, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """The names of a network's weights, which are all here and of its shapes.

    Decided on a network that takes no memory: a damaged description may ask for any size. Raises
    ValueError where they do not fit.
    """
    sizes = [value for value in dataclasses.asdict(config).values() if type(value) is int]
    blocks = config.rcan_groups * config.rcan_blocks if config.trunk == "rcan" else 0
    if not all(0 <= size <= LARGEST_SIZE for size in (*sizes, blocks)):
        raise ValueError("a size that no network has")
    with torch.device("meta"):
        wanted = SSEN(config).state_dict()
    if any(list(shapes.get(name, ())) != list(value.shape) for name, value in wanted.items()):
        raise ValueError("weights of another network")
    return list(wanted)
