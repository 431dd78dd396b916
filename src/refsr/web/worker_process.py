"""A worker process, which does the work on photos, and the queue of tasks before it.

It is a separate process so that a cancelled task ends at once, its memory goes back to the system,
and no photo can crash the server.
"""

from __future__ import annotations

import asyncio
import json
import math
import subprocess
import sys
import traceback
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from refsr.errors import RefsrError
from refsr.image.atomic import reason
from refsr.web.fair_queue import FairQueue

Message = dict[str, Any]  # JSON, to the process or from it
OnProgress = Callable[[Message], None]
MAX_LINE_BYTES = 1 << 24  # of one answer: outlines are long
WORKER_DIED = (
    "The worker process was killed, most likely because memory ran out; "
    "try a smaller photo or fewer references."
)
NO_WORKER = "The server could not start a worker process ({reason}); try again in a few minutes."
BAD_ANSWER = "refsr failed on this photo; the server's terminal shows the error."
TOO_LONG = "This takes longer than the {seconds:.0f} seconds that the server allows."


class TaskError(RefsrError):
    """A task failed. ``part`` is the upload that caused it, if known: photo, reference-1, ..."""

    def __init__(self, message: str, part: str | None = None, status: int = 422) -> None:
        """``status``: of HTTP; 422 is the photo's fault, 500 and above are the server's."""
        super().__init__(message)
        self.part, self.status = part, status


@dataclass(eq=False)
class QueuedTask:
    """A task that waits or runs."""

    task: Message
    on_progress: OnProgress
    result: asyncio.Future[Any]


class WorkerProcess:
    """Runs tasks (see ``refsr.web.tasks``), one at a time."""

    def __init__(self, settings: Message, seconds: float = math.inf) -> None:
        """``settings``: the arguments of ``tasks.WorkerState``. ``seconds``: limit of one task."""
        self.settings, self.seconds = settings, seconds
        self.queue: FairQueue[QueuedTask] = FairQueue()
        self.process: Process | None = None
        self.current: QueuedTask | None = None

    def submit(
        self, task: Message, client: str, on_progress: OnProgress = lambda _: None
    ) -> QueuedTask:
        """Queue a task of a client; it counts as waiting from now on. See ``result_of``."""
        queued = QueuedTask(task, on_progress, asyncio.get_running_loop().create_future())
        self.queue.put(client, queued)
        return queued

    async def result_of(self, queued: QueuedTask) -> Any:
        """The result of a queued task; its ``on_progress`` gets the messages until then.

        Cancelling the call kills the process if it is at work on the task. Raises TaskError.
        """
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
        """Run the tasks of the queue until cancelled, which kills the process.

        Whatever goes wrong with a task or the process ends that task; the next one is run.
        """
        try:
            while True:
                with suppress(OSError):  # the next task tries again, and is told
                    await self.ensure_process()  # before it comes, so that the model is loaded
                self.current = await self.queue.get()
                if not self.current.result.done():
                    await self.run_guarded(self.current)
                self.current = None
        finally:
            await self.kill()

    async def run_guarded(self, queued: QueuedTask) -> None:
        """Run one task; an error of the process ends it and the process, and is logged."""
        try:
            await self.run_task(queued)
        except TaskError as error:
            resolve(queued, error)
        except Exception as error:  # no JSON, or not what tasks answer
            traceback.print_exception(error)
            resolve(queued, TaskError(BAD_ANSWER, status=500))
        else:
            return
        await self.kill()

    async def ensure_process(self) -> Process:
        """The process; a new one where there is none or it has ended. Raises OSError."""
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
        """Send one task to the process and read its messages until the task ends.

        Raises TaskError where the process cannot be started, ends or takes too long.
        """
        try:
            process = await self.ensure_process()
        except OSError as error:
            log(f"a worker process could not be started: {error}")
            raise TaskError(NO_WORKER.format(reason=reason(error)), status=503) from error
        if queued.result.done():  # cancelled while the process was started
            return
        try:
            async with asyncio.timeout(None if math.isinf(self.seconds) else self.seconds):
                await self.converse(process, queued)
        except TimeoutError as error:
            log(f"a task took more than {self.seconds:.0f} seconds; its process was ended")
            raise TaskError(TOO_LONG.format(seconds=self.seconds), status=503) from error

    async def converse(self, process: Process, queued: QueuedTask) -> None:
        """Send a task and read the answers to it. Raises TaskError where the process ends."""
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # then there is no answer either
            process.stdin.write((json.dumps(queued.task) + "\n").encode())
            await process.stdin.drain()
        while True:
            line = await process.stdout.readline()
            if not line.endswith(b"\n"):  # killed, perhaps in the middle of a line
                code = await process.wait()
                if not queued.result.done():  # not by a cancel
                    log(f"a worker process ended with exit status {code} in the middle of a task")
                raise TaskError(WORKER_DIED, status=500)
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


def log(sentence: str) -> None:
    """One line on the server's terminal."""
    with suppress(OSError, ValueError):  # which may be closed
        sys.stderr.write(f"refsr: {sentence}\n")
