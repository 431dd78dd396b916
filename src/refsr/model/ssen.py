"""SSEN: similarity-aware deformable extraction of reference detail (Shim, Park, Kweon, CVPR 2020).

The forward pass, at LR resolution unless marked HR:

    lr -> conv -> shared extractor -> lr_feat
    aligned reference (HR) -> two stride-2 convs -> shared extractor -> ref_feat
    3 x [ offset, modulation = estimator(lr_feat, aligned_feat)
          aligned_feat = aligned_feat + deformable conv(aligned_feat, offset, modulation) ]
    concat(lr_feat, aligned_feat) -> conv -> trunk -> + lr_feat -> pixel shuffle x4 -> conv (HR)
    sr = bicubic(lr) + residual + gate * (reference - bicubic(lr))

Notable choices, each measured in docs/DECISIONS.md. Those that depart from the paper have a switch
in ``SSENConfig``, which `configs/paper.toml` sets as the paper does (docs/PAPER.md):
- the deformable path is residual, its modulation starts at 0.88 and its offsets at zero, so the
  aligned feature passes from the first step; else the network learns to ignore the reference;
- where the reference is not valid, the upscaled photo replaces it (self-similarity), so a blank
  reference and no reference are equivalent by construction;
- the reference is input together with its difference to the upscaled photo, which shows where the
  two disagree;
- a per-pixel gate adds registered HR detail directly to the output; it is also the map of where the
  result's detail comes from;
- a network that is told how the photo was taken modulates its residual blocks by it (FiLM: Perez et
  al. 2018), those of the photo and of the reconstruction; an aliased photo, for one, looks like a
  sharper one;
- the non-local blocks attend in windows on a fixed grid of LR pixels, as large as a training patch
  (the paper's has 40 LR pixels): the cost is linear in pixels, and tiles cut on the grid give the
  untiled result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refsr.model.config import SSENConfig
from refsr.model.deform import TAPS, DeformConv
from refsr.model.trunk import RCAN, ResBlock, conv3, edsr, run_blocks
from refsr.resize import SCALE, contributions

FILM_HIDDEN = 32  # channels between the conditions and the modulation
GATE_BIAS_INIT = -2.0  # sigmoid(-2) = 0.12: at first little HR detail is transferred


def zero_init(conv: nn.Conv2d) -> nn.Conv2d:
    """Set the convolution's weights and bias to zero."""
    nn.init.zeros_(conv.weight)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


def in_float32(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """``conv`` of the features ``x`` (B, C, H, W), in float32 also inside an autocast region.

    bfloat16 has eight bits: offsets of 38 px would lie on a grid of 1/4 px, pixels on one of 1/256.
    """
    with torch.autocast(x.device.type, enabled=False):
        return conv(x.float())


def build_trunk(config: SSENConfig) -> nn.Module:
    """The trunk of ``config``: (B, channels, H, W) to the same."""
    if config.trunk == "rcan":
        return RCAN(config.channels, config.rcan_groups, config.rcan_blocks, config.rcan_reduction)
    return edsr(config.channels, config.reconstruction_blocks)


def build_film(config: SSENConfig) -> nn.Module:
    """From conditions (B, N, 1, 1) to scale and shift of every block; at first none change."""
    blocks = config.feature_blocks + config.reconstruction_blocks
    return nn.Sequential(
        nn.Conv2d(config.conditions, FILM_HIDDEN, 1),
        nn.ReLU(),
        zero_init(nn.Conv2d(FILM_HIDDEN, blocks * 2 * config.channels, 1)),
    )


class NonLocal(nn.Module):
    """Embedded-Gaussian non-local block (Wang et al. 2018): softmax(theta phi) g, + the input."""

    def __init__(self, channels: int, window: int, scaled: bool = True) -> None:
        """``window``: it attends within squares of so many pixels a side; 0: to everything.

        ``scaled``: the products are divided by the root of the inner channels, as in a transformer.
        """
        super().__init__()
        self.window, self.scale = window, None if scaled else 1.0
        self.qkv = nn.Conv2d(channels, channels // 2 * 3, 1)  # theta, phi and g in one convolution
        self.out = zero_init(nn.Conv2d(channels // 2, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same; H and W multiples of the window."""
        batch, _, height, width = x.shape
        wh, ww = (self.window, self.window) if self.window else (height, width)
        rows, columns = height // wh, width // ww
        qkv = self.qkv(x).view(batch, 3, -1, rows, wh, columns, ww)
        theta, phi, g = qkv.permute(1, 0, 3, 5, 4, 6, 2).reshape(3, -1, 1, wh * ww, x.shape[1] // 2)
        y = F.scaled_dot_product_attention(theta, phi, g, scale=self.scale)
        y = y.view(batch, rows, columns, wh, ww, -1).permute(0, 5, 1, 3, 2, 4)
        return x + self.out(y.reshape(batch, -1, height, width))


class OffsetEstimator(nn.Module):
    """The paper's Dynamic Offset Estimator: a U-Net to 1/8 with a non-local block at each scale."""

    def __init__(self, config: SSENConfig) -> None:
        super().__init__()
        c = config.offset_channels
        self.groups, self.modulated = config.deform_groups, config.modulation
        self.modulation_bias = config.modulation_bias
        self.concat = config.skip == "concat"
        self.down = nn.ModuleList(
            [conv3(2 * config.channels, c, 2), conv3(c, c, 2), conv3(c, c, 2)]
        )
        inputs = [c] + [2 * c if self.concat else c] * 2
        self.attend = nn.ModuleList(
            NonLocal(width, config.attention_window // step, config.attention_scaled)
            if config.nonlocal_blocks
            else nn.Identity()
            for width, step in zip(inputs, (8, 4, 2), strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, c, 4, 2, 1) for width in inputs)
        self.out = zero_init(conv3(c, self.groups * TAPS * 3))

    def forward(self, lr_feat: Tensor, ref_feat: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, G*18, H, W) in LR pixels and modulation (B, G*9, H, W) in 0..1, float32."""
        x = torch.cat([lr_feat, ref_feat], 1)
        skips: list[Tensor] = []
        for down in self.down:
            x = F.leaky_relu(down(x), 0.1)
            skips.append(x)
        x = skips.pop()
        for attend, up in zip(self.attend, self.up, strict=True):
            x = F.leaky_relu(up(attend(x)), 0.1)
            if skips:
                skip = skips.pop()
                x = torch.cat([x, skip], 1) if self.concat else x + skip
        out = in_float32(self.out, x)
        offset, logit = out.split([self.groups * TAPS * 2, self.groups * TAPS], 1)
        modulation = (
            torch.sigmoid(logit + self.modulation_bias)
            if self.modulated
            else torch.ones_like(logit)
        )
        return offset, modulation


class BicubicX4(nn.Module):
    """MATLAB's bicubic x4 as a fixed convolution and pixel shuffle, the same in every runtime."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        weights, indices = contributions(9, 9 * SCALE, float(SCALE))
        phases = np.zeros((SCALE, 5))  # the four output phases of one LR pixel over taps -2..2
        for phase in range(SCALE):
            np.add.at(phases[phase], indices[4 * SCALE + phase] - 2, weights[4 * SCALE + phase])
        kernel = np.einsum("py,qx->pqyx", phases, phases).reshape(SCALE * SCALE, 1, 5, 5)
        self.register_buffer(
            "kernel", torch.tensor(kernel, dtype=torch.float32).repeat(3, 1, 1, 1), False
        )

    def forward(self, lr: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 3, 4H, 4W)."""
        padded = F.pad(lr, (2, 2, 2, 2), mode="replicate")
        return F.pixel_shuffle(F.conv2d(padded, self.kernel, groups=3), SCALE)


class SSEN(nn.Module):
    """Reference-based super-resolution x4."""

    def __init__(self, config: SSENConfig, trunk: nn.Module | None = None) -> None:
        """``trunk``: replaces the configuration's; see docs/PAPER.md."""
        super().__init__()
        self.config = config
        c = config.channels
        self.bicubic = BicubicX4()
        self.lr_in = conv3(3, c)
        layers = config.deform_layers if config.fusion else 0
        if config.fusion:
            self.ref_in1 = conv3(3 if config.ref_inputs == "rgb" else 7, c // 2, 2)
            self.ref_in2 = conv3(c // 2, c, 2)
        self.extract = nn.Sequential(*(ResBlock(c) for _ in range(config.feature_blocks)))
        self.estimators = nn.ModuleList(OffsetEstimator(config) for _ in range(layers))
        self.deforms = nn.ModuleList(DeformConv(c, config.deform_residual) for _ in range(layers))
        if config.fusion:
            self.fuse = conv3(2 * c, c)
        self.reconstruct = build_trunk(config) if trunk is None else trunk
        self.shuffle = conv3(c, SCALE * SCALE * (c // 4))
        self.out = conv3(c // 4, 4)
        self.film = build_film(config) if config.conditions else None
        with torch.no_grad():
            self.out.weight.mul_(0.1)

    def forward(
        self,
        lr: Tensor,  # (B, 3, H, W) RGB 0..1; H, W multiples of config.multiple
        ref: Tensor | None = None,  # (B, 3, 4H, 4W) RGB 0..1, aligned, in the photo's colors
        validity: Tensor | None = None,  # (B, 1, 4H, 4W) 0..1, where the reference is valid
        condition: Tensor | None = None,  # (B, config.conditions, 1, 1); None: nothing is known
    ) -> tuple[Tensor, Tensor]:
        """Returns the SR photo (B, 3, 4H, 4W) and the gate (B, 1, 4H, 4W) of transferred HR detail.

        Without ``ref`` and ``validity`` the reference path is skipped: the LR features replace the
        aligned ones, H and W are arbitrary, and the gate is zero. Without ``self_reference``, it is
        skipped for the photos of a batch whose reference is valid nowhere, too.
        """
        if ref is None or validity is None or not self.config.fusion:
            return self.without_reference(lr, condition)
        if not self.config.self_reference:
            given = validity.amax((1, 2, 3)) > 0
            if not given.all():
                return self.forward_apart(given, lr, ref, validity, condition)
        sr, gate, _ = self.explain(lr, ref, validity, condition)
        return sr, gate

    def forward_apart(
        self, given: Tensor, lr: Tensor, ref: Tensor, validity: Tensor, condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """``forward`` of photos with and without (``given``, (B,) bool) a reference."""
        places, alone = given.nonzero()[:, 0], (~given).nonzero()[:, 0]
        parts = [self.without_reference(lr[alone], None if condition is None else condition[alone])]
        if len(places):
            told = None if condition is None else condition[places]
            parts.append(self.explain(lr[places], ref[places], validity[places], told)[:2])
        order = torch.cat([alone, places]).argsort()
        sr, gate = (torch.cat(part)[order] for part in zip(*parts, strict=True))
        return sr, gate

    def without_reference(
        self, lr: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """``forward`` without a reference, at half the cost."""
        with torch.autocast(lr.device.type, enabled=False):
            base = self.bicubic(lr)
        films = self.films(lr, condition)
        lr_feat = self.lr_features(lr, films)
        residual, logit = self.reconstruction(lr_feat, lr_feat, films).split([3, 1], 1)
        return base + residual, torch.zeros_like(logit)

    def films(self, lr: Tensor, condition: Tensor | None) -> Sequence[Tensor]:
        """The modulation (B, 2C, 1, 1) of each block by a condition; none of an untold network."""
        if self.film is None:
            return ()
        if condition is None:
            condition = lr.new_zeros(len(lr), self.config.conditions, 1, 1)
        return self.film(condition).split(2 * self.config.channels, 1)

    def lr_features(self, lr: Tensor, films: Sequence[Tensor]) -> Tensor:
        """The photo's features (B, C, H, W)."""
        return run_blocks(self.extract, self.lr_in(lr - 0.5), films[: self.config.feature_blocks])

    def reconstruction(
        self, lr_feat: Tensor, aligned_feat: Tensor, films: Sequence[Tensor]
    ) -> Tensor:
        """From features (B, C, H, W) to residual and gate logit (B, 4, 4H, 4W), float32."""
        both = torch.cat([lr_feat, aligned_feat], 1)
        feat = self.fuse(both) if self.config.fusion else lr_feat
        feat = run_blocks(self.reconstruct, feat, films[self.config.feature_blocks :])
        if self.config.fusion or self.config.trunk == "edsr":  # RCAN alone has it within
            feat = feat + lr_feat
        return in_float32(self.out, F.leaky_relu(F.pixel_shuffle(self.shuffle(feat), SCALE), 0.1))

    def explain(
        self, lr: Tensor, ref: Tensor, validity: Tensor, condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor]]]:
        """``forward`` and each layer's offsets and modulation (paper: Fig. 7).

        One pair per layer, first layer first: offsets (B, G*18, H, W) in LR pixels, (dy, dx) of
        each group's taps, and modulation (B, G*9, H, W), 0..1.
        """
        if not self.config.fusion:
            return *self.without_reference(lr, condition), []
        samples: list[tuple[Tensor, Tensor]] = []
        with torch.autocast(lr.device.type, enabled=False):
            base = self.bicubic(lr)
            detail = (ref - base) * validity  # zero where the photo replaces the reference
        films = self.films(lr, condition)
        lr_feat = self.lr_features(lr, films)
        ref_feat = base + detail - 0.5  # the reference as it is where its validity is one
        if self.config.ref_inputs != "rgb":
            ref_feat = torch.cat([ref_feat, detail, validity], 1)
        ref_feat = self.ref_in2(F.leaky_relu(self.ref_in1(ref_feat), 0.1))
        aligned_feat = self.extract(ref_feat)
        for estimate, deform in zip(self.estimators, self.deforms, strict=True):
            offset, modulation = estimate(lr_feat, aligned_feat)
            samples.append((offset, modulation))
            sampled = deform(aligned_feat, offset, modulation)
            aligned_feat = aligned_feat + sampled if self.config.deform_residual else sampled
        residual, logit = self.reconstruction(lr_feat, aligned_feat, films).split([3, 1], 1)
        if not self.config.hr_transfer:
            return base + residual, torch.zeros_like(logit), samples
        gate = torch.sigmoid(logit + GATE_BIAS_INIT) * validity
        return base + residual + gate * detail, gate, samples
