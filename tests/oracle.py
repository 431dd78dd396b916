"""The network as docs/PAPER.md says it, in plain operators and float64: slow, and nothing shared.

Whatever ``SSEN`` leaves out, adds or reorders shows as a difference to this.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from refsr.model.config import SSENConfig
from refsr.resize import imresize


def sample_bilinear(x: Tensor, y: Tensor, x_: Tensor) -> Tensor:
    """``x`` (B, C, H, W) at the pixels (y, x_), both (B, H, W); zero outside."""
    height, width = x.shape[2:]
    grid = torch.stack([2 * x_ / (width - 1) - 1, 2 * y / (height - 1) - 1], -1)
    return F.grid_sample(x, grid, align_corners=True, padding_mode="zeros")


class Oracle:
    """The forward pass with the weights ``state`` of a network."""

    def __init__(self, state: dict[str, Tensor], config: SSENConfig) -> None:
        self.w = {name: value.double() for name, value in state.items()}
        self.c = config

    def conv(self, name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = self.w[f"{name}.weight"]
        return F.conv2d(x, weight, self.w[f"{name}.bias"], stride, weight.shape[-1] // 2)

    def blocks(self, name: str, count: int, x: Tensor) -> Tensor:
        for i in range(count):
            hidden = F.relu(self.conv(f"{name}.{i}.conv1", x))
            x = x + self.conv(f"{name}.{i}.conv2", hidden)
        return x

    def rcan(self, x: Tensor) -> Tensor:
        deep = x
        for i in range(self.c.rcan_groups):
            name, inner = f"reconstruct.groups.{i}", deep
            for j in range(self.c.rcan_blocks):
                block = f"{name}.blocks.{j}"
                y = self.conv(f"{block}.conv2", F.relu(self.conv(f"{block}.conv1", inner)))
                mean = y.sum((2, 3), keepdim=True) / (y.shape[2] * y.shape[3])
                squeezed = F.relu(self.conv(f"{block}.squeeze", mean))
                inner = inner + y / (1 + torch.exp(-self.conv(f"{block}.excite", squeezed)))
            deep = deep + self.conv(f"{name}.conv", inner)
        return x + self.conv("reconstruct.conv", deep)

    def attend(self, name: str, x: Tensor, window: int) -> Tensor:
        """Each window by itself; the whole map where ``window`` is zero."""
        theta, phi, g = self.conv(f"{name}.qkv", x).chunk(3, 1)
        y = torch.zeros_like(theta)
        height, width = x.shape[2:]
        wh, ww = window or height, window or width
        for top in range(0, height, wh):
            for left in range(0, width, ww):
                at = (slice(None), slice(None), slice(top, top + wh), slice(left, left + ww))
                a, b, values = (part[at].flatten(2) for part in (theta, phi, g))
                product = torch.einsum("bci,bcj->bij", a, b)
                if self.c.attention_scaled:
                    product = product / math.sqrt(a.shape[1])
                weight = torch.exp(product) / torch.exp(product).sum(2, keepdim=True)
                y[at] = torch.einsum("bij,bcj->bci", weight, values).view_as(y[at])
        return x + self.conv(f"{name}.out", y)

    def estimate(self, name: str, lr_feat: Tensor, ref_feat: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, G, 9, 2, H, W) and modulation (B, G, 9, H, W)."""
        x, maps = torch.cat([lr_feat, ref_feat], 1), list[Tensor]()
        for i in range(3):
            x = F.leaky_relu(self.conv(f"{name}.down.{i}", x, 2), 0.1)
            maps.append(x)
        for i, step in enumerate((8, 4, 2)):
            if self.c.nonlocal_blocks:
                x = self.attend(f"{name}.attend.{i}", x, self.c.attention_window // step)
            weight, bias = self.w[f"{name}.up.{i}.weight"], self.w[f"{name}.up.{i}.bias"]
            x = F.leaky_relu(F.conv_transpose2d(x, weight, bias, 2, 1), 0.1)
            if i < 2:
                skip = maps[1 - i]
                x = torch.cat([x, skip], 1) if self.c.skip == "concat" else x + skip
        out = self.conv(f"{name}.out", x)
        count = self.c.deform_groups * 9
        offset = out[:, : 2 * count].unflatten(1, (-1, 9, 2))
        logit = out[:, 2 * count :].unflatten(1, (-1, 9)) + self.c.modulation_bias
        modulation = 1 / (1 + torch.exp(-logit))
        return offset, modulation if self.c.modulation else torch.ones_like(modulation)

    def deform(self, name: str, x: Tensor, offset: Tensor, modulation: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        out = self.w[f"{name}.bias"].view(1, -1, 1, 1)
        for tap in range(9):
            parts: list[Tensor] = []
            for group, channels in enumerate(x.chunk(self.c.deform_groups, 1)):
                y = rows + tap // 3 - 1 + offset[:, group, tap, 0]
                x_ = columns + tap % 3 - 1 + offset[:, group, tap, 1]
                parts.append(sample_bilinear(channels, y, x_) * modulation[:, group, tap, None])
            weight = self.w[f"{name}.weight"][:, :, tap // 3, tap % 3, None, None]
            out = out + F.conv2d(torch.cat(parts, 1), weight)
        return out

    def __call__(self, lr: Tensor, ref: Tensor, validity: Tensor) -> tuple[Tensor, Tensor]:
        """SR and gate of inputs as those of ``SSEN``, in float64."""
        c = self.c
        photo = lr[0].permute(1, 2, 0).numpy()
        base = torch.from_numpy(imresize(photo, scale=4.0)).permute(2, 0, 1)[None].double()
        lr, ref, validity = lr.double(), ref.double(), validity.double()
        lr_feat = self.blocks("extract", c.feature_blocks, self.conv("lr_in", lr - 0.5))
        detail, feat = (ref - base) * validity, lr_feat
        if c.fusion:
            seen = validity * ref + (1 - validity) * base - 0.5
            if c.ref_inputs != "rgb":
                seen = torch.cat([seen, detail, validity], 1)
            half = F.leaky_relu(self.conv("ref_in1", seen, 2), 0.1)
            aligned = self.blocks("extract", c.feature_blocks, self.conv("ref_in2", half, 2))
            for i in range(c.deform_layers):
                offset, modulation = self.estimate(f"estimators.{i}", lr_feat, aligned)
                moved = self.deform(f"deforms.{i}", aligned, offset, modulation)
                aligned = aligned + moved if c.deform_residual else moved
            feat = self.conv("fuse", torch.cat([lr_feat, aligned], 1))
        if c.trunk == "rcan":
            feat = self.rcan(feat) + (lr_feat if c.fusion else 0)
        else:
            feat = self.blocks("reconstruct", c.reconstruction_blocks, feat) + lr_feat
        out = self.conv("out", F.leaky_relu(F.pixel_shuffle(self.conv("shuffle", feat), 4), 0.1))
        gate = torch.zeros_like(validity)
        if c.hr_transfer and c.fusion:
            gate = validity / (1 + torch.exp(2 - out[:, 3:]))
        return base + out[:, :3] + gate * detail, gate
