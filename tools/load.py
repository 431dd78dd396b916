"""Many clients at once on `refsr web`: every answer is right, or a refusal in one sentence.

    python tools/load.py                              20 clients, 100 requests
    python tools/load.py --minutes 5 --json load.json as long as that, with the memory by second

Each request is one of: a photo enlarged without or with references, a check and the job that goes
on from it, a job cancelled, a broken photo, an upload that is too large, a connection closed in the
middle of an upload or while its check is made. Results are compared byte by byte with what
`Upscaler` writes here, verdicts with what it says. At the end the server must hold no file.
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
from refsr.image.photo import load_photo
from refsr.report.report import describe

SIZES = (40, 30), (60, 44), (84, 64), (120, 90)  # width, height of the small photos
UPLOAD = 300_000  # bytes that the server takes at most
INTERRUPTED = "refsr: interrupted\n"  # all that the server should say
PATIENCE = 600.0  # seconds until a request counts as lost
PLAN = ["plain", "full", "full", "check", "cancel", "full", "broken", "large", "gone", "check"]
PLAN += ["plain", "away"]  # of which each request takes the next
Files = list[tuple[str, tuple[str, bytes]]]


class Full(Exception):
    """The server takes no more at the moment, and says so."""


@dataclass
class Case:
    """A photo with its reference, and what the library makes of them."""

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
    """A server under load: where it is, what is sent to it, and what became of that."""

    url: str
    cases: list[Case]
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def one(self, number: int, clients: int) -> None:
        """Send request ``number`` of the plan and note how it ended."""
        kind, case = PLAN[number % len(PLAN)], self.cases[number % len(self.cases)]
        headers = {"x-refsr-client": str(number % clients)}
        try:
            with httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE) as client:
                outcome = KINDS[kind](client, case)
        except Full:
            outcome = "refused"
        except httpx.HTTPError as error:
            outcome = f"lost: {error!r}"
        except AssertionError as error:
            outcome = f"wrong: {error}"
        with self.lock:
            self.outcomes[f"{kind}: {outcome.partition(':')[0]}"] += 1
            if outcome.startswith(("lost", "wrong")):
                self.wrong.append(f"{number} {kind} {outcome}")


def drawn(seed: int, size: tuple[int, int]) -> tuple[bytes, bytes]:
    """PNG of a small photo and of a sharp one, a little turned, of the same things."""
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


def prepared(upscaler: Upscaler, seed: int, size: tuple[int, int]) -> Case:
    """A case with the library's own answers."""
    photo, reference = drawn(seed, size)
    made: list[bytes] = []
    with tempfile.TemporaryDirectory() as folder:
        for references in ([], [reference]):
            upscaler.set_reference(references)
            upscaler.upscale(photo).save(f"{folder}/out.png")
            made.append(Path(folder, "out.png").read_bytes())
    composite = upscaler.register(load_photo(photo))
    assert composite is not None
    return Case(photo, reference, made[0], made[1], describe("sharp.png", composite, 0))


def right(condition: bool, what: str) -> None:
    """Raises AssertionError with the words."""
    if not condition:
        raise AssertionError(what)


def refused(answer: httpx.Response, *status: int) -> bool:
    """Whether the server refuses with one of these, in a sentence. Others are wrong."""
    if answer.status_code < 400:
        return False
    right(answer.status_code in status, f"{answer.status_code} {answer.text[:200]}")
    sentence = answer.json()["error"]
    right(re.fullmatch(r"\S.*[.]", sentence) is not None, sentence)
    return True


def sent(client: httpx.Client, path: str, files: Any) -> httpx.Response:
    """The answer to a form. Raises Full where the server says so."""
    answer = client.post(path, files=files)
    if refused(answer, 429):
        raise Full
    return answer


def finished(client: httpx.Client, begun: httpx.Response) -> dict[str, Any]:
    """The job that was begun, once it is at its end."""
    right(begun.status_code == 201, f"{begun.status_code} {begun.text[:200]}")
    until, job = time.monotonic() + PATIENCE, begun.json()
    while job["state"] in ("waiting", "working"):
        right(time.monotonic() < until, f"still {job['state']}")
        time.sleep(0.25)
        job = client.get(f"/api/jobs/{job['id']}").json()
    return job


def is_png(answer: httpx.Response, wanted: bytes | None = None) -> None:
    """A picture came, and the wanted one if any."""
    right(answer.status_code == 200, f"{answer.status_code} {answer.text[:200]}")
    right(answer.content.startswith(b"\x89PNG"), "no PNG")
    right(wanted in (None, answer.content), "other bytes than the library's")


def enlarge(client: httpx.Client, case: Case, referenced: bool) -> str:
    """A whole job: upload, state, result, map, a blend of half strength, its end."""
    begun = sent(client, "/api/jobs", case.files(referenced))
    job = finished(client, begun)
    address = f"/api/jobs/{job['id']}"
    right(job["state"] == "done", str(job["error"]))
    is_png(client.get(f"{address}/result.png"), case.full if referenced else case.plain)
    is_png(client.get(f"{address}/plain.png"), case.plain)
    is_png(client.get(f"{address}/map.png"))
    is_png(client.get(f"{address}/result.png?strength=0.5"))
    right(client.delete(address).status_code == 204, "not removed")
    return "right"


def check(client: httpx.Client, case: Case) -> str:
    """A verdict, and the job that goes on from it."""
    answer = sent(client, "/api/check", case.files(True))
    (row,) = answer.json()["references"]
    right({key: row[key] for key in case.verdict} == case.verdict, "another verdict")
    address = f"/api/jobs/{answer.json()['id']}"
    begun = client.post("/api/jobs", files={"check": (None, answer.json()["id"])})
    if not refused(begun, 429):
        right(finished(client, begun)["state"] == "done", "not done")
        is_png(client.get(f"{address}/result.png"), case.full)
    right(client.delete(address).status_code == 204, "not removed")
    return "right"


def cancel(client: httpx.Client, case: Case) -> str:
    """A job that is ended at once is gone."""
    begun = sent(client, "/api/jobs", case.files(True))
    address = f"/api/jobs/{begun.json()['id']}"
    time.sleep(0.5)
    right(client.delete(address).status_code == 204, "not cancelled")
    right(refused(client.get(address), 404), "still there")
    return "right"


def broken(client: httpx.Client, case: Case) -> str:
    """Half a photo is refused, by name."""
    files = [("photo", ("small.png", case.photo[: len(case.photo) // 2]))]
    right(refused(client.post("/api/check", files=files), 422, 429), "half a photo was taken")
    return "right"


def large(client: httpx.Client, case: Case) -> str:
    """An upload over the limit is refused."""
    files = [*case.files(True), ("reference", ("large.png", bytes(UPLOAD)))]
    right(refused(client.post("/api/check", files=files), 413, 429), "too much was taken")
    return "right"


def hang_up(client: httpx.Client, case: Case, share: float) -> str:
    """A connection that is closed when this share of a check's upload is sent."""
    request = client.build_request("POST", "/api/check", files=case.files(True))
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    whole = f"POST /api/check HTTP/1.1\r\n{head}\r\n".encode() + request.read()
    with socket.create_connection((client.base_url.host, client.base_url.port or 80)) as line:
        line.sendall(whole[: round(share * len(whole))])
        line.settimeout(0.2)
        with suppress(TimeoutError):  # of a quick server the verdict is here already: not wanted
            told = re.search(rb'"id":"([\w-]+)"', line.recv(1 << 16))
            if told is not None:
                client.delete(f"/api/jobs/{told[1].decode()}")
    return "closed"


KINDS: dict[str, Callable[[httpx.Client, Case], str]] = {
    "plain": lambda client, case: enlarge(client, case, False),
    "full": lambda client, case: enlarge(client, case, True),
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
    """Start a server, load it, stop it; what happened, JSON-ready."""
    upscaler = Upscaler.load(threads=1)
    cases = [prepared(upscaler, seed, size) for seed, size in enumerate(SIZES)]
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
        found = re.search(r"http://\S+?(?=/)", server.stdout.readline())
        assert found, server.communicate()[1]
        load, memory, over = Load(found.group(), cases), list[tuple[int, int]](), threading.Event()

        def watch() -> None:
            memory.append(resident(server.pid))
            while not over.wait(1.0):
                memory.append(resident(server.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        began, number = time.monotonic(), 0
        with ThreadPoolExecutor(clients) as pool:
            while number < requests or time.monotonic() - began < 60 * minutes:
                list(pool.map(lambda n: load.one(n, clients), range(number, number + clients)))
                number += clients
        seconds = time.monotonic() - began
        left = files_left(Path(temporary))
        over.set()
        watcher.join()
        server.send_signal(signal.SIGINT)
        words = server.communicate(timeout=PATIENCE)[1]
        at_last = list(Path(temporary).iterdir())
    return {
        "clients": clients,
        "requests": number,
        "seconds": round(seconds),
        "outcomes": dict(sorted(load.outcomes.items())),
        "wrong": load.wrong,
        "files_left": left,
        "left_after_the_end": [str(path) for path in at_last],
        "exit": server.returncode,
        "stderr": words,
        "memory_mb": [[round(held / 1e6) for held in moment] for moment in memory],
    }


def files_left(folder: Path, patience: float = PATIENCE) -> list[str]:
    """The files of jobs; those of clients who have left may take a moment (seconds) to go."""
    until = time.monotonic() + patience
    while True:
        left = [str(path) for path in folder.rglob("*") if path.is_file()]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def quarters(memory: list[list[int]]) -> list[tuple[int, int]]:
    """The highest of the server and of its workers, in MB, in each quarter of the time."""
    parts = [part for part in np.array_split(np.array(memory), 4) if len(part)]
    return [(int(part[:, 0].max()), int(part[:, 1].max())) for part in parts]


def main() -> int:
    """Returns 1 where a request was lost, an answer wrong, a file left, or a traceback printed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=0.0, help="go on at least so long")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    result = run(asked.clients, asked.requests, asked.minutes)
    if asked.json:
        asked.json.write_text(json.dumps(result))
    memory = result.pop("memory_mb")
    print(json.dumps(result, indent=1))
    print("MB of the server and its workers, the highest by quarter:", quarters(memory))
    bad = result["wrong"] or result["files_left"] or result["left_after_the_end"]
    return 1 if bad or result["stderr"] != INTERRUPTED else 0


if __name__ == "__main__":
    sys.exit(main())
