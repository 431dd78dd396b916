"""Reconstruction trunks, between the fused features and the pixel shuffle.

A trunk is any module that maps (B, C, H, W) to the same shape. SSEN passes it the fused features,
adds the LR photo's features to its output and upsamples the sum. docs/PAPER.md adds a third trunk
in less than 30 lines.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution with padding 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def scale_down(conv: nn.Conv2d) -> nn.Conv2d:
    """Multiply the initial weights by 0.1, so that a residual branch starts small."""
    with torch.no_grad():
        conv.weight.mul_(0.1)
    return conv


class ResBlock(nn.Module):
    """EDSR's residual block: conv, ReLU, conv, without batch norm; starts near identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = scale_down(conv3(channels, channels))

    def forward(self, x: Tensor, film: Tensor | None = None) -> Tensor:
        """(B, C, H, W) to the same; ``film`` (B, 2C, 1, 1): scale less one, and shift, within."""
        y = self.conv1(x)
        if film is not None:
            scale, shift = film.chunk(2, 1)
            y = y * (1 + scale) + shift
        return x + self.conv2(F.relu(y))


def edsr(channels: int, blocks: int) -> nn.Module:
    """The trunk of the paper's RefSR network: a sequence of residual blocks."""
    return nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))


def run_blocks(blocks: nn.Module, x: Tensor, films: Sequence[Tensor]) -> Tensor:
    """``x`` (B, C, H, W) through a sequence of blocks, each modulated by its own of ``films``."""
    if not films:
        return blocks(x)
    for block, film in zip(blocks.children(), films, strict=True):
        x = block(x, film)
    return x


class ChannelAttentionBlock(nn.Module):
    """RCAN's residual block: conv, ReLU, conv, channel attention."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = scale_down(conv3(channels, channels))
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same. The attention pools over all of H x W."""
        y = self.conv2(F.relu(self.conv1(x)))
        pooled = y.mean((2, 3), keepdim=True)
        return x + y * torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))


class ResidualGroup(nn.Module):
    """RCAN's residual group: channel-attention blocks, a convolution, and a skip connection."""

    def __init__(self, channels: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ChannelAttentionBlock(channels, reduction) for _ in range(blocks))
        )
        self.conv = scale_down(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv(self.blocks(x))


class RCAN(nn.Module):
    """The trunk of RCAN (Zhang et al., ECCV 2018), the paper's choice for self-similarity.

    Its channel attention pools over the whole map, so tiled results differ slightly from untiled
    ones.
    """

    def __init__(self, channels: int, groups: int, blocks: int, reduction: int) -> None:
        """``blocks``: per group. ``reduction``: of the channels inside the attention."""
        super().__init__()
        self.groups = nn.Sequential(
            *(ResidualGroup(channels, blocks, reduction) for _ in range(groups))
        )
        self.conv = scale_down(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv(self.groups(x))
