"""Several processes, one run: who this one is, what they share, and how they end together.

``torchrun`` starts them and says in the environment who each is; a process that was started by
hand is a run of its own. Gradients go over NCCL between GPUs and over gloo between CPUs; everything
small (terms, time, whether to stop) over gloo, always. Only the first process reads and writes the
run's folder, so that machines need not share a disk; the training data must be on each.
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

# How long one process may work while the rest wait: registering pairs for the first time can take
# hours. A process that dies is noticed at once, by its closed connections, not by this limit.
PATIENCE = timedelta(hours=12)
TORCHRUN = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR"}  # set in each process it starts
LOST = "Another process of this training run has ended"
CONTINUE = "start the run again with --resume auto to go on from its last checkpoint."


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run; alone, it shares with nobody and never waits."""

    rank: int = 0
    size: int = 1
    local: int = 0  # its number on its own machine

    @property
    def first(self) -> bool:
        """Whether this is the process that validates and writes."""
        return self.rank == 0

    def part(self, batch: int) -> range:
        """The sample indices of this process in a batch of ``batch``, a multiple of ``size``."""
        share = batch // self.size
        return range(self.rank * share, (self.rank + 1) * share)

    def sum(self, values: list[float]) -> list[float]:
        """Each value summed over the processes; all have to call it, and all get the same."""
        if self.size == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total)
        return total.tolist()

    def mean(self, terms: dict[str, float]) -> dict[str, float]:
        """Each term averaged over the processes, which hold equal parts of the batch."""
        return dict(zip(terms, (v / self.size for v in self.sum([*terms.values()])), strict=True))

    def agree(self, seconds: float, stop: bool) -> tuple[float, bool]:
        """The first process's clock, and whether any process wants to stop."""
        clock, stops = self.sum([seconds if self.first else 0.0, float(stop)])
        return clock, stops > 0

    def wait(self) -> None:
        """Until every process is here."""
        self.sum([0.0])

    def shared(self, make: Callable[[], T]) -> T:
        """What ``make`` returns in the first process, in all of them."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.first else None]
        dist.broadcast_object_list(box, 0, device=torch.device("cpu"))
        return box[0]

    @contextmanager
    def in_turn(self) -> Generator[None]:
        """The first process of each machine goes first; the rest find what it left on disk."""
        if self.local:
            self.wait()
        yield
        if not self.local:
            self.wait()

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Average gradients over the processes after ``backward``.

        For the discriminator: DistributedDataParallel does not allow the gradient penalty, whose
        graph goes through a gradient, nor several forward passes before one backward.
        """
        if self.size == 1:
            return
        gradients: list[Tensor] = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view(gradient.shape))


def launched() -> bool:
    """Whether ``torchrun`` started this process beside others."""
    return os.environ.keys() >= TORCHRUN and os.environ["WORLD_SIZE"] != "1"


def is_first() -> bool:
    """Whether this process is the one that speaks for the run."""
    return not launched() or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Generator[Ranks]:
    """Join the other processes that ``torchrun`` started, if it did, and leave them at the end.

    Raises ModelError with one sentence in every process that is left when another one dies.
    """
    if not launched():
        yield Ranks()
        return
    rank, size, local = (int(os.environ[key]) for key in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local)
        backend = "cpu:gloo,cuda:nccl"
    main = threading.current_thread() is threading.main_thread()  # only there may it be changed
    before = signal.signal(signal.SIGTERM, told_to_stop) if main else None
    try:
        dist.init_process_group(backend, timeout=PATIENCE)
        yield Ranks(rank, size, local)
        dist.destroy_process_group()  # not after an error: it may wait for those who are gone
    except RuntimeError as error:
        if not connection_lost(error):
            raise
        if main:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # or it cuts the sentence off
        raise ModelError(f"{LOST}; {CONTINUE}") from error
    finally:
        if main and signal.getsignal(signal.SIGTERM) is told_to_stop:
            signal.signal(signal.SIGTERM, before)


def told_to_stop(number: int, frame: object) -> None:
    """``torchrun`` sends SIGTERM to the processes that are left when one of them dies."""
    signal.signal(number, signal.SIG_IGN)  # one is enough
    raise ModelError(f"{LOST}, or the run was told to stop; {CONTINUE}")


def connection_lost(error: RuntimeError) -> bool:
    """Whether it tells of a peer that is gone, not of a mistake of this process."""
    signs = ("gloo", "NCCL", "Connection closed", "Connection reset", "Broken pipe")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)
