"""Logging of a run: TensorBoard curves, ``log.jsonl``, sample images, the best weights so far."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from refsr.model.checkpoint import save_weights
from refsr.train.trainer import Trainer
from refsr.train.validation import Validation


class Log:
    """Writes the run's folder."""

    def __init__(self, trainer: Trainer, validation: Validation, folder: Path) -> None:
        config = trainer.config
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))
        self.folder, self.validation = folder, validation
        self.writer = SummaryWriter(str(folder))
        self.bar = tqdm(
            total=config.train.steps,
            initial=trainer.step,
            desc=folder.name,
            disable=None,
            smoothing=0.05,
        )
        self.terms: dict[str, list[float]] = {}  # of each step since the last validation

    def means(self) -> dict[str, float]:
        """Every term of the loss, averaged over the steps since the last validation."""
        return {name: float(np.mean(values)) for name, values in self.terms.items()}

    def add_step(self, trainer: Trainer) -> None:
        """Record the terms of the last step."""
        for name, value in trainer.terms.items():
            self.terms.setdefault(name, []).append(value)
        self.bar.update()
        if trainer.step % 100 == 0:
            means = self.means()
            for name, value in means.items():
                self.writer.add_scalar(name, value, trainer.step)
            self.bar.set_postfix(loss=f"{means['loss']:.4f}")

    def validate(self, trainer: Trainer) -> None:
        """Validate the averaged weights, log the scores, and save the weights if they are best."""
        scores, sheet = self.validation.run(trainer.ema)
        for name, value in scores.items():
            self.writer.add_scalar(name, value, trainer.step)
        if sheet is not None:
            PillowImage.fromarray(sheet).save(self.folder / "samples.png")
            self.writer.add_image("samples", sheet, trainer.step, dataformats="HWC")
        means = self.means()
        self.terms.clear()
        seconds = round(trainer.seconds)
        line = {"step": trainer.step, **means, "seconds": seconds, **scores}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        shown = "  ".join(f"{name} {value:.3f}" for name, value in scores.items())
        tqdm.write(f"step {trainer.step}: loss {means['loss']:.5f}  {shown}")
        score = self.validation.best_by(scores)
        if score is not None and score >= trainer.best:  # the latest of equal ones
            trainer.best = score
            metadata = {**trainer.metadata(), **scores}
            save_weights(trainer.ema, self.folder / "best.safetensors", metadata)

    def close(self) -> None:
        """Close the progress bar and the curves."""
        self.bar.close()
        self.writer.close()
