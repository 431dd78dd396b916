"""A batch over several machines: the same jobs by actors of Ray, models loaded once an actor.

Inputs, references and OUTDIR lie on storage that every machine sees under the same path: only
names travel. An output is written whole or not at all, so a job that a lost worker had all but
finished is done again without harm, and counted once: by whoever answers first.
"""

from __future__ import annotations

import importlib
import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from refsr.batch.jobs import BatchJob
from refsr.batch.options import Options
from refsr.batch.runner import Engine, Record, load_worker, perform
from refsr.errors import DataError

if TYPE_CHECKING:
    from refsr.registration.pool import ReferencePool

ATTEMPTS = 3  # of a job whose worker was lost
PATIENCE = 5.0  # seconds in which a cluster's port must open; Ray itself would try for ever
POLL = 5.0  # seconds after which lost machines and new ones are looked for


class Worker:
    """What an actor is: an Upscaler of one core, and the album."""

    def __init__(self, options: Options, memory: int, album: ReferencePool | None) -> None:
        self.options, self.album = options, album
        self.upscaler = load_worker(options, memory)

    def ready(self) -> None:
        """Answers when the models are loaded."""

    def perform(self, job: BatchJob) -> Record:
        """See ``refsr.batch.runner.perform``; "worker" says who did it."""
        record = perform(self.upscaler, job, self.options, self.album)
        return {**record, "worker": f"{socket.gethostname()}:{os.getpid()}"}


def connect(address: str) -> Any:
    """Ray, joined to the cluster at ``address``; it sends no statistics. Raises DataError."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    try:
        ray: Any = importlib.import_module("ray")
    except ImportError as error:
        raise DataError("ray is missing; install it with: pip install 'refsr[bulk]'") from error
    # Ray prints a lost worker on stdout, among our answers; no public switch ends that (2.60).
    setattr(importlib.import_module("ray._private.worker"), "_worker_logs_enabled", False)  # noqa: B010
    if not ray.is_initialized():
        if address not in ("auto", "local"):
            knock(address)
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
                f"What answers at {address} is no Ray cluster that lets this program in; if it "
                "wants a token, set RAY_AUTH_MODE=token here, too (docs/SCALING.md)."
            ) from error
    return ray


def knock(address: str) -> None:
    """Find out whether anybody is at HOST:PORT. Raises DataError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise DataError(f"{address!r} is no address; give HOST:PORT, auto or local.")
    try:
        socket.create_connection((host.strip("[]"), int(port)), PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise DataError(no_cluster(address)) from error


def no_cluster(address: str) -> str:
    """What to say where there is none."""
    where = "on this machine" if address == "auto" else f"at {address}"
    return f"No Ray cluster answers {where}; start one with: ray start --head"


def on_ray(address: str, memory: int, workers: int) -> Engine:
    """The engine of a cluster. ``memory``: bytes of a worker; ``workers``: at most, 0 for all.

    A worker takes one core and is given one job at a time: nothing piles up anywhere. ``address``
    is Ray's, or "local" for a cluster of this machine alone.
    """

    def run(
        jobs: list[BatchJob], options: Options, album: ReferencePool | None
    ) -> Iterator[tuple[BatchJob, Record]]:
        """Each job with its record, as it is done; a lost machine's jobs are given to others."""
        ray = connect(address)
        shared = ray.put(album)
        make = ray.remote(Worker).options(num_cpus=1, memory=memory)
        waiting = deque((job, 1) for job in jobs)
        starting: dict[Any, Any] = {}  # no job waits for a worker that may never find a place
        idle: list[Any] = []
        unborn = 0  # workers in a row that did not start
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
                    busy[worker.perform.remote(job)] = worker, job, attempt
                for answer in ray.wait([*busy, *starting], timeout=POLL)[0]:
                    if answer in starting:
                        worker = starting.pop(answer)
                        try:
                            ray.get(answer)
                        except ray.exceptions.RayError as error:
                            unborn = refuse(unborn + 1, error)
                        else:
                            unborn = 0
                            idle.append(worker)
                        continue
                    worker, job, attempt = busy.pop(answer)
                    try:
                        record = ray.get(answer)
                    except ray.exceptions.RayError:  # the worker is given up with its machine
                        lost(waiting, job, attempt)
                    else:
                        idle.append(worker)
                        yield job, record
        finally:
            for worker in [*idle, *starting.values(), *(one[0] for one in busy.values())]:
                ray.kill(worker)

    return run


def capacity(ray: Any, memory: int) -> int:
    """Workers for which the machines that are alive have cores and memory."""
    alive = (node["Resources"] for node in ray.nodes() if node["Alive"])
    return sum(int(min(one.get("CPU", 0), one.get("memory", 0) // memory)) for one in alive)


def refuse(times: int, error: Exception) -> int:
    """``times`` again, unless it is ATTEMPTS. Raises DataError."""
    if times == ATTEMPTS:
        first = str(error).strip().splitlines()[-1:]
        raise DataError(f"No worker starts on the cluster ({' '.join(first)}); is refsr there?")
    return times


def lost(waiting: deque[tuple[BatchJob, int]], job: BatchJob, attempt: int) -> None:
    """Put the job of a lost worker back at the front. Raises DataError after ATTEMPTS."""
    if attempt == ATTEMPTS:
        raise DataError(
            f"{ATTEMPTS} workers were lost with {job.input}; take it out and go on with --resume."
        )
    waiting.appendleft((job, attempt + 1))
