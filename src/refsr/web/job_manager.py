"""The jobs of the server: their folders, their states, and when they are removed."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from refsr.web.limits import Limits
from refsr.web.worker_process import Message, QueuedTask, TaskError, WorkerProcess

State = Literal["checking", "checked", "waiting", "working", "done", "failed", "cancelled"]
ACTIVE: tuple[State, ...] = ("checking", "waiting", "working")
SWEEP_SECONDS = 20.0
OVERDUE = 0.25  # the time left is at least this share of the time since the last progress


@dataclass(eq=False)
class Job:
    """One small photo with its references, from the upload to the last download."""

    id: str  # a secret: whoever knows it can see the photos
    client: str
    folder: Path
    names: dict[str, str]  # the user's names of the files photo, reference-1, ...
    state: State = "checked"
    verdict: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    failure: TaskError | None = None
    started: float | None = None  # times are those of ``time.monotonic``
    seconds_left: float = 0.0  # as estimated at the time ``updated``
    updated: float = 0.0
    shown_progress: float = 0.0  # 0..1
    last_request: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = None
    message: Message | None = None  # the task as sent to the worker
    rendering: int = 0  # downloads that are being written

    def update(self, message: Message) -> None:
        """Take a progress message of the worker: the seconds left."""
        self.state, self.seconds_left = "working", message["seconds_left"]
        self.updated = time.monotonic()
        self.started = self.started or self.updated

    def progress(self) -> tuple[float, float]:
        """The finished share, which never decreases, and the seconds left.

        A job that takes longer than estimated gets more time instead of staying at almost done.
        """
        assert self.started is not None
        now = time.monotonic()
        since = now - self.updated
        left = max(1.0, self.seconds_left - since, OVERDUE * since)
        share = (now - self.started) / (now - self.started + left)
        self.shown_progress = max(self.shown_progress, share)
        return self.shown_progress, left


class JobManager:
    """Creates jobs, runs them in two worker processes, and removes them when they expire.

    One worker does checks and downloads, which take seconds; the other upscales.
    """

    def __init__(
        self,
        folder: Path,
        check_worker: WorkerProcess,
        upscale_worker: WorkerProcess,
        limits: Limits,
    ) -> None:
        """``folder``: for the folders of the jobs; the server owns it."""
        self.folder, self.limits = folder, limits
        self.check_worker, self.upscale_worker = check_worker, upscale_worker
        self.jobs: dict[str, Job] = {}
        self.arriving: Counter[str] = Counter()  # requests that are uploading, by client

    def refusal(self, client: str, *workers: WorkerProcess) -> str | None:
        """Why no further task of this client is accepted now; None where one is.

        ``workers``: those whose queues count; both unless given. Uploads count as waiting.
        """
        messages = self.limits.messages()
        for worker in workers or (self.check_worker, self.upscale_worker):
            if len(worker.queue) + self.arriving.total() >= self.limits.waiting:
                return messages["queue"]
            if worker.queue.count(client) + self.arriving[client] >= self.limits.waiting_each:
                return messages["queue_each"]
        return None

    @contextmanager
    def arrival(self, client: str) -> Generator[None]:
        """Count a request as waiting while it uploads, until its task is in a queue."""
        self.arriving[client] += 1
        try:
            yield
        finally:
            self.arriving[client] -= 1
            if not self.arriving[client]:
                del self.arriving[client]

    def create(self, client: str) -> Job:
        """A new job with an empty folder."""
        id = secrets.token_urlsafe(18)
        folder = self.folder / id
        folder.mkdir(mode=0o700)
        job = self.jobs[id] = Job(id, client, folder, {})
        return job

    def find(self, id: str) -> Job | None:
        """A job by its id; the request keeps it from expiring."""
        job = self.jobs.get(id)
        if job is not None:
            job.last_request = time.monotonic()
        return job

    def check(self, job: Job) -> asyncio.Task[None]:
        """Start to check the references; the job ends as checked, failed or cancelled."""
        job.state = "checking"
        return self.start(job, self.check_worker, {"task": "check"})

    def upscale(self, job: Job, options: Message) -> asyncio.Task[None]:
        """Start to upscale the photo; the job ends as done, failed or cancelled.

        ``options``: scale, strict, look and model, see ``tasks.upscale``.
        """
        job.state, job.shown_progress, job.started, job.report = "waiting", 0.0, None, None
        for old in job.folder.glob("download-*"):
            old.unlink(missing_ok=True)
        return self.start(job, self.upscale_worker, {**options, "task": "upscale"})

    def start(self, job: Job, worker: WorkerProcess, message: Message) -> asyncio.Task[None]:
        """Give a job's task to a worker and follow it."""
        job.failure = None
        job.message = message | {"folder": str(job.folder), "names": job.names}
        queued = worker.submit(job.message, job.client, job.update)
        job.task = asyncio.create_task(self.follow(job, worker, queued))
        return job.task

    async def follow(self, job: Job, worker: WorkerProcess, queued: QueuedTask) -> None:
        """Wait for a job's task and set the job's state from its end; a failed one has no files."""
        try:
            answer = await worker.result_of(queued)
        except TaskError as error:
            job.failure, job.state = error, "failed"
            shutil.rmtree(job.folder, ignore_errors=True)
        except asyncio.CancelledError:
            job.state = "cancelled"
            raise
        else:
            if worker is self.check_worker:
                job.verdict, job.state = answer, "checked"
            else:
                job.report, job.state = answer, "done"

    def render(self, job: Job, out: str, options: Message) -> asyncio.Task[None]:
        """Start to write the download file ``out`` of a finished job.

        ``options``: what is written, see ``tasks.render``. The task raises TaskError; cancelling
        it ends the work.
        """
        job.rendering += 1
        task = {**options, "task": "render", "out": out, "folder": str(job.folder)}
        queued = self.check_worker.submit({**task, "names": job.names}, job.client)
        return asyncio.create_task(self.follow_render(job, job.folder / out, queued))

    async def follow_render(self, job: Job, path: Path, queued: QueuedTask) -> None:
        """Wait for a download file; older ones of the job make room. Raises TaskError."""
        try:
            await self.check_worker.result_of(queued)
        finally:
            job.rendering -= 1
        written = sorted(job.folder.glob("download-*"), key=lambda one: one.stat().st_mtime)
        for old in written[: -self.limits.kept_downloads]:
            if old != path:
                old.unlink(missing_ok=True)

    async def remove(self, job: Job) -> None:
        """Cancel a job, whatever its state, and remove its files."""
        self.jobs.pop(job.id, None)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        shutil.rmtree(job.folder, ignore_errors=True)

    async def sweep(self) -> None:
        """Remove expired jobs every SWEEP_SECONDS, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep_once(time.monotonic())
            except Exception as error:  # the next sweep tries again
                traceback.print_exception(error)

    async def sweep_once(self, now: float) -> None:
        """Remove the jobs without a request in ``keep_seconds``, and the oldest above ``kept``.

        Of jobs that wait or work, those without one in ``unread_seconds``: nobody waits for them.
        A check ends when its client leaves.
        """
        for job in list(self.jobs.values()):
            unread = now - job.last_request > self.limits.unread_seconds
            if unread and job.state in ("waiting", "working"):
                await self.remove(job)
        idle = [job for job in self.jobs.values() if job.state not in ACTIVE and not job.rendering]
        idle.sort(key=lambda job: job.last_request)
        too_many = max(0, len(idle) - self.limits.kept)
        for number, job in enumerate(idle):
            if number < too_many or now - job.last_request > self.limits.keep_seconds:
                await self.remove(job)

    async def close(self) -> None:
        """Remove all jobs and their common folder."""
        for job in list(self.jobs.values()):
            await self.remove(job)
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self, job: Job) -> dict[str, Any]:
        """The status of a job as the HTTP API gives it."""
        facts: dict[str, Any] = {"id": job.id, "state": job.state, "names": job.names}
        facts |= dict.fromkeys(("progress", "seconds_left", "before_you", "error", "part"))
        if job.state == "working":
            share, left = job.progress()
            facts["progress"], facts["seconds_left"] = round(share, 4), round(left, 1)
        elif job.state == "waiting" and job.message is not None:
            position = self.upscale_worker.position(job.message)
            facts["progress"], facts["before_you"] = 0.0, position
        elif job.state == "done":
            facts["progress"], facts["seconds_left"] = 1.0, 0.0
        if job.failure is not None:
            facts["error"], facts["part"] = str(job.failure), job.failure.part
        return facts | {"verdict": job.verdict, "report": job.report}
