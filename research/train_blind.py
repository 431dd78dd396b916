"""Trains the estimator of a small photo's degradation (refsr/inference/blind_network.py).

    python research/train_blind.py bank PHOTOS SCENES out/bank.npz --entries 4000 --pages 1000
    python research/train_blind.py train out/bank.npz out/blind.pt --samples 60000
    python research/train_blind.py export out/blind.pt src/refsr/weights/estimators/blind.onnx

A bank holds small photos and rendered pages behind lenses and programs' downscaling, without noise,
each with the kernel that stands between MATLAB's bicubic and it. Noise, sharpening and compression
are drawn anew for every sample. SCENES/validation.txt names the scenes that are left out.
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

from refsr.arrays import Image, Pixels
from refsr.degradation.blind_estimate import FLOOR, GRID
from refsr.degradation.condition import compression_of
from refsr.degradation.kernel import convolve as filtered
from refsr.degradation.kernel import solve
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
from refsr.registration.misfit import high_pass
from refsr.resize import imresize
from refsr.train.degrade import compress_jpeg, downscale, lens, noisy
from rendered_pages import font_names, render_page

SAME_SCENE = ("spw_00", "st_school")  # show the validation scene spw_42
HR_SIDE = 480  # HR pixels a side of a bank entry, at most
CROPS = 64, 80  # LR pixels a side of training crops
COMPONENTS = 8  # principal components of the log transfer
BATCH = 32
CALIBRATION = 16  # every 16th photo trains nothing
STATISTICS = 10  # of each of the DCT's 63 frequencies
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


def make_bank(photos: list[Pixels], path: Path, entries: int, pages: int, seed: int) -> None:
    """Write a bank of random parts of the photos, ``entries`` of them, and of ``pages`` pages."""
    rng = np.random.default_rng(seed)
    rows: list[tuple[Pixels, Transfer, float, bool, int]] = []
    started, order = time.time(), rng.permutation(len(photos))
    while len(rows) < entries:
        number = int(order[len(rows) % len(photos)] if rng.random() < 0.9 else rng.choice(order))
        found = bank_entry(rng, hr_crop(rng, photos[number]))
        if found is not None and min(found[0].shape[:2]) >= max(CROPS):
            rows.append((*found, number))
        if len(rows) % 200 == 0:
            print(len(rows), f"{time.time() - started:.0f} s", flush=True)
    rng = np.random.default_rng((seed, 1))
    while len(rows) < entries + pages:
        found = bank_entry(rng, render_page(rng, HR_SIDE, HR_SIDE, font_names()))
        if found is not None:
            rows.append((*found, len(photos) + len(rows)))
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
    rng: np.random.Generator, lr: Pixels, transfer: Transfer, clean: bool, crop: int
) -> tuple[Pixels, Transfer, float, float, bool]:
    """A crop (crop, crop, 3) with its log transfer, log noise, compression, and if it is clean."""
    top, left = (int(rng.integers(0, side - crop + 1)) for side in lr.shape[:2])
    if rng.random() < 0.6:  # files are seldom cut off their JPEG grid
        top, left = top // 8 * 8, left // 8 * 8
    before = lr[top : top + crop, left : left + crop]
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
        if rng.random() < 0.5:
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


# --- the network ---


def dct_filters() -> Tensor:
    """The 63 filters (63, 1, 8, 8) of JPEG's DCT, without its mean."""
    k = torch.arange(8.0)
    rows = torch.cos(math.pi / 8 * (k[None] + 0.5) * k[:, None]) / 2
    rows[0] /= math.sqrt(2)
    return torch.einsum("ay,bx->abyx", rows, rows).reshape(64, 1, 8, 8)[1:]


class BlindNetwork(nn.Module):
    """Crops (B, 3, H, W) RGB 0..1 to means, log variances and the clean logit.

    What is learned is a perceptron of statistics of JPEG's DCT, of which spectrum, noise floor and
    quantisation can be read.
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
        ycc = [[0.299, 0.587, 0.114], [-0.1687, -0.3313, 0.5]]
        self.register_buffer("ycc", 255 * torch.tensor(ycc)[..., None, None])
        self.register_buffer("dct", dct_filters())
        order = torch.arange(64) // 8 + torch.arange(64) % 8
        self.register_buffer("low", (order[1:] <= 3).float()[None, :, None, None] / 9)
        for name, value in (("basis", basis), ("mean", mean), ("offset", offset), ("scale", scale)):
            self.register_buffer(name, value)
        outputs = 2 * (COMPONENTS + len(SCALARS)) + 1
        self.head = nn.Sequential(
            *(nn.BatchNorm1d(STATISTICS * 63), nn.Dropout(0.05)),
            *(nn.Linear(STATISTICS * 63, 128), nn.ReLU(), nn.Dropout(0.1)),
            *(nn.Linear(128, 96), nn.ReLU(), nn.Linear(96, outputs)),
        )

    def features(self, rgb: Tensor, dims: tuple[int, ...]) -> Tensor:
        """Pooled statistics over ``dims``: one row a crop, or one of all crops."""
        ycc = functional.conv2d(rgb, self.ycc)
        luma = ycc[:, :1]
        size = functional.conv2d(luma, self.dct, stride=8).abs()
        energy = (size * size * self.low).sum(1, keepdim=True)  # of coarse structure

        def weighted(values: Tensor, weight: Tensor) -> Tensor:
            return (values * weight).mean(dims) / (weight.mean(dims) + 1e-4)

        squared, log = size * size, (size + 0.3).log()
        off_grid = functional.conv2d(luma[:, :, 4:, 4:], self.dct, stride=8).abs()
        blue = functional.conv2d(ycc[:, 1:], self.dct, stride=8).abs()
        statistics = [
            log.mean(dims),
            weighted(log, 1 / (1 + energy / 30)),  # where the photo is flat
            (weighted(squared, energy) + 0.1).log(),  # at strong edges
            (weighted(squared, energy * energy) + 0.1).log(),  # at the strongest
            (weighted(squared, 1 / (energy + 30)) + 0.01).log(),
            (size < 0.6).float().mean(dims),  # quantised to nothing
            weighted((-size / 3).exp(), energy),
            (off_grid + 0.3).log().mean(dims),
            (off_grid < 0.6).float().mean(dims),
            (blue + 0.3).log().mean(dims),
        ]
        return torch.cat(statistics, -1)

    def forward(self, rgb: Tensor, dims: tuple[int, ...] = (2, 3)) -> tuple[Tensor, Tensor, Tensor]:
        """Normalised means and log variances (B, COMPONENTS + 3), and the clean logit (B,)."""
        return self.read(self.features(rgb, dims).reshape(-1, STATISTICS * 63))

    def read(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``forward``, from the features (B, STATISTICS * 63)."""
        out = self.head(features)
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
        crop = int(rng.choice(CROPS))
        rows = [
            (*sample(rng, self.lr[n], self.transfer[n], self.clean[n], crop), n) for n in numbers
        ]
        crops = np.stack([row[0] for row in rows]).transpose(0, 3, 1, 2).astype(np.float32) / 255
        scalars = np.array([[row[2], row[3], self.aliasing[row[5]]] for row in rows], np.float32)
        transfers = np.stack([row[1] for row in rows])
        return torch.from_numpy(crops), transfers, scalars, np.float32([row[4] for row in rows])


def draw(
    bank: Bank, network: BlindNetwork, rng: np.random.Generator, entries: Any, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, normalised targets (code and scalars) and clean of random samples."""
    project = torch.linalg.pinv(network.basis)  # (GRID^2, COMPONENTS)
    rows: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(count // BATCH):
        crops, transfers, scalars, clean = bank.batch(rng, rng.choice(entries, BATCH))
        code = (torch.from_numpy(transfers).flatten(1) - network.mean) @ project
        normal = (torch.from_numpy(scalars) - network.offset) / network.scale
        with torch.no_grad():
            features = network.features(crops, (2, 3))
        rows.append((features, torch.cat([code, normal], 1), torch.from_numpy(clean)))
        if len(rows) % 50 == 0:
            print(len(rows) * BATCH, "samples", flush=True)
    features, targets, clean = (torch.cat(list(column)) for column in zip(*rows, strict=True))
    return features, targets, clean


def train(bank: Bank, path: Path, samples: int, epochs: int, rate: float, seed: int) -> None:
    """Draw samples once, then train the perceptron on their statistics."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    _, transfers, scalars, _ = bank.batch(rng, rng.choice(bank.training, 4000))
    basis, mean = principal(transfers)
    offset, scale = torch.from_numpy(scalars.mean(0)), torch.from_numpy(scalars.std(0))
    network = BlindNetwork(basis, mean, offset, scale)
    print(sum(value.numel() for value in network.parameters()), "parameters")
    drawn = draw(bank, network, rng, bank.training, samples)
    held_out = draw(bank, network, rng, bank.calibration, samples // 8)
    torch.save([drawn, held_out], path.with_suffix(".samples"))
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=0.05)
    weight = torch.cat([basis.norm(dim=1) / basis[0].norm(), torch.full((len(SCALARS),), 0.5)])

    def losses(features: Tensor, target: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found, log_variance, logit = network.read(features)
        squared = (found - target) ** 2
        likelihood = 0.5 * (squared * (-log_variance).exp() + log_variance)
        likelihood = likelihood * (0.5 * log_variance).exp().detach()  # beta-NLL, beta 0.5
        entropy = functional.binary_cross_entropy_with_logits(logit, clean)
        return (likelihood * weight.sqrt()).mean() + 0.1 * entropy, squared, log_variance

    facts = {"samples": samples, "epochs": epochs, "rate": rate, "seed": seed}
    for epoch in range(epochs):
        network.train()
        for group in optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs))
        for numbers in torch.randperm(len(drawn[0])).split(4 * BATCH):
            loss = losses(*(values[numbers] for values in drawn))[0]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % 5 == 4 or epoch == epochs - 1:
            network.eval()
            with torch.no_grad():
                held, squared, log_variance = losses(*held_out)
            z = (squared * (-log_variance).exp()).mean(0).sqrt()
            print(epoch + 1, f"{loss.item():.3f} {held.item():.3f}, share of variance left:")
            print(squared.mean(0).numpy().round(2), "error over deviation", z.numpy().round(2))
            save(network, path, facts)


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


def export(source: Path, path: Path) -> None:
    """Write the ONNX file, weights in 16 bits, and its card."""
    network, facts = load(source)
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(value.half())
    names = ["log_transfer", "log_transfer_deviation", "scalars", "scalars_deviation", "clean"]
    sides = [torch.export.Dim(name, min=24) for name in "hw"]
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
    for shape in ((1, 3, 32, 41), (3, 3, 96, 96)):
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
    bank.add_argument("--pages", type=int, default=1000)
    training = steps.add_parser("train")
    training.add_argument("bank", type=Path)
    training.add_argument("out", type=Path)
    training.add_argument("--samples", type=int, default=60_000)
    training.add_argument("--epochs", type=int, default=25)
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
        make_bank(photos, options.out, options.entries, options.pages, options.seed)
    elif options.step == "train":
        bank = Bank(options.bank)
        train(bank, options.out, options.samples, options.epochs, options.rate, options.seed)
    else:
        export(options.source, options.out)


if __name__ == "__main__":
    main()
