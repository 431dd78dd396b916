"""PatchGAN: judges every patch of a photo by itself (Isola et al., CVPR 2017).

It sees texture, not composition: what the adversarial term is wanted for. There is no batch norm:
the gradient penalty belongs to one sample, and processes that share a batch must see what one
would. Nor instance norm: it takes away local contrast, which is what tells a soft patch from a
sharp one. Spectral norm was tried and made no difference (docs/DECISIONS.md).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """``layers`` 4x4 convolutions of stride 2, two of stride 1; with three, a score sees 70x70.

    The last has no bias: Wasserstein compares scores, so its gradient would be rounding alone, and
    Adam would walk it off at random.
    """

    def __init__(self, channels: int, layers: int) -> None:
        """``channels``: of the first convolution, doubled by each next, at most eightfold."""
        super().__init__()
        widths = [channels * min(2**index, 8) for index in range(layers + 1)]
        inputs = [3, *widths]
        strides = [2] * layers + [1, 1]
        convs = [
            nn.Conv2d(before, after, 4, stride, 1, bias=after > 1)
            for before, after, stride in zip(inputs, [*widths, 1], strides, strict=True)
        ]
        for conv in convs[:-1]:
            nn.init.kaiming_normal_(conv.weight, 0.2, nonlinearity="leaky_relu")
        self.convs = nn.ModuleList(convs)

    def forward(self, photo: Tensor) -> Tensor:
        """(B, 3, H, W) RGB in 0..1 to scores (B, 1, h, w) of any size, high where it looks real."""
        x = photo * 2.0 - 1.0
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
        return self.convs[-1](x)
