"""``refsr web``: opens the port and serves until it is told to stop."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from refsr.errors import DataError
from refsr.image.atomic import reason
from refsr.inference.memory import parse_memory
from refsr.web.limits import LOOKING, Limits

FOLDER = "refsr-web-"  # start of the names of the servers' temporary folders
STOPPING_SECONDS = 3  # for downloads under way


def serve(
    host: str,
    port: int,
    max_memory: int | str,
    threads: int,
    limits: Limits,
    opened: Callable[[str], None],
) -> None:
    """Serve the page and the API until interrupted; nothing is left in the temporary folder.

    ``port`` 0 takes any free one. ``max_memory``: of both workers together, see
    ``Upscaler.load``. ``opened`` is called with the page's address. Raises DataError where the
    extra ``web`` is missing or the port cannot be had.
    """
    try:
        import uvicorn

        from refsr.web.app import make_app
        from refsr.web.desk import JobManager
        from refsr.web.lane import WorkerProcess
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[web]'"
        ) from error
    memory = parse_memory(max_memory)
    sweep_old_folders(Path(tempfile.gettempdir()))
    with listening(host, port) as listener:
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER}{os.getpid()}-"))
        try:
            shared: dict[str, Any] = {
                "threads": threads,
                "photo_pixels": limits.photo_pixels,
                "reference_pixels": limits.reference_pixels,
            }
            looking = {**shared, "model": "detail-transfer", "max_memory": int(LOOKING * memory)}
            working = {**shared, "model": "auto", "max_memory": int((1 - LOOKING) * memory)}
            app = make_app(
                JobManager(folder, WorkerProcess(looking), WorkerProcess(working), limits)
            )
            config = uvicorn.Config(
                app,
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOPPING_SECONDS,
                ws="none",
                http="h11",
                loop="asyncio",
            )
            opened(address(host, listener.getsockname()[1]))
            uvicorn.Server(config).run([listener])
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises DataError."""
    if not 0 <= port <= 65535:
        raise DataError(f"There is no port {port}; choose one from 1 to 65535 with --port.")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise DataError(
            f"{host} is no address of this machine; the usual one is 127.0.0.1."
        ) from error
    try:
        if os.name == "posix":  # or a stopped server would keep its port for a minute
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise DataError(
            f"Port {port} of {host} cannot be used ({reason(error).lower()}); "
            "choose another with --port."
        ) from error
    return listener


def address(host: str, port: int) -> str:
    """What to type into a browser."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def sweep_old_folders(temporary: Path) -> None:
    """Remove what killed servers of this user left behind: folders whose process is gone."""
    for folder in temporary.glob(f"{FOLDER}*-*"):
        pid = folder.name.removeprefix(FOLDER).partition("-")[0]
        with suppress(OSError, ValueError):
            if folder.is_symlink() or not is_own(folder) or psutil.pid_exists(int(pid)):
                continue
            shutil.rmtree(folder, ignore_errors=True)


def is_own(path: Path) -> bool:
    """Whether a file is this user's; on Windows each user has a temporary folder of their own."""
    return sys.platform == "win32" or path.stat().st_uid == os.getuid()
