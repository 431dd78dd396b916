"""The routes: the files of the page, and the HTTP API of docs/API_HTTP.md."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path, PurePath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from refsr import __version__
from refsr.batch.jobs import OUTPUT_FORMATS
from refsr.web import example_photos
from refsr.web.job_manager import ACTIVE, Job, JobManager
from refsr.web.limits import Limits
from refsr.web.security import BodyTooLarge, SecurityMiddleware
from refsr.web.uploads import NO_PHOTO, UploadError, read_form, save_files
from refsr.web.worker_process import TaskError

PAGE = Path(__file__).parent / "page"
PICTURE = re.compile(
    r"photo\.jpg|reference-[1-8]\.jpg|(?:before|result|plain|map)\.png"
)  # files that workers write for the page
NO_STORE = {"cache-control": "no-store"}
STARLETTE_MESSAGES = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address does not support this request method.",
}
NO_JOB = "There is no such job, or it has expired; upload the photo again."
NOT_DONE = "This job is not finished; wait until its state is done."
CUT_SHORT = "The connection was closed before the upload was complete."
CHECK_CANCELLED = "The check was cancelled."
ALREADY_RUNNING = "This job is already running; wait for it or cancel it first."
INTERNAL_ERROR = "Internal error; the server's terminal shows it."

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(manager: JobManager) -> Starlette:
    """The server's application. It runs the manager's workers and sweep while it is served."""
    routes = [
        Route("/api/info", info_endpoint(manager.limits)),
        Route("/api/examples/{name}", example),
        Route("/api/check", check_endpoint(manager), methods=["POST"]),
        Route("/api/jobs", start_endpoint(manager), methods=["POST"]),
        Route("/api/jobs/{id}", status_endpoint(manager), methods=["GET"]),
        Route("/api/jobs/{id}", cancel_endpoint(manager), methods=["DELETE"]),
        Route("/api/jobs/{id}/pictures/{name}", picture_endpoint(manager)),
        Route("/api/jobs/{id}/map.png", map_endpoint(manager)),
        Route("/api/jobs/{id}/{what}.{format}", download_endpoint(manager)),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    handlers: Any = {
        BodyTooLarge: lambda *_: error_response(413, manager.limits.messages()["upload"]),
        UploadError: lambda _, error: error_response(error.status, error.message),
        TaskError: lambda _, error: task_error_response(error),
        ClientDisconnect: lambda *_: error_response(400, CUT_SHORT),  # nobody reads it
        HTTPException: lambda _, error: error_response(error.status_code, message_of(error)),
        Exception: lambda *_: error_response(500, INTERNAL_ERROR),
    }
    return Starlette(
        routes=routes,
        exception_handlers=handlers,
        middleware=[Middleware(SecurityMiddleware, limits=manager.limits)],
        lifespan=lifespan_of(manager),
    )


def lifespan_of(manager: JobManager) -> Callable[[Starlette], Any]:
    """Runs the workers and the sweep of expired jobs while the server runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        loops = [
            manager.check_worker.serve_queue(),
            manager.upscale_worker.serve_queue(),
            manager.sweep(),
        ]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            await manager.close()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    return lifespan


# ---- errors


def error_response(status: int, message: str, **more: Any) -> JSONResponse:
    """An error as JSON: one sentence under "error"."""
    return JSONResponse({"error": message, **more}, status, NO_STORE)


def task_error_response(error: TaskError) -> JSONResponse:
    """A failed task: 422 because of a photo, or 500 because of the server."""
    return error_response(500 if error.server_fault else 422, str(error), part=error.part)


def message_of(error: HTTPException) -> str:
    """The message of an error as a sentence, also for Starlette's own errors."""
    return STARLETTE_MESSAGES.get(error.detail, error.detail)


# ---- endpoints


def info_endpoint(limits: Limits) -> Endpoint:
    """GET /api/info: the limits, the formats and the examples."""

    async def info(request: Request) -> Response:
        del request
        return JSONResponse(
            {
                "version": __version__,
                "limits": limits.as_json(),
                "formats": OUTPUT_FORMATS,
                "examples": example_photos.EXAMPLES,
            }
        )

    return info


async def example(request: Request) -> Response:
    """GET /api/examples/NAME: a photo of an example."""
    name = request.path_params["name"]
    if name not in example_photos.PHOTOS:
        raise HTTPException(404, "There is no such example.")
    data = await asyncio.to_thread(example_photos.file_of, name)
    return Response(data, media_type="image/png" if name.endswith("png") else "image/jpeg")


def check_endpoint(manager: JobManager) -> Endpoint:
    """POST /api/check: photo and references; answers with the verdict."""

    async def check(request: Request) -> Response:
        client = admitted_client(manager, request)
        job, _ = await job_of_form(manager, request, client, ())
        checking = manager.check(job)
        watching = asyncio.create_task(disconnected(request))
        await asyncio.wait([checking, watching], return_when=asyncio.FIRST_COMPLETED)
        client_left = watching.done()
        watching.cancel()
        if job.verdict is None or client_left:  # or it failed or was cancelled
            await manager.remove(job)
            if job.failure:
                return task_error_response(job.failure)
            return error_response(409, CHECK_CANCELLED)
        return JSONResponse({"id": job.id, **job.verdict}, headers=NO_STORE)

    return check


async def disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def start_endpoint(manager: JobManager) -> Endpoint:
    """POST /api/jobs: photo and references, or the id of their check; answers with the status."""

    async def start(request: Request) -> Response:
        client = admitted_client(manager, request)
        job, options = await job_of_form(manager, request, client, ("check", "scale", "strict"))
        strict = options.get("strict") == "yes"
        manager.upscale(job, int(options.get("scale", "4")), strict)
        return JSONResponse(manager.status(job), 201, NO_STORE)

    return start


def status_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID: the status."""

    async def status(request: Request) -> Response:
        return JSONResponse(manager.status(find_job(manager, request)), headers=NO_STORE)

    return status


def cancel_endpoint(manager: JobManager) -> Endpoint:
    """DELETE /api/jobs/ID: cancels the job and removes its files."""

    async def cancel(request: Request) -> Response:
        await manager.remove(find_job(manager, request))
        return Response(status_code=204, headers=NO_STORE)

    return cancel


def picture_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/pictures/NAME: an image for the page."""

    async def picture(request: Request) -> Response:
        job, name = find_job(manager, request), request.path_params["name"]
        path = job.folder / name
        if not PICTURE.fullmatch(name) or not path.is_file():
            raise HTTPException(404, "There is no such picture.")
        return FileResponse(path, headers=NO_STORE)

    return picture


def map_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/map.png: the transparent overlay of the result."""

    async def picture(request: Request) -> Response:
        job = find_done_job(manager, request)
        return FileResponse(job.folder / "map.png", headers=NO_STORE)

    return picture


def download_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/result.FORMAT?strength=0..1&metadata=yes|no, and plain.FORMAT."""

    async def download(request: Request) -> Response:
        job, what = find_done_job(manager, request), request.path_params["what"]
        format = request.path_params["format"]
        if what not in ("result", "plain") or format not in OUTPUT_FORMATS:
            formats = ", ".join(OUTPUT_FORMATS)
            raise HTTPException(404, f"The downloads are result and plain, as {formats}.")
        strength = 0.0 if what == "plain" else parse_strength(request.query_params.get("strength"))
        strip = request.query_params.get("metadata", "yes") == "no"
        out = f"download-{round(100 * strength)}{'-bare' if strip else ''}.{format}"
        path = await manager.render(job, out, strength, strip)
        assert job.report is not None
        scale = round(job.report["output_size"][0] / job.report["input_size"][0])
        made = "sharper" if scale == 1 else f"{scale}x"
        name = f"{PurePath(job.names['photo']).stem}-{made}.{format}"
        return FileResponse(path, filename=name, headers=NO_STORE)

    return download


# ---- reading requests


def admitted_client(manager: JobManager, request: Request) -> str:
    """The client of a request: its address and the number that the page gives its tab.

    Raises UploadError (429) where the queue is full.
    """
    address = request.client.host if request.client else ""
    client = f"{address} {request.headers.get('x-refsr-client', '')[:40]}"
    refusal = manager.refusal(client)
    if refusal is not None:
        raise UploadError(429, refusal)
    return client


async def job_of_form(
    manager: JobManager, request: Request, client: str, text_fields: tuple[str, ...]
) -> tuple[Job, dict[str, str]]:
    """The job of a form (a new one with its files, or that of its check) and its text fields.

    Raises UploadError or HTTPException.
    """
    form = await read_form(request, manager.limits, text_fields)
    try:
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        if texts.get("scale", "4") not in ("1", "2", "3", "4"):
            raise UploadError(400, "scale must be 1, 2, 3 or 4.")
        if texts.get("strict", "no") not in ("yes", "no"):
            raise UploadError(400, "strict must be yes or no.")
        if "check" in texts:
            return find_checked_job(manager, texts["check"]), texts
        if "photo" not in form:
            raise UploadError(400, NO_PHOTO)
        job = manager.create(client)
        try:
            job.names = await save_files(form, job.folder)
        except BaseException:
            await manager.remove(job)
            raise
        return job, texts
    finally:
        await form.close()


def find_checked_job(manager: JobManager, id: str) -> Job:
    """The job of a check, to upscale. Raises UploadError (409) or HTTPException (404)."""
    job = manager.find(id)
    if job is None:
        raise HTTPException(404, NO_JOB)
    if job.state in ACTIVE or job.rendering:
        raise UploadError(409, ALREADY_RUNNING)
    return job


def find_job(manager: JobManager, request: Request) -> Job:
    """The job in a request's path. Raises HTTPException (404)."""
    job = manager.find(request.path_params["id"])
    if job is None:
        raise HTTPException(404, NO_JOB)
    return job


def find_done_job(manager: JobManager, request: Request) -> Job:
    """The finished job in a request's path. Raises HTTPException (404, 409)."""
    job = find_job(manager, request)
    if job.state != "done":
        raise HTTPException(409, NOT_DONE)
    return job


def parse_strength(text: str | None) -> float:
    """A strength from 0 to 1 in whole hundredths; 1 unless given. Raises UploadError (400)."""
    try:
        strength = round(float(text or "1"), 2)
    except ValueError:
        strength = -1.0
    if not 0.0 <= strength <= 1.0:
        raise UploadError(400, "strength must be between 0 and 1.")
    return strength
