"""Reconstruction trunks: what comes between the fused features and the pixel shuffle.

A trunk is any module that maps (B, C, H, W) to the same shape. SSEN is attached to each in the same
way: it hands over one fused feature map, adds the photo's own features to what comes back, and
enlarges the sum. docs/PAPER.md adds a third one in less than 30 lines.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution, padded by one."""
    return nn.Conv2d(inputs, outputs, 3, stride, 1)


def near_zero(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution with a tenth of its weights: a residual that ends in it starts small."""
    with torch.no_grad():
        conv.weight.mul_(0.1)
    return conv


class ResBlock(nn.Module):
    """EDSR's residual block: conv, ReLU, conv, no batch normalisation; starts near identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = near_zero(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv2(F.relu(self.conv1(x)))


def edsr(channels: int, blocks: int) -> nn.Module:
    """The trunk of the paper's RefSR network: residual blocks, one after the other."""
    return nn.Sequential(*(ResBlock(channels) for _ in range(blocks)))


class ChannelAttentionBlock(nn.Module):
    """RCAN's residual block: conv, ReLU, conv, each channel weighed by what all of them hold."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv1 = conv3(channels, channels)
        self.conv2 = near_zero(conv3(channels, channels))
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1)
        self.excite = nn.Conv2d(channels // reduction, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same. The weights are pooled over all of H x W."""
        y = self.conv2(F.relu(self.conv1(x)))
        pooled = y.mean((2, 3), keepdim=True)
        return x + y * torch.sigmoid(self.excite(F.relu(self.squeeze(pooled))))


class ResidualGroup(nn.Module):
    """RCAN's residual group: channel-attention blocks, a convolution, a skip around them."""

    def __init__(self, channels: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ChannelAttentionBlock(channels, reduction) for _ in range(blocks))
        )
        self.conv = near_zero(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv(self.blocks(x))


class RCAN(nn.Module):
    """The trunk of RCAN (Zhang et al., ECCV 2018), which the paper takes for self-similarity.

    Its channel attention pools over the whole map: a photo worked on in tiles comes out slightly
    different from the same photo in one piece.
    """

    def __init__(self, channels: int, groups: int, blocks: int, reduction: int) -> None:
        """``blocks``: of each group. ``reduction``: of the channels inside the attention."""
        super().__init__()
        self.groups = nn.Sequential(
            *(ResidualGroup(channels, blocks, reduction) for _ in range(groups))
        )
        self.conv = near_zero(conv3(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        return x + self.conv(self.groups(x))
