"""The server of ``refsr web``: opens the port and serves until it is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from refsr.batch.journal import set_lock
from refsr.errors import DataError
from refsr.image.atomic import reason
from refsr.inference.memory import parse_memory
from refsr.web.limits import CHECK_MEMORY_SHARE, Limits
from refsr.weights.models import AUTO, DETAIL_TRANSFER

FOLDER_PREFIX = "refsr-web-"  # of the temporary folders
LOCK = "lock"  # of a folder, held while its server runs
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
        from refsr.web.connection import Connection
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
        lock = (folder / LOCK).open("xb")
        try:
            set_lock(lock, True)
            end_with_the_terminal()
            shared: dict[str, Any] = {
                "threads": threads,
                "photo_pixels": limits.photo_pixels,
                "own_size_pixels": limits.own_size_pixels,
                "reference_pixels": limits.reference_pixels,
            }
            check_memory = int(CHECK_MEMORY_SHARE * memory)
            upscale_memory = int((1 - CHECK_MEMORY_SHARE) * memory)
            workers = (
                WorkerProcess(
                    {**shared, "model": DETAIL_TRANSFER, "max_memory": check_memory},
                    limits.check_seconds,
                ),
                WorkerProcess(
                    {**shared, "model": AUTO, "max_memory": upscale_memory}, limits.upscale_seconds
                ),
            )
            config = uvicorn.Config(
                make_app(JobManager(folder, *workers, limits)),
                log_level="error",
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                ws="none",
                http=Connection,
                loop="asyncio",
            )
            opened(page_url(host, listener.getsockname()[1]))
            uvicorn.Server(config).run([listener])
        finally:
            lock.close()
            shutil.rmtree(folder, ignore_errors=True)


def end_with_the_terminal() -> None:
    """End as by SIGTERM, without leaving photos behind, where the terminal is closed (SIGHUP).

    Not under `nohup`, where that signal is ignored.
    """
    hangup = getattr(signal, "SIGHUP", None)  # Windows has none
    main = threading.current_thread() is threading.main_thread()  # the only one that may
    if hangup is not None and main and signal.getsignal(hangup) is signal.SIG_DFL:
        signal.signal(hangup, lambda *_: signal.raise_signal(signal.SIGTERM))


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
        with suppress(OSError, ValueError):
            if not folder.is_symlink() and is_own(folder) and is_abandoned(folder):
                shutil.rmtree(folder, ignore_errors=True)


def is_abandoned(folder: Path) -> bool:
    """Whether no server uses a folder any more. Raises OSError, ValueError for other folders.

    The lock tells it: in containers, each of which has a process 1, the number does not. It is
    for a server that is about to write its lock, and for folders of versions without one.
    """
    number = int(folder.name.removeprefix(FOLDER_PREFIX).partition("-")[0])
    try:
        lock = (folder / LOCK).open("r+b")
    except FileNotFoundError:
        return not psutil.pid_exists(number)
    with lock:
        try:
            set_lock(lock, True)
        except OSError:
            return False
        return True


def is_own(path: Path) -> bool:
    """Whether a file is this user's; on Windows each user has a temporary folder of their own."""
    return sys.platform == "win32" or path.stat().st_uid == os.getuid()
