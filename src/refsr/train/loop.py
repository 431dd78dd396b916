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
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from refsr.errors import DataError, ModelError
from refsr.evaluate.metrics import psnr
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.ssen import SCALE, SSEN, SSENConfig
from refsr.resize import imresize
from refsr.train.adversary import Adversary
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
from refsr.train.distributed import Ranks, joined
from refsr.train.losses import reconstruction_loss
from refsr.train.optimizer import Optimizers
from refsr.train.schedule import learning_rate
from refsr.train.simulate import MARGIN, simulate_reference

ALONE = Ranks()
CPU = torch.device("cpu")
CROP = 384  # HR pixels a side of a validation crop: a few seconds in all


class Trainer:
    """State of a run and the step that changes it; the same in every process of the run."""

    def __init__(self, config: RunConfig, ranks: Ranks = ALONE) -> None:
        t = config.train
        torch.manual_seed(t.seed)
        torch.set_num_threads(t.threads)
        self.config, self.step, self.best, self.seconds = config, 0, -math.inf, 0.0
        self.ranks = ranks
        self.terms: dict[str, float] = {}  # of the last step's loss, over the whole batch
        self.device = torch.device("cuda", ranks.local) if torch.cuda.is_available() else CPU
        model = load_weights(Path(t.start))[0] if t.start else SSEN(config.model)
        if model.config != config.model:
            raise ModelError(f"{t.start} holds another network than the configuration describes.")
        self.model = model.to(self.device).train()
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # stubs
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = Optimizers(self.model, t.optimizer, t.offset_learning_rate)
        self.forward: nn.Module = self.model  # with others, it averages the gradients as well
        if ranks.size > 1:
            self.forward = DistributedDataParallel(self.model, broadcast_buffers=False)
        a = config.adversarial
        self.adversary = Adversary(a, t.seed, self.device) if a.weight > 0 else None

    def train_step(self, arrays: Batch) -> float:
        """One update on this process's part of a batch; returns the loss over the whole batch.

        Its terms, the discriminator's among them, are in ``terms``.
        """
        t = self.config.train
        batch = {
            key: torch.from_numpy(value).to(self.device, memory_format=torch.channels_last)
            for key, value in arrays.items()
        }
        with torch.autocast(self.device.type, torch.bfloat16, enabled=t.bf16):
            sr, _ = self.forward(batch["lr"], batch["ref"], batch["validity"])
        loss = reconstruction_loss(sr, batch["hr"], t.loss, t.charbonnier_epsilon)
        terms: dict[str, float] = {}
        if self.adversary is not None:
            terms = self.adversary.learn(batch["hr"], sr, self.step, self.ranks)
            terms["reconstruction"] = float(loss.detach())
            adversarial = self.adversary.term(sr)
            terms["adversarial"] = float(adversarial.detach())
            if self.step >= self.config.adversarial.warmup:
                loss = loss + self.config.adversarial.weight * adversarial
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
        self.terms = self.ranks.mean({"loss": float(loss.detach()), **terms})
        return self.terms["loss"]

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
        if self.adversary is not None:
            state["adversary"] = self.adversary.state_dict()
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
            state = self.ranks.shared(
                lambda: torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            )
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
        if ("adversary" in state) != (self.adversary is not None):
            raise ModelError(
                f"The run in {folder} and the configuration differ in having an adversarial term; "
                "fine-tune in a folder of its own, with start = the weights."
            )
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.adversary is not None:
                self.adversary.load_state_dict(state["adversary"])
        except (RuntimeError, ValueError, LookupError) as error:
            raise ModelError(
                f"The run in {folder} has another optimizer or discriminator: {error}"
            ) from error
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]


def train(config: RunConfig, resume: bool = False) -> Path:
    """Train as ``config`` says; returns the run's folder. ``resume`` continues where it stopped.

    Started by ``torchrun``, it is one of several processes that share each batch; the first of
    them writes. Raises DataError or ModelError where the data or a checkpoint does not fit, and
    refuses to start over an existing run unless told to resume it. Ctrl-C finishes the step,
    saves, and then raises KeyboardInterrupt.
    """
    with joined() as ranks:
        return run(config, resume, ranks)


def check(config: RunConfig, ranks: Ranks) -> None:
    """Raises DataError where values of the configuration do not go together."""
    multiple = SCALE * config.model.multiple
    if config.data.patch % multiple:
        raise DataError(
            f"patch = {config.data.patch} does not fit the network: with attention_window = "
            f"{config.model.attention_window} it must be a multiple of {multiple}."
        )
    if config.train.batch % ranks.size:
        raise DataError(
            f"batch = {config.train.batch} cannot be shared equally by {ranks.size} processes."
        )
    if config.train.period < 1:
        raise DataError(f"period = {config.train.period} must be at least one step.")


def run(config: RunConfig, resume: bool, ranks: Ranks) -> Path:
    """``train``, as one of the processes that ``ranks`` names."""
    folder, t = Path(config.out), config.train
    check(config, ranks)
    exists = ranks.shared((folder / "state.pt").exists)
    if exists and not resume:
        raise ModelError(f"{folder} holds a run already; continue it with --resume auto.")
    trainer = Trainer(config, ranks)
    if exists:
        trainer.resume(folder)
    with ranks.in_turn():
        patches = Patches(config.data, t.seed, t.workers)
    log = Log(trainer, folder) if ranks.first else None
    ranks.wait()
    share = ranks.part(t.batch)
    started = saved = time.monotonic()
    before = trainer.seconds
    stop = False
    with interrupts_noted() as interrupted:
        for batch in patches.batches(trainer.step, t.steps, len(share), share.start):
            trainer.train_step(batch)
            seconds = before + time.monotonic() - started
            trainer.seconds, stop = ranks.agree(seconds, interrupted.is_set())
            last = trainer.step == t.steps or 0 < 60 * t.minutes <= trainer.seconds
            due = last or (trainer.step % t.validate_every == 0 and not stop)
            if log is not None:
                log.add(trainer)
                if due:
                    log.report(trainer)
                if last or stop or time.monotonic() - saved > 60 * t.checkpoint_minutes:
                    trainer.save(folder)
                    saved = time.monotonic()
            if due:
                ranks.wait()  # here, not inside the next step's gradients
            if last or stop:
                break
    if log is not None:
        log.close()
    if stop:
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
