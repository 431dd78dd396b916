"""The exported network equals torch's, in every option and at sizes that were not traced."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto

from networks import RCAN_TRUNK, THREE_LAYERS, documented_trunk, network
from refsr.model.checkpoint import load_weights
from refsr.model.export import example_inputs, export, input_names, output_names


def test_onnx_equals_torch_on_other_sizes_and_gives_its_weights_back(tmp_path: Path) -> None:
    path, model = tmp_path / "tiny.onnx", network()
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # as after training: no two alike
    facts = {"training": {"steps": 3, "model": dataclasses.asdict(THREE_LAYERS)}}
    weights = {f"model.{name}" for name, _ in model.named_parameters()}
    rounded = [parameter.half().float() for parameter in model.parameters()]
    assert export(model, path, facts, half=True) < 1e-4  # 1x1 and 3x2 cells; traced at 2x3
    assert all(map(torch.equal, model.parameters(), rounded))
    kept = {one.data_type for one in onnx.load(path).graph.initializer if one.name in weights}
    assert kept == {TensorProto.FLOAT16}
    text = path.read_bytes()
    assert b"site-packages" not in text
    assert str(Path.cwd()).encode() not in text
    again, about = load_weights(path)
    assert (again.config, about["steps"]) == (THREE_LAYERS, 3)
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


# Each switch at least once, and every number of layers (3 above); an export takes ten CPU seconds.
EXPORTED = [
    {**RCAN_TRUNK, "deform_layers": 4, "deform_groups": 2, "skip": "concat", "attention_window": 0},
    {"deform_layers": 0, "hr_transfer": False},
    {
        "deform_layers": 1,
        "modulation": False,
        "nonlocal_blocks": False,
        "conditions": 5,
        "self_reference": False,
    },
    {"deform_layers": 2, "trunk": "documented"},
]


@pytest.mark.slow
@pytest.mark.parametrize("change", EXPORTED, ids=lambda change: str(change["deform_layers"]))
def test_every_switch_exports_and_equals_torch(change: dict[str, object], tmp_path: Path) -> None:
    third = documented_trunk()(8) if change.get("trunk") == "documented" else None
    change = {key: value for key, value in change.items() if value != "documented"}
    model = network(dataclasses.replace(THREE_LAYERS, **change), third)  # type: ignore[arg-type]
    path = tmp_path / "tiny.onnx"
    assert export(model, path, {}) < 1e-4
    inputs = example_inputs(model, 2, 1)
    names = output_names(model.config)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == names
    feed = zip(input_names(model), inputs, strict=True)
    ours = session.run(names, {name: value.numpy() for name, value in feed})
    with torch.no_grad():
        sr, gate, samples = model.explain(*inputs)
        alone, _ = model.without_reference(inputs[0], *inputs[3:])
    expected = [sr, gate, *(part for pair in samples for part in pair)]
    expected += [] if model.config.self_reference else [alone]
    for name, got, value in zip(names, ours, expected, strict=True):
        assert np.abs(got - value.numpy()).max() < 1e-4, name
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["deform_layers"] == model.config.deform_layers
    assert card["self_reference"] == model.config.self_reference
