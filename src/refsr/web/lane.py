"""A lane: one process that works on photos, and the fair queue of those who wait for it.

The work is a process of its own, so that a cancelled job ends at once, whatever it was doing, its
memory goes back to the system, and no photo can take the server down with it.
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
from refsr.web.queue import FairQueue

Message = dict[str, Any]
Tell = Callable[[Message], None]
LONGEST_LINE = 1 << 24  # bytes of one answer: outlines are long
ENDED = (
    "The work was ended by the system, most likely because memory ran out; "
    "try a smaller photo or fewer references."
)


class TaskError(RefsrError):
    """A task failed. ``part`` is the upload that is to blame, if one is: photo, reference-1."""

    def __init__(self, sentence: str, part: str | None = None, fault: bool = False) -> None:
        """``fault``: it is the server's, not the photo's."""
        super().__init__(sentence)
        self.part, self.fault = part, fault


@dataclass(eq=False)
class Entry:
    """A task in the queue or in work."""

    task: Message
    tell: Tell
    answer: asyncio.Future[Any]


class WorkerProcess:
    """Runs tasks (see ``refsr.web.tasks``), one at a time."""

    def __init__(self, settings: Message) -> None:
        """``settings``: of the worker, see there."""
        self.settings = settings
        self.queue: FairQueue[Entry] = FairQueue()
        self.process: Process | None = None
        self.current: Entry | None = None

    async def run(self, task: Message, client: str, tell: Tell = lambda _: None) -> Any:
        """Wait for the turn, work, and return the answer; ``tell`` gets what is said meanwhile.

        To cancel is to cancel the call: a task in work is ended there and then. Raises TaskError.
        """
        entry = Entry(task, tell, asyncio.get_running_loop().create_future())
        self.queue.put(client, entry)
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self.queue.remove(entry)
            if entry is self.current:
                await self.kill()
            raise

    def before(self, task: Message) -> int | None:
        """How many tasks come before one that waits; None where it does not wait any more."""
        for line in self.queue.lines.values():
            for entry in line:
                if entry.task is task:
                    return self.queue.before(entry) + (self.current is not None)
        return None

    async def kill(self) -> None:
        """End the process and wait until it has; the next task gets another."""
        process, self.process = self.process, None  # or the next task could get it, as it dies
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def work(self) -> None:
        """Serve the queue for ever; to be run as a task, whose end ends the process."""
        try:
            while True:
                await self.ready()  # before anybody asks: the model is loaded then
                self.current = await self.queue.get()
                if not self.current.answer.done():
                    await self.serve(self.current)
                self.current = None
        finally:
            await self.kill()

    async def ready(self) -> Process:
        """The process; a new one where there is none or it has ended."""
        if self.process is None or self.process.returncode is not None:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "refsr.web.worker", json.dumps(self.settings)),
                stdin=PIPE,
                stdout=PIPE,
                limit=LONGEST_LINE,
                # Ctrl-C is for the server alone, which ends its processes itself.
                start_new_session=True,
                creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),  # on Windows
            )
        return self.process

    async def serve(self, entry: Entry) -> None:
        """Have one task done."""
        process = await self.ready()
        if entry.answer.done():  # cancelled while the process was started
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError, ConnectionResetError):  # then there is no answer either
            process.stdin.write((json.dumps(entry.task) + "\n").encode())
            await process.stdin.drain()
        while True:
            line = await process.stdout.readline()
            if not line:
                await process.wait()
                answer(entry, TaskError(ENDED, fault=True))
                return
            message = json.loads(line)
            if "failed" in message:
                answer(entry, TaskError(**message["failed"]))
                return
            if "done" in message:
                answer(entry, message["done"])
                return
            entry.tell(message)


def answer(entry: Entry, value: Any) -> None:
    """Give the caller what came out, unless nobody is waiting for it any more."""
    if entry.answer.done():
        return
    if isinstance(value, Exception):
        entry.answer.set_exception(value)
    else:
        entry.answer.set_result(value)
