"""A network without self-reference: where no reference is valid, its path is skipped."""

from __future__ import annotations

from dataclasses import replace

import torch

from networks import TINY
from networks import network as build
from refsr.model.ssen import SSEN


def inputs(count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    lr, ref = (torch.rand(count, 3, side, side, generator=generator) for side in (8, 32))
    return lr, ref, torch.ones(count, 1, 32, 32)


def network(self_reference: bool) -> SSEN:
    model = build(replace(TINY, self_reference=self_reference, conditions=2))
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.05 * torch.randn_like(value))
    return model


@torch.no_grad()
def test_photos_of_a_batch_are_treated_one_by_one() -> None:
    model, (lr, ref, validity) = network(False), inputs(3)
    condition = torch.rand(3, 2, 1, 1)
    validity[1] = 0
    sr, gate = model(lr, ref, validity, condition)
    for index in range(3):
        one = slice(index, index + 1)
        expected = model(lr[one], ref[one], validity[one], condition[one])
        torch.testing.assert_close((sr[one], gate[one]), expected)
    alone = model(lr[1:2], None, None, condition[1:2])
    torch.testing.assert_close((sr[1:2], gate[1:2]), alone)
    assert not gate[1].any()
    assert gate[0].any()


@torch.no_grad()
def test_with_self_reference_the_photo_takes_the_path() -> None:
    model, (lr, ref, validity) = network(True), inputs(1)
    on_path, _ = model(lr, ref, 0 * validity)
    skipped, _ = model(lr, None, None)
    assert (on_path - skipped).abs().max() > 1e-3


def test_a_batch_without_any_reference_trains_nothing_of_the_path() -> None:
    model, (lr, ref, validity) = network(False), inputs(2)
    model(lr, ref, 0 * validity)[0].sum().backward()
    assert model.ref_in1.weight.grad is None
    assert model.fuse.weight.grad is not None
