"""Growing a network: the same function at first, and what may differ."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from networks import TINY
from refsr.errors import ModelError
from refsr.model.grow import grow
from refsr.model.ssen import SSEN


def test_a_grown_network_computes_the_same_and_learns() -> None:
    torch.manual_seed(3)
    small = SSEN(TINY).eval()
    large = grow(small, dataclasses.replace(TINY, reconstruction_blocks=3))
    assert not large.training
    lr, hr, validity = torch.rand(1, 3, 16, 16), torch.rand(1, 3, 64, 64), torch.ones(1, 1, 64, 64)
    with torch.no_grad():
        for one, other in zip(small(lr, hr, validity), large(lr, hr, validity), strict=True):
            assert torch.equal(one, other)
    large(lr, hr, validity)[0].square().mean().backward()
    last = list(large.reconstruct.children())[-1]
    assert all(value.grad is not None for value in last.parameters())
    assert last.conv2.weight.grad.abs().max() > 0


def test_a_network_that_will_be_told_computes_the_same_and_learns() -> None:
    torch.manual_seed(3)
    untold, lr = SSEN(TINY).eval(), torch.rand(1, 3, 16, 16)
    told = grow(untold, dataclasses.replace(TINY, conditions=5, reconstruction_blocks=2))
    condition = torch.ones(1, 5, 1, 1)
    with torch.no_grad():
        assert torch.equal(untold(lr, None, None)[0], told(lr, None, None, condition)[0])
    told(lr, None, None, condition)[0].square().mean().backward()
    assert told.film[-1].weight.grad.abs().max() > 0
    again = grow(told, told.config)
    assert all(map(torch.equal, again.parameters(), told.parameters()))
    with pytest.raises(ModelError, match="another network"):
        grow(told, TINY)


@pytest.mark.parametrize(
    "change",
    [{"reconstruction_blocks": 0}, {"channels": 16}, {"trunk": "rcan", "rcan_reduction": 4}],
)
def test_a_network_grows_in_one_way_only(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="another network"):
        grow(SSEN(TINY), dataclasses.replace(TINY, **change))
