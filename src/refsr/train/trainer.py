"""The training step and the state of a run, with checkpoints that continue it bit for bit."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from refsr.errors import DataError, ModelError
from refsr.model.checkpoint import load_weights, save_weights
from refsr.model.config import SSENConfig, from_dict
from refsr.model.grow import grow
from refsr.model.ssen import SSEN
from refsr.train.adversarial import DiscriminatorTrainer
from refsr.train.collate import Batch
from refsr.train.config import RunConfig
from refsr.train.distributed import Ranks
from refsr.train.losses import reconstruction_loss
from refsr.train.optimizer import Optimizers
from refsr.train.schedule import learning_rate

SINGLE_PROCESS = Ranks()
CPU = torch.device("cpu")


def supports_bf16(device: torch.device) -> bool:
    """Whether the hardware computes in bfloat16; emulated, a step takes six times longer."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = torch.cpu._is_avx512_bf16_supported, torch.cpu._is_amx_tile_supported  # pyright: ignore[reportPrivateUsage]
    return any(check() for check in checks)


def load_start(start: str, config: SSENConfig) -> SSEN:
    """The network with the initial weights, grown to ``config``. Raises ModelError."""
    model = load_weights(Path(start))[0]
    try:
        return grow(model, config)
    except ModelError as error:
        raise ModelError(f"Training cannot start from {start}. {error}") from error


class Trainer:
    """The state of a run and its step; the same in every process of the run."""

    def __init__(self, config: RunConfig, ranks: Ranks = SINGLE_PROCESS) -> None:
        t = config.train
        torch.manual_seed(t.seed)
        torch.set_num_threads(t.threads)
        self.config, self.step, self.best, self.seconds = config, 0, -math.inf, 0.0
        self.ranks = ranks
        self.terms: dict[str, float] = {}  # of the last step's loss, over the whole batch
        self.device = torch.device("cuda", ranks.local) if torch.cuda.is_available() else CPU
        model = load_start(t.start, config.model) if t.start else SSEN(config.model)
        self.model = model.to(self.device).train()
        self.model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  # stubs
        self.ema = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.optimizer = Optimizers(
            self.model,
            t.optimizer,
            t.offset_learning_rate,
            t.film_learning_rate,
            t.adam_beta2,
        )
        self.forward: nn.Module = self.model  # DistributedDataParallel with several processes
        if ranks.size > 1:
            self.forward = DistributedDataParallel(
                self.model,
                broadcast_buffers=False,
                find_unused_parameters=not config.model.self_reference,
            )
        a = config.adversarial
        self.discriminator = DiscriminatorTrainer(a, t.seed, self.device) if a.weight > 0 else None

    def train_step(self, arrays: Batch) -> float:
        """One update on this process's shard of a batch; returns the loss over the whole batch.

        Its terms, the discriminator's included, are in ``terms``.
        """
        t = self.config.train
        batch = {
            key: torch.from_numpy(value).to(self.device, memory_format=torch.channels_last)
            for key, value in arrays.items()
            if t.reference_path or key not in ("ref", "validity")
        }
        bf16 = t.bf16 and supports_bf16(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            inputs = (batch.get(name) for name in ("ref", "validity", "condition"))
            sr, _ = self.forward(batch["lr"], *inputs)
        loss = reconstruction_loss(sr, batch["hr"], t.loss, t.charbonnier_epsilon)
        terms: dict[str, float] = {}
        if self.config.data.teacher or self.config.data.labels:
            target = batch.get("target", batch["hr"])
            target_loss = reconstruction_loss(sr, target, t.loss, t.charbonnier_epsilon)
            terms["truth"], terms["target"] = float(loss.detach()), float(target_loss.detach())
            loss = (1.0 - t.distillation) * loss + t.distillation * target_loss
        if self.discriminator is not None:
            terms |= self.discriminator.update(batch["hr"], sr, self.step, self.ranks)
            terms["reconstruction"] = float(loss.detach())
            adversarial = self.discriminator.generator_loss(batch["hr"], sr)
            terms["adversarial"] = float(adversarial.detach())
            if self.step >= self.config.adversarial.warmup:
                loss = loss + self.config.adversarial.weight * adversarial
        self.model.zero_grad(set_to_none=True)
        loss.backward()
        most = t.gradient_clip or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), most)
        if torch.isfinite(norm):  # a batch with NaN or infinity is skipped
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
        if self.discriminator is not None:
            state["adversary"] = self.discriminator.state_dict()
        torch.save(state, folder / "state.partial")
        (folder / "state.partial").replace(folder / "state.pt")
        save_weights(self.ema, folder / "last.safetensors", self.metadata())

    def metadata(self) -> dict[str, Any]:
        """The facts that are saved with the weights."""
        return {
            "steps": self.step,
            "hours": round(self.seconds / 3600, 2),
            "seed": self.config.train.seed,
            "degraded": self.config.data.degraded,
        }

    def resume(self, folder: Path) -> None:
        """Continue from the folder's checkpoint. Raises ModelError where it does not fit."""
        try:
            state = self.ranks.broadcast(
                lambda: torch.load(folder / "state.pt", map_location="cpu", weights_only=True)
            )
            model_config = from_dict(SSENConfig, json.loads(state["config"])["model"], str(folder))
        except (
            *(OSError, EOFError, RuntimeError, ValueError, LookupError),
            *(UnpicklingError, DataError),
        ) as error:
            raise ModelError(f"The checkpoint in {folder} cannot be read: {error}") from error
        if model_config != self.config.model:
            raise ModelError(f"The checkpoint in {folder} is of another network; set another out.")
        if ("adversary" in state) != (self.discriminator is not None):
            raise ModelError(
                f"The run in {folder} and the configuration differ in having an adversarial term; "
                "fine-tune in another folder, with start = the weights."
            )
        try:
            self.model.load_state_dict(state["model"])
            self.ema.load_state_dict(state["ema"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.discriminator is not None:
                self.discriminator.load_state_dict(state["adversary"])
        except (RuntimeError, ValueError, LookupError) as error:
            raise ModelError(
                f"The run in {folder} has another optimizer or discriminator: {error}"
            ) from error
        self.step, self.best, self.seconds = state["step"], state["best"], state["seconds"]
