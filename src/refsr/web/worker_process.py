"""A worker process, which does the work on photos, and the queue of tasks before it.

It is a separate process so that a cancelled task ends at once, its memory goes back to the system,
and no photo can crash the server.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from refsr.errors import RefsrError
from refsr.web.fair_queue import FairQueue

Message = dict[str, Any]  # JSON, to the process or from it
OnProgress = Callable[[Message], None]
MAX_LINE_BYTES = 1 << 24  # of one answer: outlines are long
WORKER_DIED = (
    "The worker process was killed, most likely because memory ran out; "
    "try a smaller photo or fewer references."
)


class TaskError(RefsrError):
    """A task failed. ``part`` is the upload that caused it, if known: photo, reference-1, ..."""

    def __init__(
        self, message: str, part: str | None = None, *, server_fault: bool = False
    ) -> None:
        """``server_fault``: the server failed, not the photo."""
        super().__init__(message)
        self.part, self.server_fault = part, server_fault


@dataclass(eq=False)
class QueuedTask:
    """A task that waits or runs."""

    task: Message
    on_progress: OnProgress
    result: asyncio.Future[Any]


class WorkerProcess:
    """Runs tasks (see ``refsr.web.tasks``), one at a time."""

    def __init__(self, settings: Message) -> None:
        """``settings``: the arguments of ``tasks.WorkerState``."""
        self.settings = settings
        self.queue: FairQueue[QueuedTask] = FairQueue()
        self.process: Process | None = None
        self.current: QueuedTask | None = None

    async def run(
        self, task: Message, client: str, on_progress: OnProgress = lambda _: None
    ) -> Any:
        """Queue a task of a client and return its result; ``on_progress`` gets its messages.

        Cancelling the call kills the process if it is at work on the task. Raises TaskError.
        """
        queued = QueuedTask(task, on_progress, asyncio.get_running_loop().create_future())
        self.queue.put(client, queued)
        try:
            return await queued.result
        except asyncio.CancelledError:
            self.queue.remove(queued)
            if queued is self.current:
                await self.kill()
            raise

    def position(self, task: Message) -> int | None:
        """Number of tasks before a waiting one; None where it does not wait any more."""
        for index, queued in enumerate(self.queue.order()):
            if queued.task is task:
                return index + (self.current is not None)
        return None

    async def kill(self) -> None:
        """Kill the process and wait for its end; the next task gets a new one."""
        process, self.process = self.process, None  # first: no task may get one that is dying
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def serve_queue(self) -> None:
        """Run the tasks of the queue until cancelled, which kills the process."""
        try:
            while True:
                await self.ensure_process()  # before the first task, so that the model is loaded
                self.current = await self.queue.get()
                if not self.current.result.done():
                    await self.run_task(self.current)
                self.current = None
        finally:
            await self.kill()

    async def ensure_process(self) -> Process:
        """The process; a new one where there is none or it has ended."""
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "refsr.web.worker", json.dumps(self.settings)),
                stdin=PIPE,
                stdout=PIPE,
                limit=MAX_LINE_BYTES,
                # Ctrl-C is for the server alone, which ends its processes itself.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
            )
        return self.process

    async def run_task(self, queued: QueuedTask) -> None:
        """Send one task to the process and read its messages until the task ends."""
        process = await self.ensure_process()
        if queued.result.done():  # cancelled while the process was started
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # then there is no answer either
            process.stdin.write((json.dumps(queued.task) + "\n").encode())
            await process.stdin.drain()
        while True:
            line = await process.stdout.readline()
            if not line:
                await process.wait()
                resolve(queued, TaskError(WORKER_DIED, server_fault=True))
                return
            message = json.loads(line)
            if "failed" in message:
                resolve(queued, TaskError(**message["failed"]))
                return
            if "done" in message:
                resolve(queued, message["done"])
                return
            queued.on_progress(message)


def resolve(queued: QueuedTask, result: Any) -> None:
    """Give the caller a result or an exception, unless the call was cancelled."""
    if queued.result.done():
        return
    if isinstance(result, Exception):
        queued.result.set_exception(result)
    else:
        queued.result.set_result(result)
