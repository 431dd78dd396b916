"""Weights on disk: safetensors with the network's configuration in their header."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from refsr.errors import DataError, ModelError
from refsr.model.ssen import SSEN, SSENConfig
from refsr.train.config import from_dict


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
        model = SSEN(from_dict(SSENConfig, about["model"], str(path)))
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, DataError) as error:
        raise ModelError(f"{path} is not a refsr checkpoint: {error}") from error
    return model.eval(), about
