"""Checkpoints: weights and configuration come back, or the error says why not."""

import dataclasses
import hashlib
import json
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from networks import THREE_LAYERS, network
from refsr.errors import ModelError
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.export import example_inputs

# Keys that the first weights do not have.
NEW_KEYS = ("trunk", "rcan_groups", "rcan_blocks", "rcan_reduction")


def test_checkpoints_hold_weights_and_shape_or_say_so(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "w.safetensors"
    save_weights(model, path, {"steps": 3})
    again, about = load_weights(path)
    assert about["steps"] == 3
    assert again.config == THREE_LAYERS
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="not a refsr checkpoint"):
        load_weights(path)


def test_a_checkpoint_from_before_the_trunks_had_names_loads(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "old.safetensors"
    save_weights(model, path, {})
    about = {"model": dataclasses.asdict(THREE_LAYERS)}
    for key in NEW_KEYS:
        del about["model"][key]
    save_file(load_file(path), path, {"about": json.dumps(about)})
    again, _ = load_weights(path)
    assert again.config == THREE_LAYERS
    inputs = example_inputs(model, 1, 1)
    assert torch.equal(again(*inputs)[0], model(*inputs)[0])


@pytest.mark.parametrize("broken", ["card", "graph", "no ONNX"])
def test_what_is_no_exported_model_of_ours_is_said(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "other.onnx"
    graph = onnx.helper.make_graph([], "other", [], [])
    onnx.save(onnx.helper.make_model(graph), path)
    if broken == "no ONNX":
        path.write_bytes(b"GIF89a and no more")
    card = {"training": {"model": dataclasses.asdict(THREE_LAYERS)}, "multiple": 8}
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text("{}" if broken == "card" else json.dumps(card))
    with pytest.raises(ModelError, match=r"other\.(onnx|json) is [^\n]+\.$"):
        load_weights(path)
