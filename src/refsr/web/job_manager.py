"""The jobs of the server: their folders, their states, and how long they are kept."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from refsr.web.limits import Limits
from refsr.web.worker_process import Message, TaskError, WorkerProcess

State = Literal["checking", "checked", "waiting", "working", "done", "failed", "cancelled"]
BUSY: tuple[State, ...] = ("checking", "waiting", "working")
SWEEP_SECONDS = 20.0
OVERDUE = 0.25  # of the time since the last news, that is left at least


@dataclass(eq=False)
class Job:
    """One small photo with its references, from the upload to the last download."""

    id: str  # unguessable: who knows it may see the photos
    client: str
    folder: Path
    names: dict[str, str]  # what the user calls the files photo, reference-1, ...
    state: State = "checked"
    verdict: dict[str, Any] | None = None
    report: dict[str, Any] | None = None
    failure: TaskError | None = None
    began: float | None = None  # times are those of ``time.monotonic``
    left: float = 0.0  # seconds, as foreseen at the time ``told``
    told: float = 0.0
    share: float = 0.0  # of the work, as shown last
    asked: float = field(default_factory=time.monotonic)  # when anybody last asked for it
    task: asyncio.Task[None] | None = None
    message: Message | None = None  # what the lane was given
    rendering: int = 0  # downloads that are being written

    def hear(self, message: Message) -> None:
        """Take what a worker says of its progress: the seconds left."""
        self.state, self.left, self.told = "working", message["left"], time.monotonic()
        self.began = self.began or self.told

    def progress(self) -> tuple[float, float]:
        """The finished share, which never goes back, and the seconds left.

        What takes longer than foreseen is said to take a while longer, not to be all but done.
        """
        assert self.began is not None
        now = time.monotonic()
        left = max(1.0, self.left - (now - self.told), OVERDUE * (now - self.told))
        self.share = max(self.share, (now - self.began) / (now - self.began + left))
        return self.share, left


class JobManager:
    """Takes jobs, has them worked on in two lanes, and forgets them in time.

    The one lane looks (the verdict) and writes downloads, which takes seconds; the other enlarges.
    """

    def __init__(
        self, folder: Path, looking: WorkerProcess, working: WorkerProcess, limits: Limits
    ) -> None:
        """``folder``: of the jobs, the server's own."""
        self.folder, self.looking, self.working, self.limits = folder, looking, working, limits
        self.jobs: dict[str, Job] = {}

    def full(self, client: str) -> str | None:
        """Why no further job of this client is taken now; None where one is."""
        words = self.limits.words()
        for lane in (self.looking, self.working):
            if len(lane.queue) >= self.limits.waiting:
                return words["queue"]
            if lane.queue.of(client) >= self.limits.waiting_each:
                return words["queue_each"]
        return None

    def new(self, client: str) -> Job:
        """A job with an empty folder."""
        id = secrets.token_urlsafe(18)
        folder = self.folder / id
        folder.mkdir(mode=0o700)
        job = self.jobs[id] = Job(id, client, folder, {})
        return job

    def find(self, id: str) -> Job | None:
        """A job by its id; to ask for it keeps it."""
        job = self.jobs.get(id)
        if job is not None:
            job.asked = time.monotonic()
        return job

    def look(self, job: Job) -> asyncio.Task[None]:
        """Have the references looked at; the job is checked, failed or cancelled at the end."""
        job.state = "checking"
        return self.begin(job, self.looking, {"task": "look"})

    def enlarge(self, job: Job, scale: int) -> asyncio.Task[None]:
        """Have the photo enlarged; the job is done, failed or cancelled at the end."""
        job.state, job.share, job.began, job.report = "waiting", 0.0, None, None
        for old in job.folder.glob("download-*"):
            old.unlink()
        return self.begin(job, self.working, {"task": "enlarge", "scale": scale})

    def begin(self, job: Job, lane: WorkerProcess, message: Message) -> asyncio.Task[None]:
        """Give a lane a job's task and note how it ends."""
        job.failure = None
        job.message = message | {"folder": str(job.folder), "names": job.names}
        job.task = asyncio.create_task(self.follow(job, lane, job.message))
        return job.task

    async def follow(self, job: Job, lane: WorkerProcess, message: Message) -> None:
        """Wait for a job's task."""
        try:
            answer = await lane.run(message, job.client, job.hear)
        except TaskError as error:
            job.failure, job.state = error, "failed"
        except asyncio.CancelledError:
            job.state = "cancelled"
            raise
        else:
            if lane is self.looking:
                job.verdict, job.state = answer, "checked"
            else:
                job.report, job.state = answer, "done"

    async def render(self, job: Job, out: str, strength: float, strip: bool) -> Path:
        """A download of a finished job, written unless it is there already. Raises TaskError."""
        path = job.folder / out
        if not path.exists():
            task: Message = {"task": "render", "folder": str(job.folder), "names": job.names}
            task |= {"out": out, "strength": strength, "strip": strip}
            job.rendering += 1
            try:
                await self.looking.run(task, job.client)
            finally:
                job.rendering -= 1
        return path

    async def drop(self, job: Job) -> None:
        """End a job, wherever it is, and remove its files."""
        self.jobs.pop(job.id, None)
        if job.task is not None:
            job.task.cancel()
            await asyncio.wait([job.task])
        shutil.rmtree(job.folder, ignore_errors=True)

    async def sweep(self) -> None:
        """Forget what nobody asked for in time, and the oldest of too many; for ever."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep_once(time.monotonic())

    async def sweep_once(self, now: float) -> None:
        """Forget what is due at a time of ``time.monotonic``."""
        idle = [job for job in self.jobs.values() if job.state not in BUSY and not job.rendering]
        idle.sort(key=lambda job: job.asked)
        too_many = max(0, len(idle) - self.limits.kept)
        for number, job in enumerate(idle):
            if number < too_many or now - job.asked > self.limits.keep_seconds:
                await self.drop(job)

    async def close(self) -> None:
        """Forget every job and remove the folder of all: the server stops."""
        for job in list(self.jobs.values()):
            await self.drop(job)
        shutil.rmtree(self.folder, ignore_errors=True)

    def status(self, job: Job) -> dict[str, Any]:
        """A job as its owner sees it."""
        facts: dict[str, Any] = {"id": job.id, "state": job.state, "progress": None}
        facts |= {"seconds_left": None, "before_you": None, "error": None}
        if job.state == "working":
            share, left = job.progress()
            facts["progress"], facts["seconds_left"] = round(share, 4), round(left, 1)
        elif job.state == "waiting" and job.message is not None:
            facts["progress"], facts["before_you"] = 0.0, self.working.before(job.message)
        elif job.state == "done":
            facts["progress"], facts["seconds_left"] = 1.0, 0.0
        if job.failure is not None:
            facts["error"] = str(job.failure)
        return facts | {"verdict": job.verdict, "report": job.report}
