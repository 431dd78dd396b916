"""PatchGAN: a score for every patch of a photo (Isola et al., CVPR 2017).

It judges texture, not composition, which is what the adversarial loss is for. It has no batch norm:
the gradient penalty is defined per sample, and processes that share a batch must compute what one
would. It has no instance norm, which removes the local contrast that separates blurred from sharp
patches. Spectral norm was tried and made no difference (docs/DECISIONS.md).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """``layers`` 4x4 convolutions of stride 2, then two of stride 1; 70x70 pixels with three.

    The last has no bias: a Wasserstein loss compares scores, so the bias's gradient would only be
    rounding noise, which Adam would scale up to full steps.
    """

    def __init__(self, channels: int, layers: int) -> None:
        """``channels``: of the first convolution, doubled by each following one, at most x8."""
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
        """(B, 3, H, W) RGB in 0..1 to unbounded scores (B, 1, h, w), high for real."""
        x = photo * 2.0 - 1.0
        for conv in self.convs[:-1]:
            x = F.leaky_relu(conv(x), 0.2)
        return self.convs[-1](x)
