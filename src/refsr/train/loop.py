"""The training loop.

A run's folder holds ``config.json``, ``state.pt`` (everything a resumed run needs), ``last`` and
``best`` weights (.safetensors, averaged), ``log.jsonl``, TensorBoard curves and sample images.
Every validation logs the gap between the given and a blank reference: a network that learns to
ignore its reference shows it here first (docs/DECISIONS.md).
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
from refsr.train.collate import batches
from refsr.train.config import RunConfig
from refsr.train.distributed import Ranks, process_group
from refsr.train.log import Log
from refsr.train.sampler import PatchSampler
from refsr.train.trainer import Trainer
from refsr.train.validation import Validation


def train(config: RunConfig, resume: bool = False) -> Path:
    """Train by ``config`` and return the run's folder. ``resume`` continues an existing run.

    Under ``torchrun``, the processes share each batch and the first one writes. Raises DataError or
    ModelError where the data or a checkpoint does not fit, and ModelError where the run exists and
    ``resume`` is not set. Ctrl-C finishes the step, saves, and then raises KeyboardInterrupt.
    """
    with process_group() as ranks:
        return run(config, resume, ranks)


def check_config(config: RunConfig, ranks: Ranks) -> None:
    """Raises DataError where values of the configuration contradict each other."""
    multiple = SCALE * config.model.multiple
    if config.train.reference_path and config.data.patch % multiple:
        raise DataError(
            f"patch = {config.data.patch} does not fit the network: with attention_window = "
            f"{config.model.attention_window} it must be a multiple of {multiple}."
        )
    if config.adversarial.objective == "ragan" and ranks.size > 1:
        raise DataError(
            'objective = "ragan" compares with the mean of a whole batch: train it in one process.'
        )
    if config.train.batch % ranks.size:
        raise DataError(
            f"batch = {config.train.batch} cannot be split equally between {ranks.size} processes."
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
    """``train`` as the process ``ranks``."""
    folder, t = Path(config.out), config.train
    check_config(config, ranks)
    exists = ranks.broadcast((folder / "state.pt").exists)
    if exists and not resume:
        raise ModelError(f"{folder} already holds a run; continue it with --resume auto.")
    trainer = Trainer(config, ranks)
    if exists:
        trainer.resume(folder)
    with ranks.local_first():
        sampler = PatchSampler(config.data, t.seed, t.workers)
    log = Log(trainer, Validation(config), folder) if ranks.first else None
    ranks.barrier()
    indices = ranks.shard(t.batch)
    start = saved = time.monotonic()
    seconds_before = trainer.seconds
    stop = False
    with deferred_interrupt() as interrupted:
        for batch in batches(sampler, trainer.step, t.steps, len(indices), indices.start):
            trainer.train_step(batch)
            seconds = seconds_before + time.monotonic() - start
            trainer.seconds, stop = ranks.sync(seconds, interrupted.is_set())
            last = trainer.step == t.steps or 0 < 60 * t.minutes <= trainer.seconds
            due = last or (trainer.step % t.validate_every == 0 and not stop)
            if log is not None:
                log.add_step(trainer)
                if due:
                    log.validate(trainer)
                if last or stop or time.monotonic() - saved > 60 * t.checkpoint_minutes:
                    trainer.save(folder)
                    saved = time.monotonic()
            if due:
                ranks.barrier()  # here, not in the next step's gradients
            if last or stop:
                break
    if log is not None:
        log.close()
    if stop:
        raise KeyboardInterrupt
    return folder


@contextmanager
def deferred_interrupt() -> Generator[threading.Event]:
    """An event that the first Ctrl-C sets instead of raising; a second one raises at once.

    An interrupted step would leave weights, averages and optimizer inconsistent.
    """
    interrupted = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()  # signals need it
    if not main or before is not signal.default_int_handler:
        yield interrupted  # keep a handler that is not Python's default, such as nohup's
        return

    def handle(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
