"""The routes: the page's files, and the HTTP API of docs/API_HTTP.md."""

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
from refsr.web import example_photos as examples
from refsr.web.job_manager import BUSY, Job, JobManager
from refsr.web.limits import FORMATS, Limits
from refsr.web.security import Guard, TooLarge
from refsr.web.uploads import NO_PHOTO, UploadError, keep_files, read_form
from refsr.web.worker_process import TaskError

PAGE = Path(__file__).parent / "page"
PICTURE = re.compile(
    r"photo\.jpg|reference-[1-8]\.jpg|(?:before|result|plain|map)\.png"
)  # what workers leave for the page in a job's folder
PRIVATE = {"cache-control": "no-store"}
STARLETTE = {
    "Not Found": "There is nothing at this address.",
    "Method Not Allowed": "This address takes no such request.",
}
GONE = "There is no such job, or it is no longer kept; run the photo again."
NOT_DONE = "This job is not finished; ask for its state first."
CUT_SHORT = "The connection was closed before the upload was whole."
CANCELLED = "The check was cancelled."
WORKS = "This job is at work already; wait for it, or cancel it first."

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(desk: JobManager) -> Starlette:
    """The server's application; the caller keeps the desk's lanes and sweep going."""
    routes = [
        Route("/api/info", info_of(desk.limits)),
        Route("/api/examples/{name}", example),
        Route("/api/check", checker(desk), methods=["POST"]),
        Route("/api/jobs", starter(desk), methods=["POST"]),
        Route("/api/jobs/{id}", status_of(desk), methods=["GET"]),
        Route("/api/jobs/{id}", canceller(desk), methods=["DELETE"]),
        Route("/api/jobs/{id}/pictures/{name}", picture_of(desk)),
        Route("/api/jobs/{id}/map.png", map_of(desk)),
        Route("/api/jobs/{id}/{what}.{format}", download_of(desk)),
        Mount("/", StaticFiles(directory=PAGE, html=True)),
    ]
    handlers: Any = {
        TooLarge: lambda *_: failed(413, desk.limits.words()["upload"]),
        UploadError: lambda _, error: failed(error.status, error.sentence),
        TaskError: lambda _, error: task_failed(error),
        ClientDisconnect: lambda *_: failed(400, CUT_SHORT),  # nobody reads it
        HTTPException: lambda _, error: failed(error.status_code, sentence_of(error)),
        Exception: lambda *_: failed(500, "Something went wrong in the server; see its terminal."),
    }
    return Starlette(
        routes=routes,
        exception_handlers=handlers,
        middleware=[Middleware(Guard, limits=desk.limits)],
        lifespan=lifespan_of(desk),
    )


def lifespan_of(desk: JobManager) -> Callable[[Starlette], Any]:
    """Keeps the lanes working and the desk swept while the server runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        del app
        duties = [desk.looking.work(), desk.working.work(), desk.sweep()]
        tasks = [asyncio.create_task(duty) for duty in duties]
        try:
            yield
        finally:
            await desk.close()
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    return lifespan


def failed(status: int, sentence: str, **more: Any) -> JSONResponse:
    """An error as every client gets it: one plain sentence."""
    return JSONResponse({"error": sentence, **more}, status, PRIVATE)


def task_failed(error: TaskError) -> JSONResponse:
    """A worker's refusal: the photo's fault (422) or the server's (500)."""
    return failed(500 if error.fault else 422, str(error), part=error.part)


def sentence_of(error: HTTPException) -> str:
    """What is wrong, as a sentence: Starlette's own words are none."""
    return STARLETTE.get(error.detail, error.detail)


def client_of(request: Request) -> str:
    """Whose turn a request takes: the page's own word for its tab, or else the address."""
    address = request.client.host if request.client else ""
    return f"{address} {request.headers.get('x-refsr-client', '')[:40]}"


def found(desk: JobManager, request: Request) -> Job:
    """The job that a request names. Raises HTTPException (404)."""
    job = desk.find(request.path_params["id"])
    if job is None:
        raise HTTPException(404, GONE)
    return job


def info_of(limits: Limits) -> Endpoint:
    """GET /api/info: the limits, the formats and the examples."""

    async def info(request: Request) -> Response:
        del request
        return JSONResponse(
            {
                "version": __version__,
                "limits": limits.as_json(),
                "formats": FORMATS,
                "examples": examples.EXAMPLES,
            }
        )

    return info


async def example(request: Request) -> Response:
    """GET /api/examples/NAME: a photo of an example."""
    name = request.path_params["name"]
    if name not in examples.PHOTOS:
        raise HTTPException(404, "There is no such example.")
    data = await asyncio.to_thread(examples.photo, name)
    return Response(data, media_type="image/png" if name.endswith("png") else "image/jpeg")


def checker(desk: JobManager) -> Endpoint:
    """POST /api/check: photo and references; the verdict."""

    async def check(request: Request) -> Response:
        client = admitted(desk, request)
        job = await uploaded(desk, request, client, ())
        look, watch = desk.look(job), asyncio.create_task(gone(request))
        await asyncio.wait([look, watch], return_when=asyncio.FIRST_COMPLETED)
        left = watch.done()  # nobody waits for it any more
        watch.cancel()
        if job.verdict is None or left:  # or it failed, or was cancelled
            await desk.drop(job)
            return task_failed(job.failure) if job.failure else failed(409, CANCELLED)
        return JSONResponse({"id": job.id, **job.verdict}, headers=PRIVATE)

    return check


async def gone(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def starter(desk: JobManager) -> Endpoint:
    """POST /api/jobs: photo and references, or the id of their check; the job's status."""

    async def start(request: Request) -> Response:
        client = admitted(desk, request)
        job = await uploaded(desk, request, client, ("check", "scale"))
        desk.enlarge(job, int(request.state.options.get("scale", "4")))
        return JSONResponse(desk.status(job), 201, PRIVATE)

    return start


def admitted(desk: JobManager, request: Request) -> str:
    """The client, unless the queue is full: then UploadError (429)."""
    client = client_of(request)
    full = desk.full(client)
    if full is not None:
        raise UploadError(429, full)
    return client


async def uploaded(
    desk: JobManager, request: Request, client: str, options: tuple[str, ...]
) -> Job:
    """The job of a form: a new one with the files in it, or the one of a check.

    The form's text lies in ``request.state.options``. Raises UploadError or HTTPException.
    """
    form = await read_form(request, desk.limits, options)
    try:
        texts = {name: value for name, value in form.items() if isinstance(value, str)}
        request.state.options = texts
        if texts.get("scale", "4") not in ("2", "3", "4"):
            raise UploadError(400, "The scale is 2, 3 or 4.")
        if "check" in texts:
            return checked(desk, texts["check"])
        if "photo" not in form:
            raise UploadError(400, NO_PHOTO)
        job = desk.new(client)
        try:
            job.names = await keep_files(form, job.folder)
        except BaseException:
            await desk.drop(job)
            raise
        return job
    finally:
        await form.close()


def checked(desk: JobManager, id: str) -> Job:
    """The job of a check, to go on with. Raises UploadError or HTTPException."""
    job = desk.find(id)
    if job is None:
        raise HTTPException(404, GONE)
    if job.state in BUSY or job.rendering:
        raise UploadError(409, WORKS)
    return job


def status_of(desk: JobManager) -> Endpoint:
    """GET /api/jobs/ID."""

    async def status(request: Request) -> Response:
        return JSONResponse(desk.status(found(desk, request)), headers=PRIVATE)

    return status


def canceller(desk: JobManager) -> Endpoint:
    """DELETE /api/jobs/ID: ends the job and removes its files."""

    async def cancel(request: Request) -> Response:
        job = found(desk, request)
        await desk.drop(job)
        return Response(status_code=204, headers=PRIVATE)

    return cancel


def picture_of(desk: JobManager) -> Endpoint:
    """GET /api/jobs/ID/pictures/NAME: what the page shows."""

    async def picture(request: Request) -> Response:
        job, name = found(desk, request), request.path_params["name"]
        path = job.folder / name
        if not PICTURE.fullmatch(name) or not path.is_file():
            raise HTTPException(404, "There is no such picture.")
        return FileResponse(path, headers=PRIVATE)

    return picture


def map_of(desk: JobManager) -> Endpoint:
    """GET /api/jobs/ID/map.png: the tints to lay over the result."""

    async def picture(request: Request) -> Response:
        job = finished(desk, request)
        return FileResponse(job.folder / "map.png", headers=PRIVATE)

    return picture


def finished(desk: JobManager, request: Request) -> Job:
    """The job that a request names, which must be done: HTTPException (409) otherwise."""
    job = found(desk, request)
    if job.state != "done":
        raise HTTPException(409, NOT_DONE)
    return job


def download_of(desk: JobManager) -> Endpoint:
    """GET /api/jobs/ID/result.FORMAT?strength=0..1&metadata=yes|no, and plain.FORMAT."""

    async def download(request: Request) -> Response:
        """The file; a name that is no download is 404, another strength than 0 to 1 is 400."""
        job, what = finished(desk, request), request.path_params["what"]
        format = request.path_params["format"]
        if what not in ("result", "plain") or format not in FORMATS:
            raise HTTPException(404, f"There are result and plain, as {', '.join(FORMATS)}.")
        strength = 0.0 if what == "plain" else strength_of(request.query_params.get("strength"))
        strip = request.query_params.get("metadata", "yes") == "no"
        out = f"download-{round(100 * strength)}{'-bare' if strip else ''}.{format}"
        path = await desk.render(job, out, strength, strip)
        assert job.report is not None
        scale = round(job.report["output_size"][0] / job.report["input_size"][0])
        name = f"{PurePath(job.names['photo']).stem}-{scale}x.{format}"
        return FileResponse(path, filename=name, headers=PRIVATE)

    return download


def strength_of(text: str | None) -> float:
    """The dial's place in whole hundredths. Raises UploadError (400)."""
    try:
        strength = round(float(text or "1"), 2)
    except ValueError:
        strength = -1.0
    if not 0.0 <= strength <= 1.0:
        raise UploadError(400, "The strength is a number from 0 to 1.")
    return strength
