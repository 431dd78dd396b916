"""Load test of `refsr web`: with many clients, every answer is correct or a one-sentence refusal.

    python tools/load.py                              20 clients, 100 requests
    python tools/load.py --minutes 5 --json load.json for 5 minutes, with the memory by second

Each request is one of: a photo upscaled without or with references, a check and the job continued
from it, a cancelled job, a damaged photo, an upload that is too large, a connection closed during
an upload or its check. Results are compared byte by byte with those of `Upscaler` in this process,
and so are verdicts. At the end the server must hold no file.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil

from refsr import Upscaler
from refsr.report.report import describe
from refsr.web.server import LOCK

SIZES = (40, 30), (60, 44), (84, 64), (120, 90)  # width, height of the small photos
UPLOAD = 300_000  # bytes that the server takes at most
INTERRUPTED = "refsr: interrupted\n"  # the server's only output to stderr
TIMEOUT = 600.0  # seconds until a request counts as lost
PLAN = ["plain", "full", "full", "check", "cancel", "full", "broken", "large", "gone", "check"]
PLAN += ["plain", "away"]  # repeated over the requests
Files = list[tuple[str, tuple[str, bytes]]]


class ServerFull(Exception):
    """The server refuses further requests for now."""


@dataclass
class Case:
    """A photo with its reference, and the library's results for them."""

    photo: bytes
    reference: bytes
    plain: bytes  # PNG
    full: bytes
    verdict: dict[str, Any]

    def files(self, referenced: bool) -> Files:
        """The form's files."""
        reference = [("reference", ("sharp.png", self.reference))]
        return [("photo", ("small.png", self.photo)), *(reference if referenced else [])]


@dataclass
class Load:
    """A server under load: its address, the requests and their outcomes."""

    url: str
    cases: list[Case]
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def send(self, number: int, clients: int) -> None:
        """Send request ``number`` of the plan and record its outcome."""
        kind, case = PLAN[number % len(PLAN)], self.cases[number % len(self.cases)]
        headers = {"x-refsr-client": str(number % clients)}
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT) as client:
                outcome = KINDS[kind](client, case)
        except ServerFull:
            outcome = "refused"
        except httpx.HTTPError as error:
            outcome = f"lost: {error!r}"
        except AssertionError as error:
            outcome = f"wrong: {error}"
        with self.lock:
            self.outcomes[f"{kind}: {outcome.partition(':')[0]}"] += 1
            if outcome.startswith(("lost", "wrong")):
                self.wrong.append(f"{number} {kind} {outcome}")


def draw_pair(seed: int, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """PNG files of an LR photo and of a slightly rotated HR photo of the same scene."""
    rng, (width, height) = np.random.default_rng(seed), (4 * size[0], 4 * size[1])
    sharp = np.full((height, width, 3), rng.uniform(60, 200, 3), np.uint8)
    for _ in range(width * height // 60):
        x, y, radius = rng.integers(0, width), rng.integers(0, height), rng.integers(2, 9)
        cv2.circle(sharp, (int(x), int(y)), int(radius), rng.uniform(0, 255, 3).tolist(), -1)
    turned = cv2.getRotationMatrix2D((width / 2, height / 2), 2.0, 1.02)
    view = cv2.warpAffine(sharp, turned, (width, height), borderMode=cv2.BORDER_REFLECT)
    small = cv2.resize(sharp, size, interpolation=cv2.INTER_AREA)
    photo, reference = (cv2.imencode(".png", image)[1].tobytes() for image in (small, view))
    return photo, reference


def prepare_case(upscaler: Upscaler, seed: int, size: tuple[int, int]) -> Case:
    """A case with the library's results."""
    photo, reference = draw_pair(seed, size)
    results: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        for references in ([], [reference]):
            upscaler.set_reference(references)
            upscaler.upscale(photo).save(f"{folder}/out.png")
            results.append(Path(folder, "out.png").read_bytes())
    composite = upscaler.check(photo).composite
    assert composite is not None
    return Case(photo, reference, results[0], results[1], describe("sharp.png", composite, 0))


def expect(condition: bool, message: str) -> None:
    """Raises AssertionError with the message."""
    if not condition:
        raise AssertionError(message)


def refused(answer: httpx.Response, *status: int) -> bool:
    """Whether the server refuses with one of ``status``, in a sentence. Others are errors."""
    if answer.status_code < 400:
        return False
    expect(answer.status_code in status, f"{answer.status_code} {answer.text[:200]}")
    sentence = answer.json()["error"]
    expect(re.fullmatch(r"\S.*[.]", sentence) is not None, sentence)
    return True


def post(client: httpx.Client, path: str, files: Any) -> httpx.Response:
    """Post a form. Raises ServerFull where the server refuses it."""
    answer = client.post(path, files=files)
    if refused(answer, 429):
        raise ServerFull
    return answer


def wait_for(client: httpx.Client, created: httpx.Response) -> dict[str, Any]:
    """The created job, once it has ended."""
    expect(created.status_code == 201, f"{created.status_code} {created.text[:200]}")
    until, job = time.monotonic() + TIMEOUT, created.json()
    while job["state"] in ("waiting", "working"):
        expect(time.monotonic() < until, f"still {job['state']}")
        time.sleep(0.25)
        job = client.get(f"/api/jobs/{job['id']}").json()
    return job


def expect_png(answer: httpx.Response, expected: bytes | None = None) -> None:
    """The answer is a PNG, equal to ``expected`` if given."""
    expect(answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}")
    expect(answer.content.startswith(b"\x89PNG"), "not a PNG")
    expect(expected in (None, answer.content), "other bytes than the library's")


def upscale(client: httpx.Client, case: Case, referenced: bool) -> str:
    """A whole job: upload, state, result, map, result at half strength, deletion."""
    created = post(client, "/api/jobs", case.files(referenced))
    job = wait_for(client, created)
    address = f"/api/jobs/{job['id']}"
    expect(job["state"] == "done", str(job["error"]))
    expect_png(client.get(f"{address}/result.png"), case.full if referenced else case.plain)
    expect_png(client.get(f"{address}/plain.png"), case.plain)
    expect_png(client.get(f"{address}/map.png"))
    expect_png(client.get(f"{address}/result.png?strength=0.5"))
    expect(client.delete(address).status_code == 204, "not removed")
    return "correct"


def check(client: httpx.Client, case: Case) -> str:
    """A verdict, and the job continued from it."""
    answer = post(client, "/api/check", case.files(True))
    (row,) = answer.json()["references"]
    expect({key: row[key] for key in case.verdict} == case.verdict, "another verdict")
    address = f"/api/jobs/{answer.json()['id']}"
    created = client.post("/api/jobs", files={"check": (None, answer.json()["id"])})
    if not refused(created, 429):
        expect(wait_for(client, created)["state"] == "done", "not done")
        expect_png(client.get(f"{address}/result.png"), case.full)
    expect(client.delete(address).status_code == 204, "not removed")
    return "correct"


def cancel(client: httpx.Client, case: Case) -> str:
    """A cancelled job is removed."""
    created = post(client, "/api/jobs", case.files(True))
    address = f"/api/jobs/{created.json()['id']}"
    time.sleep(0.5)
    expect(client.delete(address).status_code == 204, "not cancelled")
    expect(refused(client.get(address), 404), "still there")
    return "correct"


def broken(client: httpx.Client, case: Case) -> str:
    """A truncated photo is refused."""
    files = [("photo", ("small.png", case.photo[: len(case.photo) // 2]))]
    expect(
        refused(client.post("/api/check", files=files), 422, 429), "a truncated photo was accepted"
    )
    return "correct"


def large(client: httpx.Client, case: Case) -> str:
    """An upload over the limit is refused."""
    files = [*case.files(True), ("reference", ("large.png", bytes(UPLOAD)))]
    expect(
        refused(client.post("/api/check", files=files), 413, 429), "a too large upload was accepted"
    )
    return "correct"


def hang_up(client: httpx.Client, case: Case, share: float) -> str:
    """Close the connection after this share of a check's upload."""
    request = client.build_request("POST", "/api/check", files=case.files(True))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST /api/check HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
        line.sendall(whole[: round(share * len(whole))])
        line.settimeout(0.2)
        with suppress(TimeoutError):  # delete the check of a server that has answered already
            created = re.search(rb'"id":"([\w-]+)"', line.recv(1 << 16))
            if created is not None:
                client.delete(f"/api/jobs/{created[1].decode()}")
    return "closed"


KINDS: dict[str, Callable[[httpx.Client, Case], str]] = {
    "plain": lambda client, case: upscale(client, case, False),
    "full": lambda client, case: upscale(client, case, True),
    "check": check,
    "cancel": cancel,
    "broken": broken,
    "large": large,
    "gone": lambda client, case: hang_up(client, case, 0.5),
    "away": lambda client, case: hang_up(client, case, 1.0),
}


def resident(pid: int) -> tuple[int, int]:
    """Bytes that a process holds, and its children together."""
    server = psutil.Process(pid)
    children = 0
    for child in server.children():
        with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            children += child.memory_info().rss
    return server.memory_info().rss, children


def run(clients: int, requests: int, minutes: float) -> dict[str, Any]:
    """Start a server, load it and stop it; returns JSON-ready results."""
    upscaler = Upscaler.load(threads=1)
    cases = [prepare_case(upscaler, seed, size) for seed, size in enumerate(SIZES)]
    del upscaler
    flags = ["--port", "0", "--threads", "1", "--max-upload", f"{UPLOAD}B"]
    with tempfile.TemporaryDirectory() as temporary:
        server = subprocess.Popen(
            [sys.executable, "-m", "refsr", "web", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": temporary},
        )
        assert server.stdout is not None
        address = re.search(r"http://\S+?(?=/)", server.stdout.readline())
        assert address, server.communicate()[1]
        load, memory, done = (
            Load(address.group(), cases),
            list[tuple[int, int]](),
            threading.Event(),
        )

        def watch() -> None:
            memory.append(resident(server.pid))
            while not done.wait(1.0):
                memory.append(resident(server.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        start, number = time.monotonic(), 0
        with ThreadPoolExecutor(clients) as pool:
            while number < requests or time.monotonic() - start < 60 * minutes:
                list(pool.map(lambda n: load.send(n, clients), range(number, number + clients)))
                number += clients
        seconds = time.monotonic() - start
        left = files_left(Path(temporary))
        done.set()
        watcher.join()
        server.send_signal(signal.SIGINT)
        stderr = server.communicate(timeout=TIMEOUT)[1]
        left_after_exit = list(Path(temporary).iterdir())
    return {
        "clients": clients,
        "requests": number,
        "seconds": round(seconds),
        "outcomes": dict(sorted(load.outcomes.items())),
        "wrong": load.wrong,
        "files_left": left,
        "left_after_the_end": [str(path) for path in left_after_exit],
        "exit": server.returncode,
        "stderr": stderr,
        "memory_mb": [[round(size / 1e6) for size in sample] for sample in memory],
    }


def files_left(folder: Path, timeout: float = TIMEOUT) -> list[str]:
    """The files of jobs, after waiting up to ``timeout`` seconds for their deletion."""
    until = time.monotonic() + timeout
    while True:
        files = (path for path in folder.rglob("*") if path.is_file())
        left = [str(path) for path in files if path.name != LOCK]  # the server's own
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def quarters(memory: list[list[int]]) -> list[tuple[int, int]]:
    """The peak of the server and of its workers, in MB, in each quarter of the time."""
    parts = [part for part in np.array_split(np.array(memory), 4) if len(part)]
    return [(int(part[:, 0].max()), int(part[:, 1].max())) for part in parts]


def main() -> int:
    """Returns 1 where a request was lost, an answer wrong, a file left, or anything printed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=0.0, help="run at least this long")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    result = run(options.clients, options.requests, options.minutes)
    if options.json:
        options.json.write_text(json.dumps(result))
    memory = result.pop("memory_mb")
    print(json.dumps(result, indent=1))
    print("MB of the server and its workers, peak by quarter:", quarters(memory))
    bad = result["wrong"] or result["files_left"] or result["left_after_the_end"]
    return 1 if bad or result["stderr"] != INTERRUPTED else 0


if __name__ == "__main__":
    sys.exit(main())
