"""Checkpoints: safetensors files with the network's configuration in their header."""

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

MAX_SIZE = 1024  # of every number in a network's configuration: channels, blocks, LR pixels


def save_weights(model: SSEN, path: Path, metadata: dict[str, Any]) -> None:
    """Write the weights and their ``metadata`` (JSON values) atomically."""
    header = {**metadata, "model": dataclasses.asdict(model.config)}
    partial = path.with_suffix(".partial")
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    save_file(tensors, partial, {"about": json.dumps(header)})
    partial.replace(path)


def load_exported_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of an exported model, whose graph keeps their names, and its card's metadata.

    Raises ModelError where file and card are no refsr model.
    """
    metadata = find_model(path).card["training"]
    values = {
        tensor.name.removeprefix("model."): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in onnx.load(path, load_external_data=False).graph.initializer
    }
    return values, metadata


def load_weights(path: Path) -> tuple[SSEN, dict[str, Any]]:
    """Read a network, on the CPU and in eval mode, and its metadata.

    ``path``: a training checkpoint (.safetensors) or an exported model (.onnx, its card beside it).
    Raises ModelError where the file is neither.
    """
    try:
        if path.suffix == ".onnx":
            values, metadata = load_exported_weights(path)
        else:
            with safe_open(path, "pt") as file:
                metadata = json.loads((file.metadata() or {}).get("about", "{}"))
            values = load_file(path)
        config: SSENConfig = from_dict(SSENConfig, dict(metadata["model"]), str(path))
        names = matching_names(config, {name: value.shape for name, value in values.items()})
        model = SSEN(config)
        model.load_state_dict({name: values[name] for name in names})
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {reason(error)}.") from error
    except (SafetensorError, DataError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a refsr checkpoint, or is damaged.") from error
    except (RuntimeError, ArithmeticError) as error:  # a RecursionError is a RuntimeError
        raise ModelError(f"{path} does not match its own configuration; it is damaged.") from error
    return model.eval(), metadata


def matching_names(config: SSENConfig, shapes: Mapping[str, Sequence[int]]) -> list[str]:
    """The names of the network's weights. Raises ValueError where one is missing or misshaped.

    Checked on the meta device, since a damaged configuration may ask for any size.
    """
    sizes = [value for value in dataclasses.asdict(config).values() if type(value) is int]
    blocks = config.rcan_groups * config.rcan_blocks if config.trunk == "rcan" else 0
    if not all(0 <= size <= MAX_SIZE for size in (*sizes, blocks)):
        raise ValueError("the configuration has an impossible size")
    with torch.device("meta"):
        expected = SSEN(config).state_dict()
    if any(list(shapes.get(name, ())) != list(value.shape) for name, value in expected.items()):
        raise ValueError("the weights are of another network")
    return list(expected)
