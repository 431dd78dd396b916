"""Weights on disk: safetensors with the network's configuration in their header."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError
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


def exported_weights(path: Path) -> tuple[SSEN, dict[str, Any]]:
    """The weights in an exported model, whose graph keeps their names, and its card's facts.

    Raises OSError, KeyError, ValueError, RuntimeError or DataError where it is not one of ours.
    """
    about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["training"]
    model = SSEN(from_dict(SSENConfig, about["model"], str(path)))
    try:
        graph = onnx.load(path, load_external_data=False).graph
    except DecodeError as error:
        raise ValueError("it is no ONNX file") from error
    values = {
        one.name.removeprefix("model."): torch.from_numpy(onnx.numpy_helper.to_array(one).copy())
        for one in graph.initializer
    }
    names = model.state_dict().keys()
    model.load_state_dict({name: values[name] for name in names})
    return model, about


def load_weights(path: Path) -> tuple[SSEN, dict[str, Any]]:
    """Read weights: the network, on the CPU and ready to run, and what is known about it.

    A checkpoint of training (.safetensors), or an exported model (.onnx, its card beside it).
    Raises ModelError where the file is neither.
    """
    try:
        if path.suffix == ".onnx":
            model, about = exported_weights(path)
            return model.eval(), about
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "{}"))
        model = SSEN(from_dict(SSENConfig, about["model"], str(path)))
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError, DataError) as error:
        raise ModelError(f"{path} is not a refsr checkpoint: {error}") from error
    return model.eval(), about
