"""The embedding_bag deformable convolution against grid_sample in float64, both ways."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from refsr.model.deform import deform_conv2d


def by_grid_sample(
    x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """The definition, tap by tap: sample with zeros outside, modulate, convolve."""
    batch, channels, height, width = x.shape
    groups = modulation.shape[1] // 9
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    out = bias.view(1, -1, 1, 1).expand(batch, -1, height, width).clone()
    for tap in range(9):
        parts = []
        for group in range(groups):
            index = group * 9 + tap
            y = ys + tap // 3 - 1 + offset[:, 2 * index]
            x_ = xs + tap % 3 - 1 + offset[:, 2 * index + 1]
            grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
            part = x.view(batch, groups, channels // groups, height, width)[:, group]
            sampled = F.grid_sample(part, grid, align_corners=True, padding_mode="zeros")
            parts.append(sampled * modulation[:, index : index + 1])
        out = out + F.conv2d(torch.cat(parts, 1), weight[:, :, tap // 3, tap % 3, None, None])
    return out


def inputs(groups: int, dtype: torch.dtype) -> list[Tensor]:
    torch.manual_seed(groups)
    values = [
        torch.randn(2, 8, 7, 9),
        # away from whole pixels, where the derivative of bilinear sampling jumps
        torch.randint(-4, 4, (2, 18 * groups, 7, 9)) + torch.rand(2, 18 * groups, 7, 9) * 0.8 + 0.1,
        torch.rand(2, 9 * groups, 7, 9),
        torch.randn(6, 8, 3, 3),
        torch.randn(6),
    ]
    return [value.to(dtype).requires_grad_() for value in values]


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_forward_and_gradients_equal_the_definition(groups: int) -> None:
    ours, theirs = inputs(groups, torch.float32), inputs(groups, torch.float64)
    got, expected = deform_conv2d(*ours), by_grid_sample(*theirs)
    assert torch.allclose(got.double(), expected, atol=1e-4)
    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(3))
    (got * direction).sum().backward()
    (expected * direction).sum().backward()
    for name, a, b in zip(
        ("x", "offset", "modulation", "weight", "bias"), ours, theirs, strict=True
    ):
        assert a.grad is not None
        assert b.grad is not None
        scale = float(b.grad.abs().max())
        assert float((a.grad.double() - b.grad).abs().max()) < 1e-4 * scale, name


def test_without_offsets_it_is_a_convolution() -> None:
    x, offset, modulation, weight, bias = inputs(1, torch.float32)
    got = deform_conv2d(x, torch.zeros_like(offset), torch.ones_like(modulation), weight, bias)
    assert torch.allclose(got, F.conv2d(x, weight, bias, padding=1), atol=1e-5)


def test_far_outside_is_zero() -> None:
    x, offset, modulation, weight, bias = inputs(1, torch.float32)
    got = deform_conv2d(x, offset + 100, modulation, weight, bias)
    assert torch.allclose(got, bias.view(1, -1, 1, 1).expand_as(got))


def test_bfloat16_keeps_subpixel_positions() -> None:
    """At column 200 bf16 itself resolves one pixel; positions must not be held in it."""
    ramp = torch.arange(256.0).expand(1, 1, 4, 256).contiguous() / 256
    offset = torch.full((1, 18, 4, 256), 0.25)
    weight = torch.zeros(1, 1, 3, 3)
    weight[..., 1, 1] = 1
    plain = deform_conv2d(ramp, offset, torch.ones(1, 9, 4, 256), weight, torch.zeros(1))
    half = deform_conv2d(
        ramp.bfloat16(),
        offset,
        torch.ones(1, 9, 4, 256),
        weight.bfloat16(),
        torch.zeros(1).bfloat16(),
    )
    assert float((plain - half.float())[..., 1:3, :250].abs().max()) < 1 / 256
