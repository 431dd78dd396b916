"""Modulated deformable 3x3 convolution (DCNv2) without a compiled kernel.

Sampling is one ``embedding_bag``: the feature map is a table of channel rows, every (pixel, tap) is
a bag of its four bilinear corners, whose weights include the modulation; the convolution is one
matrix product over the nine sampled rows. Coordinates stay float32 whatever the features' type:
bf16 cannot represent sub-pixel positions.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 3
TAPS = KERNEL * KERNEL


def sample_corners(
    offset: Tensor,  # (B, G*9*2, H, W) float32, LR pixels; (dy, dx) of each group's taps
    modulation: Tensor,  # (B, G*9, H, W), 0..1
) -> tuple[Tensor, Tensor]:
    """Row indices and weights of the bags: both (B*H*W*9*G, 4), weights zero outside the map."""
    batch, _, height, width = offset.shape
    groups = modulation.shape[1] // TAPS
    displacement = (
        offset.float().view(batch, groups, TAPS, 2, height, width).permute(0, 4, 5, 2, 1, 3)
    )
    device = offset.device
    tap = torch.arange(TAPS, device=device).view(1, 1, 1, TAPS, 1)
    row = torch.arange(height, device=device).view(1, height, 1, 1, 1)
    column = torch.arange(width, device=device).view(1, 1, width, 1, 1)
    y = displacement[..., 0] + (row + tap // KERNEL - 1)
    x = displacement[..., 1] + (column + tap % KERNEL - 1)
    weight = modulation.float().view(batch, groups, TAPS, height, width).permute(0, 3, 4, 2, 1)
    y0, x0 = torch.floor(y), torch.floor(x)
    fy, fx = y - y0, x - x0
    image = torch.arange(batch, device=device).view(batch, 1, 1, 1, 1)
    group = torch.arange(groups, device=device).view(1, 1, 1, 1, groups)
    indices: list[Tensor] = []
    weights: list[Tensor] = []
    for cy, wy in ((y0, 1.0 - fy), (y0 + 1.0, fy)):
        for cx, wx in ((x0, 1.0 - fx), (x0 + 1.0, fx)):
            inside = (cy >= 0) & (cy <= height - 1) & (cx >= 0) & (cx <= width - 1)
            weights.append(wy * wx * weight * inside)
            iy = cy.detach().clamp(0, height - 1).to(torch.int64)
            ix = cx.detach().clamp(0, width - 1).to(torch.int64)
            indices.append(((image * height + iy) * width + ix) * groups + group)
    return torch.stack(indices, -1).view(-1, 4), torch.stack(weights, -1).view(-1, 4)


def deform_conv2d(
    x: Tensor,  # (B, C, H, W) float32 or bfloat16
    offset: Tensor,  # (B, G*9*2, H, W) LR pixels, (dy, dx) pairs: the order of DCNv2 and of ONNX
    modulation: Tensor,  # (B, G*9, H, W) 0..1
    weight: Tensor,  # (C_out, C, 3, 3)
    bias: Tensor,  # (C_out,)
) -> Tensor:
    """Modulated deformable convolution, stride 1, padding 1, zeros outside: (B, C_out, H, W).

    Equals torchvision's ``deform_conv2d`` and ONNX's ``DeformConv``. Paper: section 3.2.
    """
    batch, channels, height, width = x.shape
    groups = modulation.shape[1] // TAPS
    indices, weights = sample_corners(offset, modulation)
    table = x.permute(0, 2, 3, 1).reshape(-1, channels // groups)
    sampled = F.embedding_bag(indices, table, per_sample_weights=weights.to(x.dtype), mode="sum")
    kernel = weight.permute(0, 2, 3, 1).reshape(weight.shape[0], -1)
    out = F.linear(sampled.view(-1, TAPS * channels), kernel, bias)
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


@torch.library.custom_op("refsr::deform_conv2d", mutates_args=())
def deform_conv2d_op(
    x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor
) -> Tensor:
    """``deform_conv2d`` as one opaque operator, which the exporter maps to DeformConv."""
    return deform_conv2d(x, offset, modulation, weight, bias).contiguous()


@deform_conv2d_op.register_fake
def _(x: Tensor, offset: Tensor, modulation: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0], x.shape[2], x.shape[3])


class DeformConv(nn.Module):
    """One modulated deformable 3x3 convolution."""

    def __init__(self, channels: int, residual: bool = True) -> None:
        """``residual``: it has a skip around it, so its weights start as a small correction."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, KERNEL, KERNEL))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_normal_(self.weight)
        if residual:
            with torch.no_grad():
                self.weight.mul_(0.1)

    def forward(self, x: Tensor, offset: Tensor, modulation: Tensor) -> Tensor:
        """See ``deform_conv2d``; export uses the opaque operator."""
        if torch.compiler.is_exporting():
            return deform_conv2d_op(x, offset, modulation, self.weight, self.bias)
        return deform_conv2d(x, offset, modulation, self.weight, self.bias)
