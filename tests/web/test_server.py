"""`refsr web` as a process: its port, its end, its folders."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from refsr.batch.journal import set_lock
from refsr.errors import DataError
from refsr.web.limits import Limits
from refsr.web.server import FOLDER_PREFIX, LOCK, open_listener, page_url, remove_old_folders
from web_api import PATIENCE, files, refused

pytest.importorskip("starlette", reason="the extra `web` is not installed")

NOBODY = 2**22 + 1  # a process number above the highest that Linux gives
MAX_UPLOAD = Limits(upload=2_000_000)  # as --max-upload below


@pytest.fixture
def served(tmp_path: Path) -> Generator[Callable[[], tuple[subprocess.Popen[str], str]]]:
    started: list[subprocess.Popen[str]] = []

    def start() -> tuple[subprocess.Popen[str], str]:
        command = [sys.executable, "-m", "refsr", "web", "--port", "0", "--max-upload", "2MB"]
        server = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)}
        )
        started.append(server)
        assert server.stdout is not None
        match = re.search(r"http://127\.0\.0\.1:\d+/", server.stdout.readline())
        assert match
        return server, match.group()

    yield start
    for server in started:
        server.kill()
        server.wait()


@pytest.mark.posix
@pytest.mark.parametrize("how", ["SIGINT", "SIGTERM", "SIGHUP"])  # a terminal that is closed
def test_the_server_stops_without_a_trace(
    how: str,
    tmp_path: Path,
    served: Callable[[], tuple[subprocess.Popen[str], str]],
    photo: bytes,
) -> None:
    server, url = served()
    answer = httpx.post(f"{url}api/jobs", files=files(photo), timeout=PATIENCE)
    assert answer.status_code == 201
    (folder,) = tmp_path.iterdir()
    assert (folder / answer.json()["id"] / "photo").read_bytes() == photo
    assert folder.stat().st_mode & 0o777 == 0o700
    server.send_signal(getattr(signal, how))
    assert server.wait(timeout=PATIENCE) in (130, -signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_a_stream_without_a_length_is_cut_off(
    served: Callable[[], tuple[subprocess.Popen[str], str]], photo: bytes
) -> None:
    _, url = served()
    request = httpx.Request("POST", f"{url}api/check", files=files(photo, bytes(3_000_000)))
    body = request.read()

    def stream() -> Generator[bytes]:
        yield from (body[i : i + 65536] for i in range(0, len(body), 65536))

    kind = {"content-type": request.headers["content-type"]}
    answer = httpx.post(str(request.url), content=stream(), headers=kind, timeout=PATIENCE)
    assert refused(answer, 413) == MAX_UPLOAD.messages()["upload"]


def test_a_port_that_is_taken_is_named() -> None:
    with open_listener("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            open_listener("127.0.0.1", port)
    with pytest.raises(DataError, match="--port must be between 0 and 65535, not 70000"):
        open_listener("127.0.0.1", 70000)
    with pytest.raises(DataError, match="is not an address of this machine"):
        open_listener("no.such.host.invalid", 0)


def test_only_this_machine_is_served_by_default() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    assert page_url("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert page_url("::1", 80) == "http://[::1]:80/"
    assert listener.family == socket.AF_INET


@pytest.mark.posix
def test_the_lock_tells_a_folder_in_use_from_one_of_the_same_process_number(tmp_path: Path) -> None:
    """In a container every server is process 1; and a living number may be another program's."""
    ours, others = (tmp_path / f"{FOLDER_PREFIX}{os.getpid()}-{name}" for name in "ab")
    for folder in (ours, others):
        (folder / "job").mkdir(parents=True)
        (folder / LOCK).touch()
    with (others / LOCK).open("r+b") as file:
        set_lock(file, True)
        remove_old_folders(tmp_path)
        assert list(tmp_path.iterdir()) == [others]
    remove_old_folders(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_killed_servers_are_removed(tmp_path: Path) -> None:
    dead, mine, other = (
        tmp_path / f"{FOLDER_PREFIX}{name}"
        for name in (f"{NOBODY}-x", f"{os.getpid()}-x", "notes-x")
    )
    for folder in (dead, mine, other):
        (folder / "job").mkdir(parents=True)
    remove_old_folders(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


def test_folders_of_killed_servers_are_removed_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, mine = (tmp_path / f"{FOLDER_PREFIX}{number}-x" for number in (NOBODY, os.getpid()))
    for folder in (dead, mine):
        folder.mkdir()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("refsr.web.server.os", SimpleNamespace(name="nt"))  # no getuid, no kill
    remove_old_folders(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]
