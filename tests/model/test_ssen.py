"""The network: its invariants, its options, and the names of its weights."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch

from networks import RCAN_TRUNK, THREE_LAYERS, network
from refsr.model.config import SSENConfig
from refsr.model.export import example_inputs
from refsr.model.ssen import SSEN, BicubicX4, NonLocal
from refsr.resize import imresize


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
        {"conditions": 5},
        {"deform_layers": 2},
        {"deform_layers": 4, "deform_groups": 4, "skip": "concat"},
        RCAN_TRUNK,
        RCAN_TRUNK | {"deform_layers": 0},
    ],
)
def test_every_switch_gives_a_photo_and_gradients_everywhere(change: dict[str, object]) -> None:
    model = network(dataclasses.replace(THREE_LAYERS, **change))  # type: ignore[arg-type]
    inputs = example_inputs(model, 2, 1)
    lr = inputs[0]
    sr, gate = model(*inputs)
    assert sr.shape == (1, 3, lr.shape[2] * 4, lr.shape[3] * 4)
    assert gate.shape == (1, 1, *sr.shape[2:])
    loss = sr.square().mean()
    loss.backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert dead == []
    torch.optim.Adam(model.parameters(), 1e-4).step()
    assert float(model(*inputs)[0].square().mean().detach()) < float(loss.detach())


def test_a_network_that_is_told_of_the_photo() -> None:
    """Each number changes the result, for every photo of a batch its own; none are zeros."""
    model = network(dataclasses.replace(THREE_LAYERS, conditions=5))
    lr, ref, validity, _ = example_inputs(model, 1, 1)
    lr, ref, validity = (torch.cat([image] * 6) for image in (lr, ref, validity))
    told = torch.zeros(6, 5, 1, 1)
    told[torch.arange(1, 6), torch.arange(5)] = 1
    for given in (lambda x: (lr, ref, validity, x), lambda x: (lr, None, None, x)):
        with torch.no_grad():
            results, untold = model(*given(told))[0], model(*given(None))[0]
        assert torch.allclose(results[0], untold[0], atol=1e-6)
        for number in range(1, 6):
            assert float((results[number] - results[0]).abs().max()) > 1e-5
            assert torch.allclose(untold[number], untold[0], atol=1e-6)
    at_first = SSEN(dataclasses.replace(THREE_LAYERS, conditions=5))
    with torch.no_grad():
        results = at_first(lr, ref, validity, told)[0]
    assert torch.allclose(results, results[:1].expand_as(results), atol=1e-6)


def test_an_invalid_reference_is_no_reference() -> None:
    model = network()
    lr, ref, validity = example_inputs(model, 1, 2)
    nothing = torch.zeros_like(validity)
    first, _ = model(lr, ref, nothing)
    second, gate = model(lr, torch.zeros_like(ref), nothing)
    assert torch.equal(first, second)
    assert not gate.any()


def test_the_reference_is_used_from_the_first_step() -> None:
    """The warning of docs/DECISIONS.md: a reference path that starts shut is never opened."""
    model = SSEN(THREE_LAYERS)
    lr, ref, _ = example_inputs(model, 2, 2)
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


def test_the_default_networks_weights_keep_their_names() -> None:
    """Checkpoints of today must load tomorrow: a golden hash of names and shapes, in order."""
    state = SSEN(SSENConfig()).state_dict()
    text = "\n".join(f"{name} {tuple(value.shape)}" for name, value in state.items())
    assert len(state) == 180
    assert hashlib.sha256(text.encode()).hexdigest() == (
        "e5a802b51fdbee70d93846a46dbf3859cb1e7cd8eaba593a6cb1a3703bee8cb9"
    )
