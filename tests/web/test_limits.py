"""What an enemy of the server may not: many uploads, slow ones, half requests, a full disk."""

from __future__ import annotations

import asyncio
import errno
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from refsr.errors import PhotoError
from refsr.web.limits import Limits, most_pixels
from refsr.web.worker_process import QueuedTask, WorkerProcess
from web_api import HOST, PATIENCE, WORKER, files

pytest.importorskip("starlette", reason="the extra `web` is not installed")

import uvicorn
from starlette.responses import PlainTextResponse
from uvicorn.server import ServerState

from refsr.web import connection, security, uploads
from refsr.web.app import make_app
from refsr.web.connection import Connection
from refsr.web.disk import DISK_FULL, DiskFull, is_disk_full, require_space
from refsr.web.job_manager import Job, JobManager
from refsr.web.worker import failure


def idle_manager(folder: Path, limits: Limits | None = None) -> JobManager:
    """A manager whose workers do nothing: what is queued stays so."""
    workers = WorkerProcess(dict(WORKER)), WorkerProcess(dict(WORKER))
    return JobManager(folder, *workers, limits or Limits())


def asking(manager: JobManager, ask: Callable[[httpx.AsyncClient], Awaitable[Any]]) -> Any:
    """What a client gets that asks within one event loop, so that requests overlap."""

    async def go() -> Any:
        transport = httpx.ASGITransport(make_app(manager))
        async with httpx.AsyncClient(transport=transport, base_url=HOST) as client:
            answer = await asyncio.wait_for(ask(client), PATIENCE)
        await manager.close()
        return answer

    return asyncio.run(go())


def statuses(answers: list[httpx.Response]) -> list[int]:
    return sorted(answer.status_code for answer in answers)


# ---- queues


def test_uploads_at_the_same_time_count_as_waiting(tmp_path: Path, photo: bytes) -> None:
    manager = idle_manager(tmp_path)

    async def ask(client: httpx.AsyncClient) -> list[int]:
        posts = [client.post("/api/jobs", files=files(photo)) for _ in range(60)]
        return statuses(await asyncio.gather(*posts))

    assert asking(manager, ask) == [201] * 4 + [429] * 56
    assert not manager.arriving


def test_one_check_is_enlarged_once(tmp_path: Path) -> None:
    manager = idle_manager(tmp_path)

    async def ask(client: httpx.AsyncClient) -> list[int]:
        job = manager.create("a")
        job.names = {"photo": "small.png"}
        form = {"check": (None, job.id)}
        return statuses(
            await asyncio.gather(*(client.post("/api/jobs", files=form) for _ in range(3)))
        )

    assert asking(manager, ask) == [201, 409, 409]


def finished_job(manager: JobManager) -> Job:
    job = manager.create("127.0.0.1 ")
    job.names, job.state = {"photo": "small.png"}, "done"
    job.report = {"output_size": [40, 40], "scale": 4}
    return job


def test_downloads_wait_in_the_queue_like_all(tmp_path: Path) -> None:
    """101 of one result, of every strength: four wait, the others are refused."""
    manager = idle_manager(tmp_path)

    async def ask(client: httpx.AsyncClient) -> list[int]:
        job = finished_job(manager)
        url = f"/api/jobs/{job.id}/result.png?strength="
        gets = [asyncio.create_task(client.get(f"{url}{n / 100}")) for n in range(101)]
        done, waiting = await asyncio.wait(gets, timeout=5)
        assert len(waiting) == len(manager.check_worker.queue) == 4
        for one in waiting:
            one.cancel()
        await asyncio.wait(waiting)
        return statuses([one.result() for one in done])

    assert asking(manager, ask) == [429] * 97


def test_an_abandoned_download_leaves_the_queue(tmp_path: Path) -> None:
    manager = idle_manager(tmp_path)

    async def go() -> None:
        app, job = make_app(manager), finished_job(manager)
        gone = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if not asked:
                asked.append(1)
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(_: Any) -> None:
            pass

        asked: list[int] = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/api/jobs/{job.id}/result.png",
            "query_string": b"",
            "headers": [(b"host", b"localhost")],
            "client": ("127.0.0.1", 9),
        }
        answer = asyncio.create_task(app(scope, receive, send))
        while not manager.check_worker.queue:
            await asyncio.sleep(0.01)
        assert job.rendering == 1
        gone.set()
        await asyncio.wait_for(answer, PATIENCE)
        assert not manager.check_worker.queue
        assert job.rendering == 0

    asyncio.run(go())


def test_a_job_keeps_its_last_downloads_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = idle_manager(tmp_path, Limits(kept_downloads=3))

    async def written(queued: QueuedTask) -> None:
        (Path(queued.task["folder"]) / queued.task["out"]).touch()

    async def go() -> list[str]:
        monkeypatch.setattr(manager.check_worker, "result_of", written)
        job = finished_job(manager)
        for number in range(5):
            await manager.render(job, f"download-{number}.png", {})
        return sorted(path.name for path in job.folder.iterdir())

    assert len(asyncio.run(go())) == 3


def test_larger_photos_are_enlarged_less() -> None:
    """A result has at most 64 megapixels: a phone's 12 are enlarged twice."""
    limits = Limits.with_photo_pixels(4_000_000, 10**8)
    most = [most_pixels(s, limits.photo_pixels, limits.own_size_pixels) for s in (4, 3, 2, 1)]
    assert most == [4_000_000, 7_111_111, 16_000_000, 25_000_000]
    assert Limits.with_photo_pixels(12_000_000, 10**8).own_size_pixels == 48_000_000


# ---- slow clients


def test_an_upload_that_stalls_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(security, "UPLOAD_PATIENCE", 0.3)
    manager = idle_manager(tmp_path)

    async def stalled() -> Any:
        yield b"--x\r\n"
        await asyncio.sleep(PATIENCE)

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        kind = {"content-type": "multipart/form-data; boundary=x"}
        return await client.post("/api/jobs", content=stalled(), headers=kind)

    answer = asking(manager, ask)
    assert answer.status_code == 408
    assert "too slow" in answer.json()["error"]
    assert answer.headers["connection"] == "close"
    assert not manager.arriving


class Listening:
    """A server of ``Connection`` on a free port."""

    async def __aenter__(self) -> Listening:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("here")(scope, receive, send)

        config, state = uvicorn.Config(app, log_level="critical"), ServerState()
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(
            lambda: Connection(config, state, {}), "127.0.0.1", 0
        )
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def send(self, text: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(text)
        await writer.drain()
        return reader, writer


WHOLE = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.mark.parametrize(("first", "then"), [(b"", b""), (WHOLE[:20], b""), (WHOLE, WHOLE[:20])])
def test_half_a_request_is_closed(
    first: bytes, then: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "HEADER_SECONDS", 0.3)

    async def go() -> None:
        async with Listening() as server:
            reader, writer = await server.send(first)
            if then:  # on a connection that is kept
                assert await asyncio.wait_for(reader.readuntil(b"here"), PATIENCE)
                writer.write(then)
            assert await asyncio.wait_for(reader.read(), 4.5) == b""  # uvicorn's own limit is 5 s
            writer.close()

    asyncio.run(go())


def test_connections_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has asked for nothing for the longest time makes room."""
    monkeypatch.setattr(connection, "MOST_CONNECTIONS", 3)

    async def go() -> list[bool]:
        async with Listening() as server:
            opened = [await server.send(b"GET") for _ in range(3)]
            for reader, writer in opened:
                assert not reader.at_eof()
                del writer
            reader, last = await server.send(WHOLE)
            assert b"200 OK" in await asyncio.wait_for(reader.readline(), PATIENCE)
            await asyncio.sleep(0.1)
            closed: list[bool] = []
            for reader, writer in opened:
                with_end = asyncio.wait_for(reader.read(1), 0.2)
                try:
                    closed.append(await with_end == b"")
                except TimeoutError:
                    closed.append(False)
                writer.close()
            last.close()
            return closed

    assert asyncio.run(go()) == [True, False, False]


# ---- a full disk


def test_an_upload_to_a_full_disk_is_told_so(
    tmp_path: Path, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(uploads, "copy", full)
    manager = idle_manager(tmp_path)

    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/api/jobs", files=files(photo))

    answer = asking(manager, ask)
    assert answer.status_code == 507
    assert answer.json() == {"error": DISK_FULL}
    assert not manager.jobs
    assert not tmp_path.exists()  # the manager's own folder, at its end


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_worker_says_that_the_disk_is_full(capfd: pytest.CaptureFixture[str]) -> None:
    """NumPy's own words for it have no number."""
    found: list[Exception] = []
    try:
        with Path("/dev/full").open("wb", buffering=0) as file:
            np.save(file, np.zeros(1 << 20))
    except OSError as error:
        found.append(error)
    try:
        raise PhotoError("x.png cannot be written.") from OSError(errno.ENOSPC, "No space")
    except PhotoError as error:
        found.append(error)
    assert len(found) == 2
    for error in found:
        told = failure(error, {"folder": "x", "names": {}})
        assert told == {"message": DISK_FULL, "part": None, "status": 507}
    assert "Traceback" not in capfd.readouterr().err
    assert not is_disk_full(OSError(errno.EACCES, "Permission denied"))


def test_room_is_looked_for_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_space(tmp_path, 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=99))
    with pytest.raises(DiskFull):
        require_space(tmp_path, 100)
