"""The network: its invariants, its switches, and its ONNX twin."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from refsr.errors import ModelError
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.export import example, export
from refsr.model.ssen import SSEN, BicubicX4, NonLocal, SSENConfig
from refsr.resize import imresize

TINY = SSENConfig(
    channels=8, feature_blocks=1, reconstruction_blocks=1, offset_channels=8, attention_window=8
)


def network(config: SSENConfig = TINY) -> SSEN:
    """A tiny network whose offsets and attention are not zero, as after training."""
    torch.manual_seed(5)
    model = SSEN(config).eval()
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
    ],
)
def test_every_switch_gives_a_photo_and_gradients_everywhere(change: dict[str, object]) -> None:
    model = network(dataclasses.replace(TINY, **change))  # type: ignore[arg-type]
    lr, ref, validity = example(model, 2, 1)
    sr, gate = model(lr, ref, validity)
    assert sr.shape == (1, 3, lr.shape[2] * 4, lr.shape[3] * 4)
    assert gate.shape == (1, 1, *sr.shape[2:])
    sr.square().mean().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []


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


def test_onnx_equals_torch_on_other_sizes(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    assert export(network(), path, {}) < 1e-4  # compares 1x1 and 3x2 cells; traced at 2x3
    text = path.read_bytes()
    assert b"site-packages" not in text
    assert str(Path.cwd()).encode() not in text


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
