"""The network against a slow float64 one, in every switch, and the configurations of the paper."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from networks import RCAN_TRUNK, THREE_LAYERS, network
from oracle import Oracle
from refsr.model.config import SSENConfig
from refsr.model.export import example_inputs
from refsr.model.ssen import SSEN, NonLocal
from refsr.train.config import load_config

CONFIGS = Path(__file__).parents[2] / "configs"
PAPER = {
    "deform_residual": False,
    "ref_inputs": "rgb",
    "modulation_bias": 0.0,
    "attention_window": 0,
    "attention_scaled": False,
    "hr_transfer": False,
}
TOLERANCE = 2e-5  # of float32 against float64; what each part is worth is far more, see below


def as_trained(change: dict[str, object]) -> SSEN:
    """A network no two weights of which are alike, and whose every part changes its result."""
    model = network(dataclasses.replace(THREE_LAYERS, **change))  # type: ignore[arg-type]
    with torch.no_grad():
        for name, value in model.named_parameters():
            value += 0.05 * torch.randn_like(value)
            if name.endswith(("qkv.weight", "out.weight", "conv2.weight")) or "deforms" in name:
                value *= 2
    return model


@pytest.mark.parametrize(
    "change",
    [
        {},
        PAPER,
        PAPER | RCAN_TRUNK,
        PAPER | RCAN_TRUNK | {"fusion": False},
        {"fusion": False},
        {"skip": "concat", "deform_groups": 2, "deform_layers": 2},
        {"modulation": False, "nonlocal_blocks": False, "deform_layers": 1},
        {"deform_layers": 0, "hr_transfer": False},
        {"attention_window": 0},
        {"attention_scaled": False},
    ],
    ids=lambda change: "-".join(change) or "default",
)
def test_it_equals_the_plain_network(change: dict[str, object]) -> None:
    model = as_trained(change)
    lr, ref, validity = example_inputs(model, 2, 3)
    with torch.no_grad():
        for valid in (validity, torch.ones_like(validity), torch.zeros_like(validity)):
            sr, gate = model(lr, ref, valid)
            wanted, wanted_gate = Oracle(model.state_dict(), model.config)(lr, ref, valid)
            assert float((sr - wanted).abs().max()) < TOLERANCE
            assert float((gate - wanted_gate).abs().max()) < TOLERANCE


def difference(change: Callable[[SSEN], None]) -> float:
    """The largest change of the result by a mutation of the paper's network."""
    model = as_trained(PAPER)
    inputs = example_inputs(model, 2, 3)
    with torch.no_grad():
        before = model(*inputs)[0]
        change(model)
        return float((model(*inputs)[0] - before).abs().max())


def without_attention(model: SSEN) -> None:
    for block in model.modules():
        if isinstance(block, NonLocal):
            block.forward = lambda x: x  # type: ignore[method-assign]


def one_layer_after_another(model: SSEN) -> None:
    """Every layer but the last gives back what it got: the last alone aligns."""
    for layer in list(model.deforms)[:-1]:
        layer.forward = lambda x, offset, modulation: x  # type: ignore[method-assign]


def not_centered(model: SSEN) -> None:
    first = model.lr_in.forward
    model.lr_in.forward = lambda x: first(x + 0.5)  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [without_attention, one_layer_after_another, not_centered])
def test_every_part_is_seen_in_the_comparison(change: Callable[[SSEN], None]) -> None:
    """Else the comparison above would not notice that a part is missing."""
    assert difference(change) > 20 * TOLERANCE


@pytest.mark.parametrize("name", ["paper", "paper_gan", "paper_self", "paper_self_small"])
def test_the_papers_configurations_are_the_papers(name: str) -> None:
    config = load_config(CONFIGS / f"{name}.toml")
    assert {key: getattr(config.model, key) for key in PAPER} == PAPER
    assert config.model.deform_layers == 3
    assert config.model.nonlocal_blocks
    assert config.model.modulation
    if name.endswith("small"):
        return
    t = config.train
    assert (t.optimizer, t.learning_rate, t.batch) == ("adam", 1e-4, 32)
    assert (t.loss, t.charbonnier_epsilon) == ("charbonnier_eps", 1e-6)
    assert (t.schedule, t.gamma, t.offset_learning_rate) == ("cosine_restarts", 0.9, 1.0)
    assert (t.ema, t.gradient_clip, t.adam_beta2, t.bf16) == (0.0, 0.0, 0.999, False)
    assert not config.data.flips


def test_the_second_stage_starts_from_the_first() -> None:
    first, second = (load_config(CONFIGS / f"{name}.toml") for name in ("paper", "paper_gan"))
    assert second.model == first.model
    assert second.data == first.data
    assert second.train.start == f"{first.out}/best.safetensors"
    assert first.train.best == ("patch_pairs/given",)
    assert not first.data.benchmark  # CUFED alone is enough


@pytest.mark.parametrize("size", ["", "_small"])
def test_rcan_alone_is_the_baseline_of_self_similarity(size: str) -> None:
    own, alone = (load_config(CONFIGS / f"paper_{name}{size}.toml") for name in ("self", "rcan"))
    assert not alone.model.fusion
    same = [f.name for f in dataclasses.fields(SSENConfig) if f.name.startswith("rcan")]
    for key in ("channels", "trunk", *same):
        assert getattr(own.model, key) == getattr(alone.model, key)
    assert own.data == alone.data
    assert dataclasses.replace(own.train, reference_path=False) == alone.train


def test_a_network_without_fusion_ignores_its_reference() -> None:
    model = network(dataclasses.replace(THREE_LAYERS, fusion=False))
    lr, ref, validity = example_inputs(model, 1, 1)
    with torch.no_grad():
        results = [
            model(lr, ref, validity)[0],
            model(lr, None, None)[0],
            model.explain(lr, ref, validity)[0],
        ]
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    assert not any(name.startswith(("ref_in", "fuse")) for name in model.state_dict())


# bfloat16


def off_grid(values: Tensor) -> float:
    """The share of values that bfloat16 cannot hold."""
    return float((values != values.bfloat16().float()).float().mean())


def test_offsets_and_pixels_are_not_on_bfloat16s_grid() -> None:
    """38.17 px would be 38.25 in bfloat16."""
    model = network()
    with torch.no_grad():
        model.estimators[0].out.weight.zero_()  # type: ignore[union-attr, operator]
        model.estimators[0].out.bias.fill_(38.17)  # type: ignore[union-attr, operator]
    lr, ref, validity = example_inputs(model, 2, 2)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        sr, _, samples = model.explain(lr, ref, validity)
    assert torch.equal(samples[0][0], torch.full_like(samples[0][0], 38.17))
    for offset, modulation in samples[1:]:
        assert off_grid(offset) > 0.9
        assert off_grid(modulation) > 0.9
    with torch.autocast("cpu", enabled=False):
        residual = sr - model.bicubic(lr)
    assert sr.dtype == torch.float32
    assert off_grid(residual) > 0.9


def test_the_papers_network_begins_at_no_offset_and_half_a_modulation() -> None:
    """Its deformable layers are not scaled down: no skip carries the reference around them."""
    torch.manual_seed(1)
    paper = SSEN(dataclasses.replace(THREE_LAYERS, **PAPER))  # type: ignore[arg-type]
    torch.manual_seed(1)
    ours = SSEN(THREE_LAYERS)
    lr, ref, validity = example_inputs(paper, 2, 2)
    with torch.no_grad():
        for offset, modulation in paper.explain(lr, ref, validity)[2]:
            assert not offset.any()
            assert torch.equal(modulation, torch.full_like(modulation, 0.5))
    sizes = [float(model.deforms[0].weight.detach().std()) for model in (paper, ours)]  # type: ignore[union-attr, operator]
    assert sizes[0] > 5 * sizes[1]
