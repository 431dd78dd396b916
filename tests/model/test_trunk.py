"""Trunks: the two of the configuration, and the one of docs/PAPER.md."""

import dataclasses

import torch

from networks import RCAN_TRUNK, THREE_LAYERS, documented_trunk, network
from refsr.model.export import example_inputs
from refsr.model.ssen import SSEN


def test_the_documented_third_trunk_works() -> None:
    model = network(THREE_LAYERS, documented_trunk()(THREE_LAYERS.channels))
    lr, ref, validity = example_inputs(model, 1, 2)
    sr, _ = model(lr, ref, validity)
    sr.square().mean().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.reconstruct.parameters())
    assert not torch.equal(sr, network()(lr, ref, validity)[0])


def test_ssen_is_attached_to_each_trunk_in_the_same_way() -> None:
    """Without its trunk, the network with RCAN is the one with EDSR's blocks."""

    def rest(model: SSEN) -> dict[str, torch.Size]:
        state = model.state_dict()
        return {k: v.shape for k, v in state.items() if not k.startswith("reconstruct.")}

    assert rest(network()) == rest(network(dataclasses.replace(THREE_LAYERS, **RCAN_TRUNK)))
