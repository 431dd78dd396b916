"""The routes: the files of the page, and the HTTP API of docs/API_HTTP.md."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path, PurePath
from typing import Any
from urllib.parse import quote

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from refsr import __version__
from refsr.batch.jobs import OUTPUT_FORMATS
from refsr.report.provenance import map_colors
from refsr.web import example_photos
from refsr.web.disk import DISK_FULL, is_disk_full
from refsr.web.job_manager import ACTIVE, Job, JobManager
from refsr.web.limits import Limits
from refsr.web.security import BodyTooLarge, SecurityMiddleware, UploadTooSlow
from refsr.web.uploads import NO_PHOTO, UploadError, read_form, save_files
from refsr.web.worker_process import TaskError
from refsr.weights.models import AUTO, CLEAN, DAMAGED, DETAIL_TRANSFER, SMALL, WITH_LOOKS

PAGE = Path(__file__).parent / "page"
MODELS = (AUTO, CLEAN, DAMAGED, SMALL, DETAIL_TRANSFER)
LOOKS = ("true", "crisp")
CHOICES: dict[str, tuple[str, ...]] = {  # of the form fields; the first is the default
    "scale": ("4", "1", "2", "3"),
    "strict": ("no", "yes"),
    "look": LOOKS,
    "model": MODELS,
}
JOB_FIELDS = ("check", *CHOICES)
UPLOAD = re.compile(r"photo|reference-[1-8]")
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

TOO_SLOW = "The upload was too slow; try again with a smaller photo or a better connection."
DOWNLOADS = ("result", "plain", "provenance")
LOSSY_FORMATS = ("jpg", "webp", "avif")
MAX_WIDTH = 100_000  # pixels: wider than any result

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
        Route("/api/jobs/{id}/uploads/{part}", upload_endpoint(manager)),
        Route("/api/jobs/{id}/map.png", map_endpoint(manager)),
        Route("/api/jobs/{id}/report.json", report_endpoint(manager)),
        Route("/api/jobs/{id}/{what}.{format}", download_endpoint(manager)),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    handlers: Any = {
        BodyTooLarge: lambda *_: error_response(413, manager.limits.messages()["upload"]),
        UploadError: lambda _, error: error_response(error.status, error.message),
        TaskError: lambda _, error: task_error_response(error),
        OSError: lambda _, error: disk_response(error),
        UploadTooSlow: lambda *_: error_response(408, TOO_SLOW, connection="close"),
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
        """Start the loops with the server and end them with it."""
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


def error_response(
    status: int, message: str, part: str | None = None, connection: str | None = None
) -> JSONResponse:
    """An error as JSON: one sentence under "error" and, if known, the upload that caused it."""
    body = {"error": message} if part is None else {"error": message, "part": part}
    headers = NO_STORE if connection is None else NO_STORE | {"connection": connection}
    return JSONResponse(body, status, headers)


def task_error_response(error: TaskError) -> JSONResponse:
    """A failed task: 422 because of a photo, 500 and above because of the server."""
    return error_response(error.status, str(error), error.part)


def disk_response(error: OSError) -> JSONResponse:
    """507 where the disk is full. Other errors of the system are bugs, and raised again."""
    if is_disk_full(error):
        return error_response(507, DISK_FULL)
    raise error


def message_of(error: HTTPException) -> str:
    """The message of an error as a sentence, also for Starlette's own errors."""
    return STARLETTE_MESSAGES.get(error.detail, error.detail)


# ---- endpoints


def info_endpoint(limits: Limits) -> Endpoint:
    """GET /api/info: the limits, the formats and the examples."""

    async def info(request: Request) -> Response:
        """Answer with what does not change while the server runs."""
        del request
        return JSONResponse(
            {
                "version": __version__,
                "limits": limits.as_json(),
                "formats": OUTPUT_FORMATS,
                "models": MODELS,
                "looks": LOOKS,
                "map_colors": map_colors(),
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
        with admitted(manager, request) as client:
            job, _ = await job_of_form(manager, request, client, ())
            checking = manager.check(job)
        here = await finished_before_client_left(request, checking)
        if job.verdict is None or not here:  # or it failed or was cancelled
            await manager.remove(job)
            if job.failure:
                return task_error_response(job.failure)
            return error_response(409, CHECK_CANCELLED)
        return JSONResponse({"id": job.id, **job.verdict}, headers=NO_STORE)

    return check


async def finished_before_client_left(request: Request, task: asyncio.Task[Any]) -> bool:
    """Wait for a task or until the client has closed the connection; whether the task ended."""
    watching = asyncio.create_task(disconnected(request))
    try:
        await asyncio.wait([task, watching], return_when=asyncio.FIRST_COMPLETED)
        return not watching.done()
    finally:
        watching.cancel()


async def disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def start_endpoint(manager: JobManager) -> Endpoint:
    """POST /api/jobs: photo and references, or the id of their check; answers with the status."""

    async def start(request: Request) -> Response:
        with admitted(manager, request) as client:
            job, texts = await job_of_form(manager, request, client, JOB_FIELDS)
            if manager.jobs.get(job.id) is not job:  # cancelled by another request meanwhile
                raise HTTPException(404, NO_JOB)
            refuse_running(job)  # again: requests for one check may come at the same time
            options: dict[str, Any] = {name: texts.get(name, CHOICES[name][0]) for name in CHOICES}
            options |= {"scale": int(options["scale"]), "strict": options["strict"] == "yes"}
            manager.upscale(job, options)
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


def upload_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/uploads/PART: a file as it was sent, for a page that was loaded again."""

    async def upload(request: Request) -> Response:
        job, part = find_job(manager, request), request.path_params["part"]
        path = job.folder / part
        if not UPLOAD.fullmatch(part) or part not in job.names or not path.is_file():
            raise HTTPException(404, "There is no such file.")
        kind = "application/octet-stream"  # never shown by a browser
        return FileResponse(path, filename=job.names[part], media_type=kind, headers=NO_STORE)

    return upload


def report_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/report.json: the report as a file."""

    async def report(request: Request) -> Response:
        job = find_done_job(manager, request)
        name = quote(f"{PurePath(job.names['photo']).stem}-report.json")
        where = {"content-disposition": f"attachment; filename*=utf-8''{name}"}
        text = json.dumps({"input": job.names["photo"], **(job.report or {})}, indent=1)
        return Response(text, media_type="application/json", headers=NO_STORE | where)

    return report


def map_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/map.png: the transparent overlay of the result."""

    async def picture(request: Request) -> Response:
        job = find_done_job(manager, request)
        return FileResponse(job.folder / "map.png", headers=NO_STORE)

    return picture


def download_endpoint(manager: JobManager) -> Endpoint:
    """GET /api/jobs/ID/result.FORMAT, plain.FORMAT and provenance.FORMAT, see docs/API_HTTP.md."""

    async def download(request: Request) -> Response:
        """Answer with the file, which is written first unless an earlier request did."""
        job, what = find_done_job(manager, request), request.path_params["what"]
        format = request.path_params["format"]
        if what not in DOWNLOADS or format not in OUTPUT_FORMATS:
            formats = ", ".join(OUTPUT_FORMATS)
            raise HTTPException(404, f"The downloads are {', '.join(DOWNLOADS)}, as {formats}.")
        options = download_options(what, request.query_params, format)
        stem = "-".join(f"{name[0]}{value}" for name, value in options.items() if value)
        out = f"download-{stem}.{format}"
        if not (job.folder / out).exists():
            client = client_of(request)
            if refusal := manager.refusal(client, manager.check_worker):
                raise UploadError(429, refusal)
            rendering = manager.render(job, out, options)
            if not await finished_before_client_left(request, rendering):
                rendering.cancel()
                await asyncio.wait([rendering])
                return error_response(409, NOT_DONE)  # nobody reads it
            rendering.result()
        assert job.report is not None
        name = download_name(job.names["photo"], job.report, options)
        return FileResponse(job.folder / out, filename=f"{name}.{format}", headers=NO_STORE)

    return download


def download_options(what: str, query: QueryParams, format: str) -> dict[str, Any]:
    """What ``tasks.render`` writes for a download. Raises UploadError (400)."""
    strength = 0.0 if what == "plain" else parse_strength(query.get("strength"))
    lossy = format in LOSSY_FORMATS
    return {
        "strength": strength,
        "bare": query.get("metadata", "yes") == "no",
        "map": what == "provenance",
        "quality": parse_number(query, "quality", 100) if lossy else None,
        "width": parse_number(query, "width", MAX_WIDTH),
    }


def download_name(photo: str, report: dict[str, Any], options: dict[str, Any]) -> str:
    """The name that a browser saves a download under, without its extension."""
    width, scale = options["width"], report["scale"]
    if options["map"]:
        made = "map"
    elif width and width < report["output_size"][0]:
        made = f"{width}px"
    else:
        made = "sharper" if scale == 1 else f"{scale}x"
    return f"{PurePath(photo).stem}-{made}"


# ---- reading requests


def client_of(request: Request) -> str:
    """The client of a request: its address and the number that the page gives its tab."""
    address = request.client.host if request.client else ""
    return f"{address} {request.headers.get('x-refsr-client', '')[:40]}"


@contextmanager
def admitted(manager: JobManager, request: Request) -> Generator[str]:
    """Admit a request's client, and count it as waiting until its task is queued.

    Raises UploadError (429) where the queue is full.
    """
    client = client_of(request)
    refusal = manager.refusal(client)
    if refusal is not None:
        raise UploadError(429, refusal)
    with manager.arrival(client):
        yield client


async def job_of_form(
    manager: JobManager, request: Request, client: str, text_fields: tuple[str, ...]
) -> tuple[Job, dict[str, str]]:
    """The job of a form (a new one with its files, or that of its check) and its text fields.

    Raises UploadError or HTTPException.
    """
    form = await read_form(request, manager.limits, text_fields)
    try:
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        for name, choices in CHOICES.items():
            if texts.get(name, choices[0]) not in choices:
                *first, last = sorted(choices)
                raise UploadError(400, f"{name} must be {', '.join(first)} or {last}.")
        if texts.get("look") == "crisp" and texts.get("model", AUTO) not in WITH_LOOKS:
            raise UploadError(400, f"The model {texts['model']} has no crisp look.")
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
    if job is None or job.state == "failed":  # it has no files any more
        raise HTTPException(404, NO_JOB)
    refuse_running(job)
    return job


def refuse_running(job: Job) -> None:
    """Raises UploadError (409) where a job is at work."""
    if job.state in ACTIVE or job.rendering:
        raise UploadError(409, ALREADY_RUNNING)


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


def parse_number(query: QueryParams, name: str, most: int) -> int | None:
    """A whole number from 1 to ``most``; None where it is not given. Raises UploadError (400)."""
    text = query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 9 and 1 <= int(text) <= most):
        raise UploadError(400, f"{name} must be a whole number from 1 to {most}.")
    return int(text)
