"""Worker processes, the fair queue before them, and when jobs are removed."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refsr.web.fair_queue import FairQueue
from refsr.web.job_manager import JobManager
from refsr.web.limits import Limits
from refsr.web.worker_process import BAD_ANSWER, WORKER_DIED, TaskError, WorkerProcess
from web_api import PATIENCE, WORKER, encoded


def test_clients_have_turns() -> None:
    async def order() -> str:
        queue: FairQueue[str] = FairQueue()
        for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
            queue.put(item[0], item)
        assert [queue.order().index(item) for item in ("a1", "b1", "c1", "a2", "b2", "a3")] == list(
            range(6)
        )
        queue.remove("c1")
        assert (len(queue), queue.count("a"), queue.count("c")) == (5, 3, 0)
        taken = [await queue.get() for _ in range(2)]
        queue.put("d", "d1")  # comes late, and still before the third of a
        return " ".join(taken + [await queue.get() for _ in range(4)])

    assert asyncio.run(order()) == "a1 b1 a2 b2 d1 a3"


ANSWERS = "import sys; [print('{\"done\": 7}', flush=True) for line in sys.stdin]"
HALF = "import sys; sys.stdin.readline(); sys.stdout.write('{\"seconds_left')"  # and it is killed


@pytest.mark.parametrize(
    ("program", "status", "words", "logged"),
    [
        (None, 503, "could not start a worker process (too many open files)", "not be started"),
        (HALF, 500, WORKER_DIED, "in the middle of a task"),
        ("import sys; sys.stdin.readline(); print('Segmentation fault')", 500, BAD_ANSWER, "JSON"),
        ("import sys; sys.stdin.readline(); print('{}')", 500, BAD_ANSWER, "KeyError"),
        ("import time; time.sleep(99)", 503, "longer than the 2 seconds", "more than 2 seconds"),
    ],
)
def test_a_worker_that_fails_ends_one_task_only(
    program: str | None,
    status: int,
    words: str,
    logged: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """One that cannot be started, that is killed within a line, that answers nonsense or never."""
    start, programs = asyncio.create_subprocess_exec, [program, program]

    async def started(*_: str, **options: Any) -> Any:
        this = programs.pop() if programs else ANSWERS
        if this is None:
            raise OSError(errno.EMFILE, "too many open files")
        return await start(sys.executable, "-c", this, **options)

    async def go() -> None:
        worker = WorkerProcess({}, seconds=2)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
        lane = asyncio.create_task(worker.serve_queue())

        async def run() -> Any:
            queued = worker.submit({}, "a", lambda message: message["seconds_left"])
            return await asyncio.wait_for(worker.result_of(queued), PATIENCE)

        with pytest.raises(TaskError) as error:
            await run()
        assert words in str(error.value)
        assert error.value.status == status
        answer: Any = None
        while answer is None:  # the process that was started beforehand fails, too
            with suppress(TaskError):
                answer = await run()
        assert answer == 7
        lane.cancel()
        await asyncio.wait([lane])

    asyncio.run(go())
    assert logged in capfd.readouterr().err


@pytest.mark.posix
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    async def go() -> None:
        worker = WorkerProcess({**WORKER, "model": "detail-transfer"})
        (tmp_path / "photo").write_bytes(encoded(np.zeros((9, 7, 3), np.uint8)))
        task = {"task": "check", "folder": str(tmp_path), "names": {"photo": "dot.png"}}
        pid = (await worker.ensure_process()).pid
        os.kill(pid, signal.SIGSTOP)  # or the task could be done before the process is killed
        duty = asyncio.create_task(worker.serve_queue())
        killed = asyncio.create_task(worker.result_of(worker.submit(dict(task), "a")))
        while worker.current is None:
            await asyncio.sleep(0.02)
        assert worker.process is not None
        worker.process.kill()
        with pytest.raises(TaskError) as error:
            await killed
        assert str(error.value) == WORKER_DIED
        assert (await worker.result_of(worker.submit(dict(task), "a")))["photo"]["width"] == 7
        process = worker.process
        duty.cancel()
        await asyncio.wait([duty])
        assert process.returncode is not None
        assert worker.process is None

    asyncio.run(go())


def test_no_task_gets_a_process_that_is_being_ended() -> None:
    """Found by tools/load.py: a job failed where the one before it was cancelled at its end."""

    async def cancelled_and_next() -> None:
        worker = WorkerProcess({**WORKER, "model": "detail-transfer"})
        first = await worker.ensure_process()
        ending = asyncio.create_task(worker.kill())
        await asyncio.sleep(0)  # the signal is sent; that the process has ended is not known yet
        assert await worker.ensure_process() is not first
        await ending
        await worker.kill()
        assert first.returncode is not None

    asyncio.run(cancelled_and_next())


def test_jobs_are_forgotten_in_time(tmp_path: Path) -> None:
    async def go() -> list[str]:
        worker = WorkerProcess({})
        limits = Limits(kept=3, keep_seconds=100, unread_seconds=200)
        manager = JobManager(tmp_path, worker, worker, limits)
        jobs = [manager.create("a") for _ in range(6)]
        for number, job in enumerate(jobs):
            job.last_request = 1000.0 + number
        jobs[0].state = "working"
        await manager.sweep_once(1010.0)  # five are idle, of which three are kept
        kept = [str(jobs.index(job)) for job in manager.jobs.values()]
        await manager.sweep_once(1104.5)
        later = [str(jobs.index(job)) for job in manager.jobs.values()]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(manager.jobs)
        await manager.sweep_once(1200.5)  # nobody reads how the working one goes on
        assert not list(tmp_path.iterdir())
        return ["".join(kept), "".join(later)]

    assert asyncio.run(go()) == ["0345", "05"]


def test_ctrl_c_does_not_reach_the_workers_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no session to start; a process group of its own does it."""
    given: dict[str, Any] = {}

    async def started(*_: str, **options: Any) -> None:
        given.update(options)

    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    asyncio.run(WorkerProcess(WORKER).ensure_process())
    assert given["creationflags"] == 512
