"""The training loop: one function a reader can follow, a checkpoint that continues bit for bit.

A run's folder holds ``config.json``, ``state.pt`` (everything a resumed run needs), ``last`` and
``best`` weights (.safetensors, the averaged ones), ``log.jsonl``, TensorBoard curves and sample
sheets. Every validation prints the gap between the given and a blank reference: a network that
learns not to use the reference shows here first (docs/DECISIONS.md).
"""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from PIL import Image as PillowImage
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from refsr.errors import DataError, ModelError
from refsr.evaluate.metrics import psnr
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.ssen import SCALE, SSEN, SSENConfig
from refsr.resize import imresize
from refsr.train.config import RunConfig, from_dict
from refsr.train.data import (
    Batch,
    Patches,
    Sample,
    blank,
    cached_pairs,
    image_files,
    load_hr,
    scenes,
    stack,
)
from refsr.train.optimizer import Optimizers
from refsr.train.simulate import MARGIN, simulate_reference

CROP = 384  # HR pixels a side of a validation crop: a few seconds in all


def charbonnier(sr: Tensor, hr: Tensor, epsilon: float) -> Tensor:
    """The paper's reconstruction loss, sqrt(d^2 + eps^2), averaged over pixels and channels."""
    return torch.sqrt((sr - hr) ** 2 + epsilon**2).mean()


def learning_rate(step: int, config: RunConfig, seconds: float = 0.0) -> float:
    """Linear rise, then half a cosine from the top to the final rate.

    The cosine follows the steps or, where the run has a time limit, ``seconds`` if they are ahead.
    """
    t = config.train
    if step < t.warmup:
        return t.learning_rate * (step + 1) / t.warmup
    done = (step - t.warmup) / max(1, t.steps - t.warmup)
    if t.minutes:
        done = max(done, seconds / (60 * t.minutes))
    return t.final_learning_rate + (t.learning_rate - t.final_learning_rate) * 0.5 * (
        1.0 + math.cos(math.pi * min(1.0, done))
    )


class Validation:
    """Fixed crops: held-out registered pairs, or simulated references where there are none."""

    def __init__(self, config: RunConfig) -> None:
        self.sets: dict[str, list[Sample]] = {}
        data = config.data
        if data.benchmark:
            photos = [load_hr(path, 10_000) for path in image_files(Path(data.benchmark))]
            self.sets["benchmark"] = [blank(imresize(hr, scale=1 / SCALE), hr) for hr in photos]
            self.sets["simulated"] = [simulated(hr, i) for i, hr in enumerate(photos)]
        held = scenes(data)[1] if data.pairs and data.real > 0 else []
        pairs = [middle(pair) for pair in cached_pairs(held, data)][::2]
        if pairs:
            self.sets["pairs"] = pairs

    @torch.no_grad()
    def run(self, model: SSEN) -> tuple[dict[str, float], np.ndarray | None]:
        """Mean luma PSNR by set and reference, and a sheet: bicubic | none | given | truth."""
        figures: dict[str, float] = {}
        rows: list[np.ndarray] = []
        for name, samples in self.sets.items():
            kinds = ["blank"] if name == "benchmark" else ["blank", "given", "foreign"]
            values: dict[str, list[float]] = {kind: [] for kind in kinds}
            for index, sample in enumerate(samples):
                other = samples[(index + len(samples) // 2) % len(samples)]
                outputs = {
                    kind: infer(model, with_reference(sample, other, kind)) for kind in kinds
                }
                for kind, sr in outputs.items():
                    values[kind].append(psnr(sr, sample.hr, border=SCALE))
                if name != "benchmark" and len(rows) < 4:
                    parts = [
                        imresize(sample.lr, scale=SCALE),
                        outputs["blank"],
                        outputs["given"],
                        sample.hr,
                    ]
                    rows.append(np.hstack([part[:256, :256] for part in parts]))
            figures |= {f"{name}/{kind}": float(np.mean(v)) for kind, v in values.items()}
            if "given" in kinds:
                figures[f"{name}/gap"] = figures[f"{name}/given"] - figures[f"{name}/blank"]
        rows = [row for row in rows if row.shape == rows[0].shape]
        return figures, np.vstack(rows) if rows else None


def simulated(hr: np.ndarray, index: int) -> Sample:
    """The middle of a photo with a simulated reference."""
    rng = np.random.default_rng((99, index))
    size = (min(hr.shape[:2]) - 2 * MARGIN) // (8 * SCALE) * 8 * SCALE
    hr = hr[: size + 2 * MARGIN, : size + 2 * MARGIN]
    ref, validity = simulate_reference(rng, hr, hr[::-1], size)
    inner = np.ascontiguousarray(hr[MARGIN : MARGIN + size, MARGIN : MARGIN + size])
    return Sample(imresize(inner, scale=1 / SCALE), inner, ref, validity)


def middle(pair: Sample) -> Sample:
    """The middle CROP x CROP pixels of a pair."""
    top, left = ((side - min(side, CROP)) // 2 // SCALE for side in pair.hr.shape[:2])
    lr = pair.lr[top : top + CROP // SCALE, left : left + CROP // SCALE]
    area = slice(top * SCALE, top * SCALE + CROP), slice(left * SCALE, left * SCALE + CROP)
    return Sample(lr, pair.hr[area], pair.ref[area], pair.validity[area])


def with_reference(sample: Sample, other: Sample, kind: str) -> Sample:
    """The sample with the given, a blank, or another sample's reference declared valid."""
    if kind == "given":
        return sample
    if kind == "blank":
        return blank(sample.lr, sample.hr)
    height, width = sample.hr.shape[:2]
    ref = np.pad(other.ref, ((0, height), (0, width), (0, 0)), "symmetric")[:height, :width]
    return Sample(sample.lr, sample.hr, ref, np.full((height, width), 255, np.uint8))


def infer(model: SSEN, sample: Sample) -> np.ndarray:
    """SR of a whole sample (4h, 4w, 3) uint8, padded by repetition to the network's grid."""
    arrays, step = stack([sample]), model.config.multiple
    height, width = sample.lr.shape[:2]
    down, right = -height % step, -width % step
    inputs = []
    for key, scale in (("lr", 1), ("ref", SCALE), ("validity", SCALE)):
        pad = ((0, 0), (0, 0), (0, down * scale), (0, right * scale))
        inputs.append(torch.from_numpy(np.pad(arrays[key], pad, "edge")).to(device_of(model)))
    sr, _ = model(*inputs)
    pixels = sr[0, :, : height * SCALE, : width * SCALE].permute(1, 2, 0).float().cpu().numpy()
    return np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)


def device_of(model: SSEN) -> torch.device:
    """Where the network's weights are."""
    return next(model.parameters()).device


class Trainer:
    """State of a run and the step that changes it."""

    def __init__(self, config: RunConfig) -> None:
        t = config.train
        torch.manual_seed(t.seed)
        torch.set_num_threads(t.threads)
        self.config, self.step, self.best, self.seconds = config, 0, -math.inf, 0.0
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = load_weights(Path(t.start))[0] if t.start else SSEN(config.model)
        if model.config != config.model:
            raise ModelError(f"{t.start} holds another network than the configuration describes.")
        self.model = model.to(self.device).train()
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # stubs
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = Optimizers(self.model, t.optimizer, t.offset_learning_rate)

    def train_step(self, arrays: Batch) -> float:
        """One update on a batch; returns the loss."""
        t = self.config.train
        batch = {
            key: torch.from_numpy(value).to(self.device, memory_format=torch.channels_last)
            for key, value in arrays.items()
        }
        with torch.autocast(self.device.type, torch.bfloat16, enabled=t.bf16):
            sr, _ = self.model(batch["lr"], batch["ref"], batch["validity"])
        loss = charbonnier(sr, batch["hr"], t.charbonnier_epsilon)
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), t.gradient_clip)
        if torch.isfinite(norm):  # a broken batch is skipped, not averaged in for ever
            self.optimizer.step(learning_rate(self.step, self.config, self.seconds))
        decay = min(t.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.ema.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1.0 - decay)
        self.step += 1
        return float(loss.detach())

    def save(self, folder: Path) -> None:
        """Write everything a resumed run needs, atomically."""
        state = {
            "step": self.step,
            "best": self.best,
            "seconds": self.seconds,
            "config": json.dumps(dataclasses.asdict(self.config)),
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, folder / "state.partial")
        (folder / "state.partial").replace(folder / "state.pt")
        save_weights(self.ema, folder / "last.safetensors", self.about())

    def about(self) -> dict[str, Any]:
        """What the weights' header says of them."""
        return {
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "seed": self.config.train.seed,
        }

    def resume(self, folder: Path) -> None:
        """Continue from the folder's checkpoint. Raises ModelError where it is another run's."""
        try:
            state = torch.load(folder / "state.pt", map_location=self.device, weights_only=True)
            kept = from_dict(SSENConfig, json.loads(state["config"])["model"], str(folder))
        except (
            *(OSError, EOFError, RuntimeError, ValueError, LookupError),
            *(UnpicklingError, DataError),
        ) as error:
            raise ModelError(f"The checkpoint in {folder} cannot be read: {error}") from error
        if kept != self.config.model:
            raise ModelError(
                f"The checkpoint in {folder} is of another network; choose another out."
            )
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]


def train(config: RunConfig, resume: bool = False) -> Path:
    """Train as ``config`` says; returns the run's folder. ``resume`` continues where it stopped.

    Raises DataError or ModelError where the data or a checkpoint does not fit, and refuses to
    start over an existing run unless told to resume it. Ctrl-C finishes the step, saves, and then
    raises KeyboardInterrupt.
    """
    folder, t = Path(config.out), config.train
    if config.data.patch % (SCALE * config.model.multiple):
        raise DataError(
            f"patch = {config.data.patch} does not fit the network: with attention_window = "
            f"{config.model.attention_window} it must be a multiple of "
            f"{SCALE * config.model.multiple}."
        )
    exists = (folder / "state.pt").exists()
    if exists and not resume:
        raise ModelError(f"{folder} holds a run already; continue it with --resume auto.")
    folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(config)
    if exists:
        trainer.resume(folder)
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
    patches, validation = Patches(config.data, t.seed, t.workers), Validation(config)
    writer = SummaryWriter(str(folder))
    bar = tqdm(total=t.steps, initial=trainer.step, desc=folder.name, disable=None, smoothing=0.05)
    losses: list[float] = []
    started = saved = time.monotonic()
    before = trainer.seconds
    with interrupts_noted() as interrupted:
        for batch in patches.batches(trainer.step, t.steps, t.batch):
            losses.append(trainer.train_step(batch))
            trainer.seconds = before + time.monotonic() - started
            bar.update()
            last = trainer.step == t.steps or 0 < 60 * t.minutes <= trainer.seconds
            if trainer.step % 100 == 0:
                writer.add_scalar("loss", float(np.mean(losses)), trainer.step)
                bar.set_postfix(loss=f"{np.mean(losses):.4f}")
            due = trainer.step % t.validate_every == 0 and not interrupted.is_set()
            if due or last:
                report(trainer, validation, writer, folder, float(np.mean(losses)))
                losses.clear()
            stop = last or interrupted.is_set()
            if stop or time.monotonic() - saved > 60 * t.checkpoint_minutes:
                trainer.save(folder)
                saved = time.monotonic()
            if stop:
                break
    bar.close()
    writer.close()
    if interrupted.is_set():
        raise KeyboardInterrupt
    return folder


@contextmanager
def interrupts_noted() -> Generator[threading.Event]:
    """An event that the first Ctrl-C sets instead of raising; a second one raises at once.

    A step that is cut short would leave weights, averages and optimizer at odds.
    """
    noted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()  # only there may it be changed
    if not main or before is not signal.default_int_handler:
        yield noted  # whoever ignores or handles Ctrl-C already, as nohup does, keeps doing so
        return

    def note(number: int, frame: object) -> None:
        noted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def report(
    trainer: Trainer, validation: Validation, writer: SummaryWriter, folder: Path, loss: float
) -> None:
    """Validate the averaged weights; log, draw, and keep them where they are the best so far."""
    figures, sheet = validation.run(trainer.ema)
    for name, value in figures.items():
        writer.add_scalar(name, value, trainer.step)
    if sheet is not None:
        PillowImage.fromarray(sheet).save(folder / "samples.png")
        writer.add_image("samples", sheet, trainer.step, dataformats="HWC")
    line = {"step": trainer.step, "loss": loss, "seconds": round(trainer.seconds), **figures}
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\n")
    shown = "  ".join(f"{name} {value:.3f}" for name, value in figures.items())
    tqdm.write(f"step {trainer.step}: loss {loss:.5f}  {shown}")
    score = float(
        np.mean([v for n, v in figures.items() if n.endswith(("given", "blank"))] or [0.0])
    )
    if score > trainer.best:
        trainer.best = score
        save_weights(trainer.ema, folder / "best.safetensors", {**trainer.about(), **figures})
