"""The network: its invariants, its switches, and its ONNX twin."""

import dataclasses
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from safetensors.torch import load_file, save_file
from torch import nn

from refsr.errors import DataError, ModelError
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.config import SSENConfig
from refsr.model.export import example, export, output_names
from refsr.model.ssen import SSEN, BicubicX4, NonLocal
from refsr.resize import imresize
from refsr.train.config import load_config

TINY = SSENConfig(
    channels=8, feature_blocks=1, reconstruction_blocks=1, offset_channels=8, attention_window=8
)
TINY_RCAN = {"trunk": "rcan", "rcan_groups": 2, "rcan_blocks": 1, "rcan_reduction": 2}
ROOT = Path(__file__).parents[2]
NEW_KEYS = ("trunk", "rcan_groups", "rcan_blocks", "rcan_reduction")  # since the first weights


def network(config: SSENConfig = TINY, trunk: nn.Module | None = None) -> SSEN:
    """A tiny network whose offsets and attention are not zero, as after training."""
    torch.manual_seed(5)
    model = SSEN(config, trunk).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("estimators."):
                parameter.normal_(0.0, 0.1)
    return model


def test_bicubic_is_matlabs() -> None:
    lr = np.random.default_rng(0).random((11, 7, 3), np.float32)
    got = BicubicX4()(torch.from_numpy(lr.transpose(2, 0, 1)[None]))[0].permute(1, 2, 0).numpy()
    assert np.abs(got - imresize(lr, scale=4.0)).max() < 1e-5


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"deform_layers": 0},
        {"deform_layers": 1, "deform_groups": 2},
        {"nonlocal_blocks": False},
        {"modulation": False},
        {"skip": "concat"},
        {"attention_window": 0},
        {"hr_transfer": False},
        {"deform_layers": 2},
        {"deform_layers": 4, "deform_groups": 4, "skip": "concat"},
        TINY_RCAN,
        TINY_RCAN | {"deform_layers": 0},
    ],
)
def test_every_switch_gives_a_photo_and_gradients_everywhere(change: dict[str, object]) -> None:
    model = network(dataclasses.replace(TINY, **change))  # type: ignore[arg-type]
    lr, ref, validity = example(model, 2, 1)
    sr, gate = model(lr, ref, validity)
    assert sr.shape == (1, 3, lr.shape[2] * 4, lr.shape[3] * 4)
    assert gate.shape == (1, 1, *sr.shape[2:])
    loss = sr.square().mean()
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    torch.optim.Adam(model.parameters(), 1e-4).step()
    assert float(model(lr, ref, validity)[0].square().mean().detach()) < float(loss.detach())


def test_an_invalid_reference_is_no_reference() -> None:
    model = network()
    lr, ref, validity = example(model, 1, 2)
    nothing = torch.zeros_like(validity)
    first, _ = model(lr, ref, nothing)
    second, gate = model(lr, torch.zeros_like(ref), nothing)
    assert torch.equal(first, second)
    assert not gate.any()


def test_the_reference_is_used_from_the_first_step() -> None:
    """The warning of docs/DECISIONS.md: a reference path that starts shut is never opened."""
    model = SSEN(TINY)
    lr, ref, _ = example(model, 2, 2)
    ref.requires_grad_()
    sr, gate = model(lr, ref, torch.ones(1, 1, *ref.shape[2:]))
    sr.square().mean().backward()
    assert ref.grad is not None
    assert float(ref.grad.abs().mean()) > 0
    assert 0.1 < float(gate.detach().mean()) < 0.2
    feat = torch.randn(1, 8, 16, 16)
    _, modulation = model.estimators[0](feat, feat)
    assert torch.allclose(modulation, torch.full_like(modulation, 0.8808), atol=1e-3)


def test_nonlocal_windows_do_not_see_each_other() -> None:
    block = NonLocal(4, 4)
    torch.nn.init.normal_(block.out.weight)
    x = torch.randn(1, 4, 8, 8)
    changed = x.clone()
    changed[..., :4, :4] += 1
    same = (block(x) == block(changed)).all(1)[0]
    assert same[4:].all()
    assert same[:, 4:].all()
    assert not same[:4, :4].any()


@pytest.mark.parametrize("half", [False, True])
def test_onnx_equals_torch_on_other_sizes_and_gives_its_weights_back(
    half: bool, tmp_path: Path
) -> None:
    path, model = tmp_path / "tiny.onnx", network()
    for parameter in model.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)  # as after training: no two alike
    facts = {"training": {"steps": 3, "model": dataclasses.asdict(TINY)}}
    weights = {f"model.{name}" for name, _ in model.named_parameters()}
    exact = [parameter.clone() for parameter in model.parameters()]
    assert export(model, path, facts, half) < 1e-4  # compares 1x1 and 3x2 cells; traced at 2x3
    rounded = [parameter.half().float() if half else parameter for parameter in exact]
    assert all(map(torch.equal, model.parameters(), rounded))
    kept = {one.data_type for one in onnx.load(path).graph.initializer if one.name in weights}
    assert kept == {TensorProto.FLOAT16 if half else TensorProto.FLOAT}
    text = path.read_bytes()
    assert b"site-packages" not in text
    assert str(Path.cwd()).encode() not in text
    again, about = load_weights(path)
    assert (again.config, about["steps"]) == (TINY, 3)
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("broken", ["card", "graph", "no ONNX"])
def test_what_is_no_exported_model_of_ours_is_said(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "other.onnx"
    graph = onnx.helper.make_graph([], "other", [], [])
    onnx.save(onnx.helper.make_model(graph), path)
    if broken == "no ONNX":
        path.write_bytes(b"GIF89a and no more")
    card = {"training": {"model": dataclasses.asdict(TINY)}, "multiple": 8}
    card["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text("{}" if broken == "card" else json.dumps(card))
    with pytest.raises(ModelError, match=r"other\.(onnx|json) is [^\n]+\.$"):
        load_weights(path)


# Each switch at least once, and every number of layers (3 above); an export takes ten CPU seconds.
EXPORTED = [
    {**TINY_RCAN, "deform_layers": 4, "deform_groups": 2, "skip": "concat", "attention_window": 0},
    {"deform_layers": 0, "hr_transfer": False},
    {"deform_layers": 1, "modulation": False, "nonlocal_blocks": False},
    {"deform_layers": 2, "trunk": "documented"},
]


@pytest.mark.slow
@pytest.mark.parametrize("change", EXPORTED, ids=lambda change: str(change["deform_layers"]))
def test_every_switch_exports_and_equals_torch(change: dict[str, object], tmp_path: Path) -> None:
    third = documented_trunk()(8) if change.get("trunk") == "documented" else None
    change = {key: value for key, value in change.items() if value != "documented"}
    model = network(dataclasses.replace(TINY, **change), third)  # type: ignore[arg-type]
    path = tmp_path / "tiny.onnx"
    assert export(model, path, {}) < 1e-4
    inputs = example(model, 2, 1)
    names = output_names(model.config.deform_layers)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == names
    feed = zip(("lr", "ref", "validity"), inputs, strict=True)
    ours = session.run(names, {name: value.numpy() for name, value in feed})
    with torch.no_grad():
        sr, gate, samples = model.explain(*inputs)
    expected = [sr, gate, *(part for pair in samples for part in pair)]
    for name, got, value in zip(names, ours, expected, strict=True):
        assert np.abs(got - value.numpy()).max() < 1e-4, name
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["deform_layers"] == model.config.deform_layers


def documented_trunk() -> type[nn.Module]:
    """The third trunk of docs/PAPER.md, as a reader would copy it."""
    page = (ROOT / "docs" / "PAPER.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    assert len(code.splitlines()) < 30
    names: dict[str, type[nn.Module]] = {}
    exec(code, names)
    return names["DenseTrunk"]


def test_the_documented_third_trunk_works() -> None:
    model = network(TINY, documented_trunk()(TINY.channels))
    lr, ref, validity = example(model, 1, 2)
    sr, _ = model(lr, ref, validity)
    sr.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.reconstruct.parameters())
    assert not torch.equal(sr, network()(lr, ref, validity)[0])


def test_ssen_is_attached_to_each_trunk_in_the_same_way() -> None:
    """Without its trunk, the network with RCAN is the one with EDSR's blocks."""

    def rest(model: SSEN) -> dict[str, torch.Size]:
        state = model.state_dict()
        return {k: v.shape for k, v in state.items() if not k.startswith("reconstruct.")}

    assert rest(network()) == rest(network(dataclasses.replace(TINY, **TINY_RCAN)))


def test_the_default_networks_weights_keep_their_names() -> None:
    """Checkpoints of today must load tomorrow: a golden hash of names and shapes, in order."""
    state = SSEN(SSENConfig()).state_dict()
    text = "\n".join(f"{name} {tuple(value.shape)}" for name, value in state.items())
    assert len(state) == 180
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "e5a802b51fdbee70d93846a46dbf3859cb1e7cd8eaba593a6cb1a3703bee8cb9"
    )


def test_a_checkpoint_from_before_the_trunks_had_names_loads(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "old.safetensors"
    save_weights(model, path, {})
    about = {"model": dataclasses.asdict(TINY)}
    for key in NEW_KEYS:
        del about["model"][key]
    save_file(load_file(path), path, {"about": json.dumps(about)})
    again, _ = load_weights(path)
    assert again.config == TINY
    inputs = example(model, 1, 1)
    assert torch.equal(again(*inputs)[0], model(*inputs)[0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"deform_groups": 3}, "deform_groups = 3 must divide channels = 8"),
        ({"attention_window": 12}, "attention_window = 12 must be a multiple of 8"),
        ({"channels": 6}, "channels = 6 must be a multiple of 4"),
        ({"trunk": "rcan", "rcan_reduction": 16}, "rcan_reduction = 16 must be 1 to channels = 8"),
    ],
)
def test_sizes_that_do_not_fit_are_said(change: dict[str, object], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataclasses.replace(TINY, **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs").rglob("*.toml")), ids=lambda path: path.stem
)
def test_every_configuration_builds_its_network(path: Path) -> None:
    config = load_config(path)
    with torch.device("meta"):  # shapes alone: RCAN of the paper has 17 M parameters
        assert len(SSEN(config.model).estimators) == config.model.deform_layers


def test_checkpoints_hold_weights_and_shape_or_say_so(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "w.safetensors"
    save_weights(model, path, {"steps": 3})
    again, about = load_weights(path)
    assert about["steps"] == 3
    assert again.config == TINY
    for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match="not a refsr checkpoint"):
        load_weights(path)
