"""Trains the estimator of a small photo's degradation (refsr/inference/blind_network.py).

    python research/train_blind.py bank PHOTOS SCENES out/bank.npz --entries 4000
    python research/train_blind.py train out/bank.npz out/blind.pt --minutes 15
    python research/train_blind.py export out/blind.pt src/refsr/weights/estimators/blind.onnx

A bank holds small photos behind lenses and programs' downscaling, without noise, each with the
kernel that stands between MATLAB's bicubic and it. Noise, sharpening and compression are drawn anew
in every step. SCENES/validation.txt names the scenes that are left out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from refsr.arrays import Image, Pixels
from refsr.degradation.blind_estimate import FLOOR, GRID
from refsr.degradation.kernel import convolve as filtered
from refsr.degradation.kernel import high_pass, solve
from refsr.degradation.simulate import (
    SHARPENING_SIGMA,
    sharpen,
    shrink,
    shrink_lanczos,
    shrink_opencv,
    to_levels,
)
from refsr.model.export import OPSET, store_half, strip_metadata
from refsr.registration.flow import luma
from refsr.resize import imresize
from refsr.train.degrade import compress_jpeg, downscale, lens, noisy

SAME_SCENE = ("spw_00", "st_school")  # show the validation scene spw_42
HR_SIDE = 480  # HR pixels a side of a bank entry, at most
CROP = 80  # LR pixels a side of a training crop
COMPONENTS = 8  # principal components of the log transfer
CALIBRATION = 16  # every 16th photo trains nothing
SCALARS = ("noise", "compression", "aliasing")

Transfer = NDArray[np.float32]  # (GRID, GRID) log transfer, zero frequency first


# --- the bank ---


def load_photos(photos: Path, scenes: Path) -> list[Pixels]:
    """All training photos, RGB."""
    left_out = {*(scenes / "validation.txt").read_text().split(), *SAME_SCENE}
    paths = sorted(p for p in photos.glob("*.jpg") if not p.name.startswith("t_"))
    for folder in sorted(scenes.iterdir()):
        if folder.is_dir() and folder.name not in left_out:
            paths += sorted(p for p in folder.iterdir() if p.suffix in (".jpg", ".png"))
    images = [cv2.imread(str(path)) for path in paths]
    return [np.ascontiguousarray(image[..., ::-1]) for image in images if image is not None]


def hr_crop(rng: np.random.Generator, photo: Pixels) -> Pixels:
    """A random part of a photo, sometimes of the photo made smaller (sharper)."""
    if min(photo.shape[:2]) > 560 and rng.random() < 0.4:
        photo = imresize(photo, scale=float(rng.uniform(0.6, 1.0)))
    height, width = (min(HR_SIDE, side // 4 * 4) for side in photo.shape[:2])
    top = int(rng.integers(0, photo.shape[0] - height + 1))
    left = int(rng.integers(0, photo.shape[1] - width + 1))
    return np.ascontiguousarray(photo[top : top + height, left : left + width])


def bank_entry(rng: np.random.Generator, hr: Pixels) -> tuple[Pixels, Transfer, float, bool] | None:
    """A small photo without noise, its log transfer, its aliasing, and whether it is clean."""
    clean_lr = shrink(hr)
    kind = rng.random()
    if kind < 0.3:  # nothing but a good downscaling
        shrunk = (to_levels(clean_lr), shrink_opencv(hr, cv2.INTER_AREA), shrink_lanczos(hr))
        lr, clean = shrunk[int(rng.choice(3, p=(0.6, 0.25, 0.15)))], True
    else:
        image = lens(rng, hr) if kind < 0.8 else hr
        if rng.random() < 0.1:
            image = to_levels(sharpen(image, float(rng.uniform(0.3, 1.5))))
        lr, clean = downscale(rng, image), False
    detail, source = high_pass(luma(lr)), high_pass(luma(clean_lr))
    inside = np.zeros(detail.shape, np.float32)
    inside[4:-4, 4:-4] = 1
    change = solve(detail - source, source, inside)  # the ridge draws to a delta
    if change is None or (detail**2).mean() < 4:
        return None
    kernel = change
    kernel[4, 4] += 1
    if not 0.6 < kernel.sum() < 1.6:
        return None
    rest: Image = (detail - filtered(source, kernel))[4:-4, 4:-4]
    fine = detail - cv2.GaussianBlur(detail, (0, 0), 1.0)
    share = float((rest**2).mean() / max(float((fine[4:-4, 4:-4] ** 2).mean()), 1.0))
    return lr, log_transfer(kernel), min(math.sqrt(share), 1.5), clean


def log_transfer(kernel: NDArray[np.float64]) -> Transfer:
    """The log of what a kernel (9, 9) lets pass at each frequency, its phase left out."""
    kernel = kernel / kernel.sum()
    kernel = (kernel + kernel[::-1, ::-1]) / 2
    placed = np.zeros((GRID, GRID))
    placed[:9, :9] = kernel
    spectrum = np.fft.fft2(placed)
    return (0.5 * np.log(np.abs(spectrum) ** 2 + FLOOR)).astype(np.float32)


def make_bank(photos: list[Pixels], path: Path, entries: int, seed: int) -> None:
    """Write a bank of random parts of the photos."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Pixels, Transfer, float, bool, int]] = []
    started, order = time.time(), rng.permutation(len(photos))
    while len(rows) < entries:
        number = int(order[len(rows) % len(photos)] if rng.random() < 0.9 else rng.choice(order))
        found = bank_entry(rng, hr_crop(rng, photos[number]))
        if found is not None and min(found[0].shape[:2]) >= CROP:
            rows.append((*found, number))
        if len(rows) % 200 == 0:
            print(len(rows), f"{time.time() - started:.0f} s", flush=True)
    np.savez(
        path,
        lr=np.concatenate([row[0].ravel() for row in rows]),
        size=np.array([row[0].shape[:2] for row in rows]),
        transfer=np.array([row[1] for row in rows]),
        aliasing=np.array([row[2] for row in rows], np.float32),
        clean=np.array([row[3] for row in rows]),
        photo=np.array([row[4] for row in rows]),
    )


# --- a training sample ---


def with_sharpening(transfer: Transfer, amount: float) -> Transfer:
    """The log transfer after an unsharp mask of SHARPENING_SIGMA."""
    frequency = 2 * np.pi * np.fft.fftfreq(GRID)
    squared = frequency[:, None] ** 2 + frequency[None] ** 2
    gain = 1 + amount * (1 - np.exp(-squared * SHARPENING_SIGMA**2 / 2))
    passed = np.maximum(np.exp(2 * transfer) - FLOOR, 0) * gain**2
    return (0.5 * np.log(passed + FLOOR)).astype(np.float32)


def sample(
    rng: np.random.Generator, lr: Pixels, transfer: Transfer, clean: bool
) -> tuple[Pixels, Transfer, float, float, bool]:
    """A crop (CROP, CROP, 3) with its log transfer, log noise, compression, and if it is clean."""
    top, left = (int(rng.integers(0, side - CROP + 1)) for side in lr.shape[:2])
    if rng.random() < 0.6:  # files are seldom cut off their JPEG grid
        top, left = top // 8 * 8, left // 8 * 8
    before = lr[top : top + CROP, left : left + CROP]
    if rng.random() < 0.5:
        before, transfer = before[:, ::-1], transfer[:, -np.arange(GRID) % GRID]
    if rng.random() < 0.5:
        before, transfer = before.transpose(1, 0, 2), transfer.T
    before = np.ascontiguousarray(before)
    compression, deviation = 0.0, 0.0
    image = before
    if rng.random() > (0.45 if clean else 0.2):
        ideal = before.astype(np.float32)
        if rng.random() < 0.4:
            image, clean = noisy(rng, before), False
        if rng.random() < 0.35:
            amount, clean = float(rng.uniform(0.15, 1.2)), False
            transfer = with_sharpening(transfer, amount)
            ideal = sharpen(ideal, amount)
            image = to_levels(sharpen(image, amount))
        deviation = float((luma(image.astype(np.float32) - ideal)).std())
        if rng.random() < 0.5:
            clean, quality = False, int(rng.integers(30, 97))
            image = compress_jpeg(rng, image, quality)
            compression = compression_of(quality)
    return image, transfer, math.log(max(deviation, 0.29) + 0.5), compression, clean


def compression_of(quality: int) -> float:
    """JPEG quality as the log of its quantisation: 0 for none, about 2 for 35."""
    scale = 5000 / quality if quality < 50 else 200 - 2 * quality
    return math.log1p(scale / 20)


# --- the network ---


def conv(inputs: int, outputs: int, side: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU."""
    layer = nn.Conv2d(inputs, outputs, side, stride, side // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


def local_mean(image: Tensor) -> Tensor:
    """Mean of 9 x 9 pixels (fewer at the border)."""
    return functional.avg_pool2d(image, 9, 1, 4, count_include_pad=False)


def dct_filters() -> Tensor:
    """The 63 filters (63, 1, 8, 8) of JPEG's DCT, without its mean."""
    k = torch.arange(8.0)
    rows = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) / 2
    rows[0] /= math.sqrt(2)
    return torch.einsum("ay,bx->abyx", rows, rows).reshape(64, 1, 8, 8)[1:]


class BlindNetwork(nn.Module):
    """Crops (B, 3, H, W) RGB 0..1 to features; features to means, log variances, clean logit.

    Half of the features are statistics of JPEG's DCT: spectrum, noise floor and quantisation are
    there to be read. A small convolutional network finds the rest.
    """

    ycc: Tensor
    dct: Tensor
    low: Tensor
    basis: Tensor
    mean: Tensor
    scale: Tensor
    offset: Tensor

    def __init__(self, basis: Tensor, mean: Tensor, offset: Tensor, scale: Tensor) -> None:
        """``basis`` (COMPONENTS, GRID^2) and ``mean`` (GRID^2) of the log transfer; ``offset`` and
        ``scale`` of the SCALARS."""
        super().__init__()
        ycc = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5], [0.5, -0.4187, -0.0813]]
        self.register_buffer("ycc", torch.tensor(ycc)[..., None, None])
        self.register_buffer("dct", dct_filters())
        order = torch.arange(64) // 8 + torch.arange(64) % 8
        self.register_buffer("low", (order[1:] <= 3).float()[None, :, None, None] / 9)
        for name, value in (("basis", basis), ("mean", mean), ("offset", offset), ("scale", scale)):
            self.register_buffer(name, value)
        self.first = conv(4, 24, 5, stride=2)
        self.second = conv(24, 40)
        self.third = nn.Sequential(conv(40, 56, stride=2), conv(56, 56))
        self.gate = nn.Conv2d(56, 56, 1)
        pooled, outputs = 24 + 40 + 3 * 56 + 5 * 63, 2 * (COMPONENTS + len(SCALARS)) + 1
        self.even = nn.BatchNorm1d(pooled)
        self.head = nn.Sequential(
            nn.Linear(pooled, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, outputs)
        )

    def spectrum(self, luma: Tensor, dims: tuple[int, ...]) -> list[Tensor]:
        """Statistics of the DCT of luma (B, 1, H, W), 0..255, in blocks of 8 x 8."""
        size = functional.conv2d(luma, self.dct, stride=8).abs()
        energy = (size * size * self.low).sum(1, keepdim=True)  # of coarse structure
        flat = 1 / (1 + energy / 30)
        flat = flat / (flat.mean(dims, keepdim=True) + 1e-4)
        strong = energy / (energy.mean(dims, keepdim=True) + 1e-2)
        log = (size + 0.3).log()
        return [
            log.mean(dims),
            (log * flat).mean(dims),
            (size * size * strong).mean(dims).add(0.1).log(),
            (size < 0.6).float().mean(dims),  # quantised to nothing
            (-size / 3).exp().mean(dims),
        ]

    def features(self, rgb: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Pooled features over ``dims``: one row a crop, or one of all crops."""
        ycc = functional.conv2d(rgb, self.ycc)
        high = 10 * (ycc - local_mean(ycc))
        bright = high[:, :1]
        even = bright / (local_mean(bright * bright) + 0.001).sqrt()
        first = self.first(torch.cat([high, even], 1))
        second = self.second(first)
        third = self.third(second)
        gate = self.gate(third).sigmoid() + 1e-3
        weighted = (third * gate).mean(dims) / gate.mean(dims)
        mean = third.mean(dims)
        deviation = ((third * third).mean(dims) - mean * mean).clamp(min=1e-6).sqrt()
        pooled = [first.mean(dims), second.mean(dims), weighted, mean, deviation]
        return torch.cat([*pooled, *self.spectrum(255 * ycc[:, :1], dims)], -1)

    def forward(self, rgb: Tensor, dims: tuple[int, ...] = (2, 3)) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised means and log variances (B, COMPONENTS + 3), and the clean logit (B,)."""
        features = self.features(rgb, dims)
        out = self.head(self.even(features.reshape(-1, features.shape[-1])))
        count = COMPONENTS + len(SCALARS)
        return out[..., :count], out[..., count:-1].clamp(-6, 3), out[..., -1]


class Exported(nn.Module):
    """Crops (N, 3, H, W) of one photo to what refsr reads: log transfer, scalars, deviations."""

    def __init__(self, network: BlindNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, crops: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """log_transfer, its deviation (GRID, GRID), scalars, their deviation (3,), clean ()."""
        net = self.network
        mean, log_variance, clean = (value[0] for value in net(crops, (0, 2, 3)))
        variance = log_variance.exp()
        log_transfer = net.mean + mean[:COMPONENTS] @ net.basis
        deviation = (variance[:COMPONENTS] @ (net.basis * net.basis)).sqrt()
        scalars = net.offset + mean[COMPONENTS:] * net.scale
        return (
            log_transfer.reshape(GRID, GRID),
            deviation.reshape(GRID, GRID),
            scalars,
            variance[COMPONENTS:].sqrt() * net.scale,
            clean.sigmoid(),
        )


def principal(transfers: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
    """Basis (COMPONENTS, GRID^2), each row of the component's deviation, and the mean."""
    flat = transfers.reshape(len(transfers), -1)
    mean = flat.mean(0)
    _, singular, rows = np.linalg.svd(flat - mean, full_matrices=False)
    share = np.cumsum(singular**2) / (singular**2).sum()
    print(f"{COMPONENTS} components hold {share[COMPONENTS - 1]:.4f} of the variance")
    basis = rows[:COMPONENTS] * singular[:COMPONENTS, None] / math.sqrt(len(flat))
    return torch.from_numpy(basis.astype(np.float32)), torch.from_numpy(mean.astype(np.float32))


# --- training ---


class Bank:
    """The bank's entries, as training draws from them."""

    def __init__(self, path: Path) -> None:
        data = np.load(path)
        sizes = data["size"]
        parts = np.split(data["lr"], np.cumsum(3 * sizes.prod(1))[:-1])
        self.lr = [flat.reshape(*size, 3) for flat, size in zip(parts, sizes, strict=True)]
        self.transfer, self.aliasing, self.clean = data["transfer"], data["aliasing"], data["clean"]
        held_out = data["photo"] % CALIBRATION == 0
        self.training, self.calibration = np.flatnonzero(~held_out), np.flatnonzero(held_out)

    def batch(
        self, rng: np.random.Generator, numbers: NDArray[np.int64]
    ) -> tuple[Tensor, Transfer, NDArray[np.float32], NDArray[np.float32]]:
        """Crops, log transfers (B, GRID, GRID), scalars (B, 3), clean (B,)."""
        rows = [(*sample(rng, self.lr[n], self.transfer[n], self.clean[n]), n) for n in numbers]
        crops = np.stack([row[0] for row in rows]).transpose(0, 3, 1, 2).astype(np.float32) / 255
        scalars = np.array([[row[2], row[3], self.aliasing[row[5]]] for row in rows], np.float32)
        transfers = np.stack([row[1] for row in rows])
        return torch.from_numpy(crops), transfers, scalars, np.float32([row[4] for row in rows])


def train(bank: Bank, path: Path, minutes: float, batch: int, rate: float, seed: int) -> None:
    """Train for some minutes; the rate follows a cosine of the time."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    _, transfers, scalars, _ = bank.batch(rng, rng.choice(bank.training, 4000))
    basis, mean = principal(transfers)
    offset, scale = torch.from_numpy(scalars.mean(0)), torch.from_numpy(scalars.std(0))
    network = BlindNetwork(basis, mean, offset, scale)
    print(sum(value.numel() for value in network.parameters()), "parameters")
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.01)
    project = torch.linalg.pinv(basis)  # (GRID^2, COMPONENTS)
    weight = torch.cat([basis.norm(dim=1) / basis[0].norm(), torch.full((len(SCALARS),), 0.5)])

    def losses(drawn: Any) -> tuple[Tensor, Tensor, Tensor]:
        crops, transfers, scalars, clean = drawn
        code = (torch.from_numpy(transfers).flatten(1) - mean) @ project
        target = torch.cat([code, (torch.from_numpy(scalars) - offset) / scale], 1)
        found, log_variance, logit = network(crops)
        squared = (found - target) ** 2
        likelihood = 0.5 * (squared * (-log_variance).exp() + log_variance)
        likelihood = likelihood * (0.5 * log_variance).exp().detach()  # beta-NLL, beta 0.5
        entropy = functional.binary_cross_entropy_with_logits(logit, torch.from_numpy(clean))
        return (likelihood * weight.sqrt()).mean() + 0.1 * entropy, squared, log_variance

    started, step, mean_error = time.time(), 0, None
    while (share := (time.time() - started) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 50) * (0.5 + 0.5 * math.cos(math.pi * share))
        loss, squared, _ = losses(bank.batch(rng, rng.choice(bank.training, batch)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        error = squared.detach().mean(0)
        mean_error = error if mean_error is None else mean_error + 0.02 * (error - mean_error)
        step += 1
        if step % 100 == 0:
            print(step, f"{share:.2f}", mean_error.numpy().round(2), flush=True)
            save(network, path, {"steps": step, "batch": batch, "seed": seed, "minutes": minutes})
    network.eval()
    with torch.no_grad():
        rows = [losses(bank.batch(rng, rng.choice(bank.calibration, batch)))[1:] for _ in range(30)]
    squared = torch.cat([row[0] for row in rows])
    z = squared * (-torch.cat([row[1] for row in rows])).exp()
    print("held-out photos, share of variance left:", squared.mean(0).numpy().round(3))
    print("rms of error over its deviation:", z.mean(0).sqrt().numpy().round(2))
    save(network, path, {"steps": step, "batch": batch, "seed": seed, "minutes": minutes})


def save(network: BlindNetwork, path: Path, facts: dict[str, Any]) -> None:
    """Weights and facts."""
    torch.save({"state": network.state_dict(), "facts": facts}, path)


def load(path: Path) -> tuple[BlindNetwork, dict[str, Any]]:
    """A network that ``save`` wrote."""
    saved = torch.load(path, weights_only=True)
    state = saved["state"]
    network = BlindNetwork(*(state[name] for name in ("basis", "mean", "offset", "scale")))
    network.load_state_dict(state)
    return network.eval(), saved["facts"]


# --- export ---


def fold_normalisation(network: BlindNetwork) -> None:
    """Multiply each batch normalisation into the convolution before it."""
    for block in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        if len(block) == 3 and isinstance(block[1], nn.BatchNorm2d):
            block[0], block[1] = fuse_conv_bn_eval(block[0], block[1]), nn.Identity()


def export(source: Path, path: Path) -> None:
    """Write the ONNX file, weights in 16 bits, and its card."""
    network, facts = load(source)
    fold_normalisation(network)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())
    names = ["log_transfer", "log_transfer_deviation", "scalars", "scalars_deviation", "clean"]
    sides = [torch.export.Dim(name, min=8) for name in "hw"]
    dims = {0: torch.export.Dim("n"), 2: sides[0], 3: sides[1]}
    program = torch.onnx.export(
        Exported(network).eval(),
        (torch.rand(2, 3, 80, 96),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["crops"],
        output_names=names,
        dynamic_shapes={"crops": dims},
        verbose=False,
    )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(store_half(strip_metadata(program.model_proto)), path)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    worst = 0.0
    for shape in ((1, 3, 8, 11), (3, 3, 96, 96)):
        crops = torch.rand(*shape)
        with torch.no_grad():
            expected = Exported(network)(crops)
        found = session.run(names, {"crops": crops.numpy()})
        for ours, theirs in zip(found, expected, strict=True):
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    assert worst < 1e-3, worst
    card = {
        "name": path.stem,
        "note": "Estimates the degradation of a small photo; not a network that enlarges",
        "parameters": sum(value.numel() for value in network.parameters()),
        "training": facts,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    print(f"{path}: {path.stat().st_size} bytes, differs from torch by {worst:.1e}")


def main() -> None:
    """Run one of the three steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    steps = parser.add_subparsers(dest="step", required=True)
    bank = steps.add_parser("bank")
    bank.add_argument("photos", type=Path)
    bank.add_argument("scenes", type=Path)
    bank.add_argument("out", type=Path)
    bank.add_argument("--entries", type=int, default=4000)
    training = steps.add_parser("train")
    training.add_argument("bank", type=Path)
    training.add_argument("out", type=Path)
    training.add_argument("--minutes", type=float, default=15)
    training.add_argument("--batch", type=int, default=24)
    training.add_argument("--rate", type=float, default=2e-3)
    exporting = steps.add_parser("export")
    exporting.add_argument("source", type=Path)
    exporting.add_argument("out", type=Path)
    for step in (bank, training):
        step.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    np.set_printoptions(linewidth=120, suppress=True)
    if options.step == "bank":
        photos = load_photos(options.photos, options.scenes)
        make_bank(photos, options.out, options.entries, options.seed)
    elif options.step == "train":
        bank = Bank(options.bank)
        train(bank, options.out, options.minutes, options.batch, options.rate, options.seed)
    else:
        export(options.source, options.out)


if __name__ == "__main__":
    main()
