"""The engine of a Ray cluster: each actor loads the models once and runs one job at a time.

Inputs, references and OUTDIR are on storage that every machine sees under the same path: only
paths are sent. An output is written whole or not at all, so a job that a lost worker had nearly
finished can be done again, and is counted once: by the worker that reports it.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from refsr.batch.jobs import BatchJob
from refsr.batch.journal import Record
from refsr.batch.options import BatchOptions
from refsr.batch.worker import Engine, Finish, load_upscaler, run_job
from refsr.errors import DataError

if TYPE_CHECKING:
    from refsr.registration.pool import ReferencePool

ATTEMPTS = 3  # of a job whose worker was lost
CONNECT_SECONDS = 5.0  # in which a cluster's port must open; Ray itself would try forever
POLL_SECONDS = 5.0  # after which the number of machines is checked again


class Worker:
    """The Ray actor: an Upscaler of one core, and the references to search."""

    def __init__(self, options: BatchOptions, memory: int, pool: ReferencePool | None) -> None:
        self.options, self.pool = options, pool
        self.upscaler = load_upscaler(options, memory)

    def ready(self) -> None:
        """Returns once the models are loaded."""

    def run(self, job: BatchJob) -> Record:
        """See ``refsr.batch.worker.run_job``; "worker" is the host and process that ran it."""
        record = run_job(self.upscaler, job, self.options, self.pool)
        return {**record, "worker": f"{socket.gethostname()}:{os.getpid()}"}


def connect(address: str) -> Any:
    """The ``ray`` module, connected to a cluster, with usage statistics off. Raises DataError."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise DataError("ray is missing; install it with: pip install 'refsr[bulk]'") from error
    # Ray prints lost workers on stdout, where our records go; no public switch ends that (2.60).
    setattr(importlib.import_module("ray._private.worker"), "_worker_logs_enabled", False)  # noqa: B010
    if not ray.is_initialized():
        if address not in ("auto", "local"):
            check_reachable(address)
        local = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
        try:
            ray.init(
                **(local if address == "local" else {}),
                address=address,
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            if address in ("auto", "local"):
                raise DataError(no_cluster(address)) from error
            raise DataError(
                f"{address} is not a Ray cluster, or refuses this program; if it needs a token, "
                "set RAY_AUTH_MODE=token here, too (docs/SCALING.md)."
            ) from error
    return ray


def check_reachable(address: str) -> None:
    """Make sure that HOST:PORT accepts connections. Raises DataError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise DataError(f"{address!r} is not an address; give HOST:PORT, auto or local.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise DataError(no_cluster(address)) from error


def no_cluster(address: str) -> str:
    """The error message where no cluster answers."""
    where = "on this machine" if address == "auto" else f"at {address}"
    return f"No Ray cluster answers {where}; start one with: ray start --head"


def ray_engine(address: str, memory: int, workers: int) -> Engine:
    """An engine of Ray actors. ``memory``: bytes of a worker; ``workers``: at most, 0 for all.

    A worker takes one core and gets one job at a time. ``address`` is Ray's, or "local" to start a
    cluster on this machine alone. The jobs of a lost machine are given to others.
    """

    def run(
        jobs: list[BatchJob], options: BatchOptions, pool: ReferencePool | None, finish: Finish
    ) -> None:
        """Run the jobs in actors, each noted by ``finish`` as it ends; see ``worker.Engine``."""
        ray = connect(address)
        shared = ray.put(pool)
        make = ray.remote(Worker).options(num_cpus=1, memory=memory)
        waiting = deque((job, 1) for job in jobs)
        starting: dict[Any, Any] = {}  # jobs are given to ready workers only: one may never start
        idle: list[Any] = []
        failed_starts = 0  # in a row
        busy: dict[Any, tuple[Any, BatchJob, int]] = {}
        try:
            while waiting or busy:
                fit = min(capacity(ray, memory), workers or len(jobs), len(waiting) + len(busy))
                while len(starting) + len(idle) + len(busy) < max(1, fit):
                    worker = make.remote(options, memory, shared)
                    starting[worker.ready.remote()] = worker
                while idle and waiting:
                    job, attempt = waiting.popleft()
                    worker = idle.pop()
                    busy[worker.run.remote(job)] = worker, job, attempt
                for answer in ray.wait([*busy, *starting], timeout=POLL_SECONDS)[0]:
                    if answer in starting:
                        worker = starting.pop(answer)
                        try:
                            ray.get(answer)
                        except ray.exceptions.RayError as error:
                            failed_starts += 1
                            check_failed_starts(failed_starts, error)
                        else:
                            failed_starts = 0
                            idle.append(worker)
                        continue
                    worker, job, attempt = busy.pop(answer)
                    try:
                        record = ray.get(answer)
                    except ray.exceptions.RayError:  # the worker was lost with its machine
                        retry(waiting, job, attempt)
                    else:
                        idle.append(worker)
                        finish(job, record)
        except KeyboardInterrupt:  # what has finished meanwhile is noted, too
            for answer in ray.wait([*busy], num_returns=len(busy), timeout=0)[0] if busy else ():
                with suppress(ray.exceptions.RayError):
                    finish(busy[answer][1], ray.get(answer))
            raise
        finally:
            for worker in [*idle, *starting.values(), *(one[0] for one in busy.values())]:
                ray.kill(worker)

    return run


def capacity(ray: Any, memory: int) -> int:
    """Number of workers that fit the cores and memory of the machines that are alive."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return sum(int(min(one.get("CPU", 0), one.get("memory", 0) // memory)) for one in alive)


def check_failed_starts(count: int, error: Exception) -> None:
    """Give up after ATTEMPTS failed starts of workers in a row. Raises DataError."""
    if count == ATTEMPTS:
        why = " ".join(str(error).strip().splitlines()[-1:])
        raise DataError(f"No worker starts on the cluster ({why}); is refsr installed there?")


def retry(waiting: deque[tuple[BatchJob, int]], job: BatchJob, attempt: int) -> None:
    """Put the job of a lost worker back at the front. Raises DataError after ATTEMPTS."""
    if attempt == ATTEMPTS:
        raise DataError(
            f"{ATTEMPTS} workers were lost on {job.input}; remove it and continue with --resume."
        )
    waiting.appendleft((job, attempt + 1))
