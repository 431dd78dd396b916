"""The server of ``refsr web``: opens the port and serves until it is stopped."""

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
from refsr.web.limits import CHECK_MEMORY_SHARE, Limits

FOLDER_PREFIX = "refsr-web-"  # of the temporary folders
SHUTDOWN_SECONDS = 3  # for downloads in progress


def serve(
    host: str,
    port: int,
    max_memory: int | str,
    threads: int,
    limits: Limits,
    opened: Callable[[str], None],
) -> None:
    """Serve the page and the API until interrupted, then remove all files.

    ``port`` 0 picks a free one. ``max_memory``: of both workers together, see ``Upscaler.load``.
    ``threads``: 0 for all cores. ``opened`` is called with the URL of the page. Raises DataError
    where the extra ``web`` is missing or the port cannot be used.
    """
    try:
        import uvicorn

        from refsr.web.app import make_app
        from refsr.web.job_manager import JobManager
        from refsr.web.worker_process import WorkerProcess
    except ImportError as error:
        raise DataError(
            f"{error.name} is missing; install it with: pip install 'refsr[web]'"
        ) from error
    memory = parse_memory(max_memory)
    remove_old_folders(Path(tempfile.gettempdir()))
    with open_listener(host, port) as listener:
        folder = Path(tempfile.mkdtemp(prefix=f"{FOLDER_PREFIX}{os.getpid()}-"))
        try:
            shared: dict[str, Any] = {
                "threads": threads,
                "photo_pixels": limits.photo_pixels,
                "own_size_pixels": limits.own_size_pixels,
                "reference_pixels": limits.reference_pixels,
            }
            check_memory = int(CHECK_MEMORY_SHARE * memory)
            upscale_memory = int((1 - CHECK_MEMORY_SHARE) * memory)
            workers = (
                WorkerProcess({**shared, "model": "detail-transfer", "max_memory": check_memory}),
                WorkerProcess({**shared, "model": "auto", "max_memory": upscale_memory}),
            )
            config = uvicorn.Config(
                make_app(JobManager(folder, *workers, limits)),
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                ws="none",
                http="h11",
                loop="asyncio",
            )
            opened(page_url(host, listener.getsockname()[1]))
            uvicorn.Server(config).run([listener])
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def open_listener(host: str, port: int) -> socket.socket:
    """A listening socket. Raises DataError."""
    if not 0 <= port <= 65535:
        raise DataError(f"--port must be between 0 and 65535, not {port}.")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise DataError(
            f"{host} is not an address of this machine; the default of --host is 127.0.0.1."
        ) from error
    try:
        if os.name == "posix":  # otherwise the port of a stopped server is blocked for a minute
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


def page_url(host: str, port: int) -> str:
    """The URL of the page for a browser on this machine."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}/"


def remove_old_folders(temporary: Path) -> None:
    """Remove the folders that this user's servers left when they were killed."""
    for folder in temporary.glob(f"{FOLDER_PREFIX}*-*"):
        pid = folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0]
        with suppress(OSError, ValueError):
            if folder.is_symlink() or not is_own(folder) or psutil.pid_exists(int(pid)):
                continue
            shutil.rmtree(folder, ignore_errors=True)


def is_own(path: Path) -> bool:
    """Whether a file is this user's; on Windows each user has a temporary folder of their own."""
    return sys.platform == "win32" or path.stat().st_uid == os.getuid()
