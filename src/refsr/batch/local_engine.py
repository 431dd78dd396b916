"""The engine of this machine: threads that share one set of networks."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from refsr.batch.jobs import BatchJob
from refsr.batch.options import BatchOptions
from refsr.batch.worker import Engine, Finish, load_upscaler, run_job
from refsr.errors import Cancelled, DataError
from refsr.inference.cores import usable_cores
from refsr.inference.memory import parse_memory
from refsr.inference.plan import PROGRAM_BYTES

if TYPE_CHECKING:
    from refsr.registration.pool import ReferencePool

WORKER_BYTES = 500_000_000  # beside the program: what a worker should have for a photo of 1 MP


@dataclass(frozen=True)
class WorkerBudget:
    """How many workers to run, and the bytes that each may plan with."""

    workers: int
    memory: int

    @staticmethod
    def of(max_memory: str, workers: int) -> WorkerBudget:
        """As many workers as cores and memory allow; exactly ``workers`` unless that is 0.

        They are threads of one process: its own memory counts once. Raises DataError.
        """
        if workers < 0:
            raise DataError(f"workers must be 0 or more, not {workers}; 0 is as many as fit.")
        allowed = parse_memory(max_memory)
        spare = max(0, allowed - PROGRAM_BYTES)
        fits = min(usable_cores(), spare // WORKER_BYTES)
        count = workers or max(1, fits)
        return WorkerBudget(count, PROGRAM_BYTES + spare // count)


def local_engine(budget: WorkerBudget, stop: threading.Event) -> Engine:
    """An engine of threads. Setting ``stop`` ends the jobs at their next tile, nothing written."""

    def check_stop(_: float) -> None:
        if stop.is_set():
            raise Cancelled("The batch was interrupted.")

    def run(
        jobs: list[BatchJob], options: BatchOptions, pool: ReferencePool | None, finish: Finish
    ) -> None:
        """Run the jobs in threads, each noted by ``finish`` as it ends; see ``worker.Engine``."""
        waiting: queue.SimpleQueue[BatchJob] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        workers = min(budget.workers, len(jobs))
        upscaler = load_upscaler(options, budget.memory, workers)
        one_at_a_time = threading.Lock()
        problems: list[BaseException] = []

        def work(ended: threading.Event) -> None:
            """Do jobs until none waits. Each is noted here, which no Ctrl-C interrupts."""
            try:
                while not stop.is_set():
                    job = waiting.get_nowait()
                    record = run_job(upscaler, job, options, pool, check_stop)
                    with one_at_a_time:
                        finish(job, record)
            except (queue.Empty, Cancelled):
                pass
            except BaseException as problem:
                problems.append(problem)
                stop.set()
            finally:
                ended.set()

        ends = [threading.Event() for _ in range(workers)]
        for ended in ends:
            threading.Thread(target=work, args=(ended,)).start()
        try:
            for ended in ends:  # Thread.join, once interrupted, no longer waits (bpo-45274)
                ended.wait()
        finally:
            stop.set()
            for ended in ends:
                ended.wait()
        if problems:
            raise problems[0]

    return run
