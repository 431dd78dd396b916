"""The training loop: one function that a reader can follow.

A run's folder holds ``config.json``, ``state.pt`` (everything a resumed run needs), ``last`` and
``best`` weights (.safetensors, the averaged ones), ``log.jsonl``, TensorBoard curves and sample
sheets. Every validation prints the gap between the given and a blank reference: a network that
learns not to use the reference shows here first (docs/DECISIONS.md).
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from refsr.errors import DataError, ModelError
from refsr.resize import SCALE
from refsr.train.config import RunConfig
from refsr.train.data import Patches
from refsr.train.distributed import Ranks, joined
from refsr.train.log import Log
from refsr.train.trainer import Trainer
from refsr.train.validation import Validation


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
    if config.train.reference_path and config.data.patch % multiple:
        raise DataError(
            f"patch = {config.data.patch} does not fit the network: with attention_window = "
            f"{config.model.attention_window} it must be a multiple of {multiple}."
        )
    if config.train.batch % ranks.size:
        raise DataError(
            f"batch = {config.train.batch} cannot be shared equally by {ranks.size} processes."
        )
    if config.adversarial.weight > 0 and config.data.patch >> config.adversarial.layers < 3:
        raise DataError(
            f"A patch of {config.data.patch} pixels is too small for a discriminator with layers = "
            f"{config.adversarial.layers}."
        )
    if not 0.0 <= config.train.distillation <= 1.0:
        raise DataError(f"distillation = {config.train.distillation:g} must be 0 to 1.")
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
    log = Log(trainer, Validation(config), folder) if ranks.first else None
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
