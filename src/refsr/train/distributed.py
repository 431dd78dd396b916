"""Distributed training with ``torchrun``: ranks, collectives, and a clean end when one dies.

``torchrun`` describes each process in its environment; without it, a process is a run of its own.
Gradients use NCCL between GPUs and gloo between CPUs; small values (loss terms, time, whether to
stop) always use gloo. Only the first process reads and writes the run's folder, so machines need
not share a disk; the training data must be on each.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from refsr.errors import ModelError

T = TypeVar("T")

# Limit of a collective: the others wait while pairs are registered for the first time, which can
# take hours. A process that dies is noticed at once by its closed connections.
TIMEOUT = timedelta(hours=12)
TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"}  # its environment variables
LOST = "Another process of this training run has ended"
CONTINUE = "continue from its last checkpoint with --resume auto."


@dataclass(frozen=True)
class Ranks:
    """The rank of this process in the run; a single process never communicates."""

    rank: int = 0
    size: int = 1
    local: int = 0  # rank on its machine

    @property
    def first(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    def shard(self, batch: int) -> range:
        """The sample indices of this process in a batch of ``batch``, a multiple of ``size``."""
        count = batch // self.size
        return range(self.rank * count, (self.rank + 1) * count)

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over the processes, all of which must call it."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def mean(self, terms: dict[str, float]) -> dict[str, float]:
        """Each term averaged over the processes, which hold equal shards of the batch."""
        return dict(zip(terms, (v / self.size for v in self.sum([*terms.values()])), strict=True))

    def sync(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any process wants to stop."""
        clock, stops = self.sum([seconds if self.first else 0.0, float(stop)])
        return clock, stops > 0

    def barrier(self) -> None:
        """Wait until every process is here."""
        self.sum([0.0])

    def broadcast(self, make: Callable[[], T]) -> T:
        """The value that ``make`` returns in the first process, in all of them."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    @contextmanager
    def local_first(self) -> Generator[None]:
        """The first process of each machine runs first; the others find its files on disk."""
        if self.local:
            self.barrier()
        yield
        if not self.local:
            self.barrier()

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Average gradients over the processes after ``backward``.

        For the discriminator: DistributedDataParallel supports neither the gradient penalty, whose
        graph goes through a gradient, nor several forward passes before one backward.
        """
        if self.size == 1:
            return
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        means = (flat / self.size).split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view(gradient.shape))


def is_distributed() -> bool:
    """Whether ``torchrun`` started this process together with others."""
    return os.environ.keys() >= TORCHRUN and os.environ["WORLD_SIZE"] != "1"


def is_first() -> bool:
    """Whether this is the process that prints."""
    return not is_distributed() or os.environ["RANK"] == "0"


@contextmanager
def process_group() -> Generator[Ranks]:
    """Join the process group of ``torchrun``, if there is one, and leave it at the end.

    Raises ModelError in every remaining process when another one dies.
    """
    if not is_distributed():
        yield Ranks()
        return
    rank, size, local = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    main = threading.current_thread() is threading.main_thread()  # signals need it
    before = signal.signal(signal.SIGTERM, on_sigterm) if main else None
    try:
        dist.init_process_group(backend, timeout=TIMEOUT)
        yield Ranks(rank, size, local)
        dist.destroy_process_group()  # not after an error: it may wait for dead processes
    except RuntimeError as error:
        if not connection_lost(error):
            raise
        if main:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # or it interrupts the message
        raise ModelError(f"{LOST}; {CONTINUE}") from error
    finally:
        if main and signal.getsignal(signal.SIGTERM) is on_sigterm:
            signal.signal(signal.SIGTERM, before)


def on_sigterm(number: int, frame: object) -> None:
    """``torchrun`` sends SIGTERM to the remaining processes when one of them dies."""
    signal.signal(number, signal.SIG_IGN)  # handled once
    raise ModelError(f"{LOST}, or the run was terminated; {CONTINUE}")


def connection_lost(error: RuntimeError) -> bool:
    """Whether the error is a lost peer, not a fault of this process."""
    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)
