"""The HTTP API of `refsr web`: verdicts, jobs, downloads, and what it refuses."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import httpx
import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.errors import DataError
from refsr.image.photo import load_photo
from refsr.inference.estimate import USUAL_COST
from refsr.inference.network import Network
from refsr.report.report import describe, expected_together
from refsr.resize import imresize
from scenes import facade, seen_through

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from starlette.testclient import TestClient

from refsr.web import examples
from refsr.web.app import PAGE, make_app
from refsr.web.desk import JobManager
from refsr.web.guard import known_host
from refsr.web.lane import ENDED, TaskError, WorkerProcess
from refsr.web.limits import FORMATS, Limits
from refsr.web.outline import outlines
from refsr.web.queue import FairQueue
from refsr.web.serve import FOLDER, address, listening, sweep_old_folders
from refsr.web.tasks import Bench, EtaEstimator, enlarge, look

HOST = "http://127.0.0.1"
WORKER = {"max_memory": 10**9, "threads": 1, "photo_pixels": 10**6, "reference_pixels": 10**7}
LIMITS = Limits(upload=2_000_000)
PATIENCE = 600  # seconds: other work may share the cores
NOBODY = 2**22 + 1  # a process number above the highest that Linux gives
SHIFT = np.array([[1.1, 0.02, -30.0], [0.01, 1.08, -22.0], [0.0, 0.0, 1.0]])  # HR px to the view's


def encoded(image: NDArray[np.uint8], format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(image).save(file, format, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A small photo, 96 x 64, a PNG with EXIF."""
    exif = PIL.Image.Exif()
    exif[0x010F] = "Camera of the test"
    return encoded(imresize(facade(3)[:256, :384], scale=0.25), exif=exif)


@pytest.fixture(scope="module")
def reference() -> bytes:
    return encoded(seen_through(facade(3), SHIFT, (512, 384)), "JPEG", quality=95)


@pytest.fixture(scope="module")
def foreign(natural: NDArray[np.uint8]) -> bytes:
    return encoded(natural)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> JobManager:
    looking, working = (
        WorkerProcess({**WORKER, "model": name}) for name in ("detail-transfer", "auto")
    )
    return JobManager(tmp_path_factory.mktemp("jobs"), looking, working, LIMITS)


@pytest.fixture(scope="module")
def client(desk: JobManager) -> Generator[TestClient]:
    with TestClient(make_app(desk), base_url=HOST, raise_server_exceptions=False) as client:
        yield client


def files(photo: bytes, *references: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [
        ("photo", ("small one.png", photo)),
        *(("reference", (f"sharp {i}.jpg", data)) for i, data in enumerate(references, start=1)),
    ]


def refused(answer: httpx.Response, status: int) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code == status, answer.text
    sentence = answer.json()["error"]
    assert sentence.endswith(".")
    assert tempfile.gettempdir() not in sentence
    return sentence


def wait(client: TestClient, id: str, *states: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The job's status, once it is in one of these states."""
    until = time.monotonic() + seconds
    shares: list[float] = []
    while time.monotonic() < until:
        job = client.get(f"/api/jobs/{id}").json()
        shares += [] if job["progress"] is None else [job["progress"]]
        if job["state"] in states:
            assert shares == sorted(shares)
            return job
        time.sleep(0.1)
    raise AssertionError(f"still {job}")


@pytest.fixture(scope="module")
def done(client: TestClient, photo: bytes, reference: bytes) -> dict[str, Any]:
    """A finished job with a reference, begun from its check."""
    checked = client.post("/api/check", files=files(photo, reference)).json()
    begun = client.post("/api/jobs", data={"scale": "2"}, files={"check": (None, checked["id"])})
    assert begun.status_code == 201
    assert begun.json()["id"] == checked["id"]
    assert begun.json()["verdict"]["references"] == checked["references"]
    return wait(client, checked["id"], "done", "failed")


# ---- the verdict


def test_a_check_says_what_the_command_says(
    client: TestClient, photo: bytes, reference: bytes, foreign: bytes
) -> None:
    answer = client.post("/api/check", files=files(photo, reference, foreign)).json()
    fits, other = answer["references"]
    assert (fits["reference"], other["reference"]) == ("sharp 1.jpg", "sharp 2.jpg")
    assert fits["used"]
    assert re.fullmatch(r"It matches \d+ % of your photo; use it.*\.", fits["verdict"])
    assert fits["outlines"]
    assert other["verdict"] == "This reference shows something else: it will not be used."
    assert other["outlines"] == []
    assert answer["photo"] == {
        "name": "small one.png",
        "width": 96,
        "height": 64,
        "damaged": False,
        "notes": [],
    }
    for part in ("photo", "reference-1", "reference-2"):
        picture = client.get(f"/api/jobs/{answer['id']}/pictures/{part}.jpg")
        assert picture.headers["content-type"] == "image/jpeg"
        assert max(PIL.Image.open(io.BytesIO(picture.content)).size) <= 900


def test_the_outline_on_the_reference_is_the_one_on_the_photo() -> None:
    hr = facade(3)[:256, :384]
    upscaler = Upscaler.load("detail-transfer")
    upscaler.set_reference(seen_through(facade(3), SHIFT, (512, 384)))
    composite = upscaler.register(load_photo(imresize(hr, scale=0.25)))
    assert composite is not None
    (found,) = outlines(composite, 0)
    xy_hr = np.array(found["photo"]) * (384, 256)
    xy_ref = np.array(found["reference"]) * (512, 384)
    expected = cv2.perspectiveTransform(xy_hr[None].astype(np.float64), SHIFT)[0]
    inside = (expected > 0).all(axis=1) & (expected < (512, 384)).all(axis=1)
    assert inside.mean() > 0.5
    assert np.median(np.abs(xy_ref - expected)[inside]) < 2
    assert cv2.contourArea(xy_hr.astype(np.float32)) > 0.5 * 384 * 256


# ---- a job


@pytest.mark.slow
def test_a_download_is_the_file_that_the_library_writes(
    client: TestClient, done: dict[str, Any], photo: bytes, reference: bytes, tmp_path: Path
) -> None:
    assert done["report"]["output_size"] == [192, 128]
    assert done["report"]["references"][0]["reference"] == "sharp 1.jpg"
    assert done["report"]["references"][0]["used"]
    upscaler = Upscaler.load(threads=1)
    for name, references in (("result", [reference]), ("plain", [])):
        upscaler.set_reference(references)
        upscaler.upscale(photo, scale=2).save(tmp_path / "own.png")
        got = client.get(f"/api/jobs/{done['id']}/{name}.png")
        assert got.content == (tmp_path / "own.png").read_bytes()
        assert "filename*=utf-8''small%20one-2x.png" in got.headers["content-disposition"]


@pytest.mark.slow
def test_the_strength_blends_and_its_ends_are_exact(
    client: TestClient, done: dict[str, Any]
) -> None:
    def pixels(query: str) -> NDArray[np.float64]:
        got = client.get(f"/api/jobs/{done['id']}/result.png?{query}")
        return np.asarray(PIL.Image.open(io.BytesIO(got.content)), np.float64)

    full, none, mixed = pixels("strength=1"), pixels("strength=0"), pixels("strength=0.3")
    assert np.abs(full - none).mean() > 1
    assert np.abs(mixed - (0.7 * none + 0.3 * full)).max() <= 0.51
    plain = client.get(f"/api/jobs/{done['id']}/plain.png").content
    assert plain == client.get(f"/api/jobs/{done['id']}/result.png?strength=0").content
    refused(client.get(f"/api/jobs/{done['id']}/result.png?strength=7"), 400)
    refused(client.get(f"/api/jobs/{done['id']}/result.png?strength=nan"), 400)


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
def test_every_format_comes_with_metadata_or_without(
    format: str, client: TestClient, done: dict[str, Any]
) -> None:
    for query, kept in (("", True), ("?metadata=no", False)):
        got = client.get(f"/api/jobs/{done['id']}/result.{format}{query}")
        image = PIL.Image.open(io.BytesIO(got.content))
        assert image.size == (192, 128)
        assert (image.getexif().get(0x010F) == "Camera of the test") is kept


@pytest.mark.slow
def test_the_pictures_of_the_page(client: TestClient, done: dict[str, Any]) -> None:
    sizes = {"before": (96, 64), "result": (192, 128), "plain": (192, 128), "map": (96, 64)}
    for name, size in sizes.items():
        picture = client.get(f"/api/jobs/{done['id']}/pictures/{name}.png")
        assert PIL.Image.open(io.BytesIO(picture.content)).size == size
        assert picture.headers["cache-control"] == "no-store"
    tints = PIL.Image.open(io.BytesIO(client.get(f"/api/jobs/{done['id']}/map.png").content))
    assert tints.mode == "RGBA"
    for name in ("photo", "full.npy", "..%2F..%2Fx", "reference-9.jpg"):
        refused(client.get(f"/api/jobs/{done['id']}/pictures/{name}"), 404)


@pytest.mark.slow
def test_a_cancelled_job_ends_at_once_and_leaves_nothing(
    client: TestClient, desk: JobManager, reference: bytes
) -> None:
    large = encoded(imresize(facade(3), size=(450, 600)))
    first = client.post("/api/jobs", files=files(large, reference)).json()
    second = client.post("/api/jobs", files=files(large)).json()
    wait(client, first["id"], "working")
    assert wait(client, second["id"], "waiting")["before_you"] == 1
    process = desk.working.process
    folder = desk.jobs[first["id"]].folder
    assert folder.exists()
    started = time.monotonic()
    assert client.delete(f"/api/jobs/{second['id']}").status_code == 204
    assert process is not None
    assert process.returncode is None  # a waiting job is only struck off
    assert client.delete(f"/api/jobs/{first['id']}").status_code == 204
    assert time.monotonic() - started < 10
    assert process.returncode is not None
    assert not folder.exists()
    assert "no longer kept" in refused(client.get(f"/api/jobs/{first['id']}"), 404)
    tiny = encoded(np.full((8, 8, 3), 90, np.uint8))
    after = client.post("/api/jobs", files=files(tiny)).json()
    assert wait(client, after["id"], "done")["report"]["output_size"] == [32, 32]


# ---- what is refused


def test_a_bad_photo_is_named_as_the_user_does(
    client: TestClient, desk: JobManager, photo: bytes
) -> None:
    before = set(desk.jobs)
    bad = client.post("/api/check", files=files(photo, b"Dear diary, today I wrote a text."))
    assert refused(bad, 422) == "sharp 1.jpg holds text, not a picture."
    assert bad.json()["part"] == "reference-1"
    bad = client.post("/api/check", files=files(photo[:900], photo))
    assert refused(bad, 422).startswith("small one.png is damaged or cut short")
    assert bad.json()["part"] == "photo"
    assert set(desk.jobs) == before  # their files are gone


def test_a_photo_of_too_many_pixels_is_refused(client: TestClient) -> None:
    wide = encoded(np.zeros((1001, 1000, 3), np.uint8))
    bad = client.post("/api/check", files=files(wide, wide))
    assert "small one.png" in refused(bad, 422)
    assert bad.json()["part"] == "photo"


def test_a_failed_job_says_why(client: TestClient, photo: bytes) -> None:
    job = client.post("/api/jobs", files=files(b"\x89PNG but not really")).json()
    failed = wait(client, job["id"], "failed")
    assert "small one.png" in failed["error"]
    refused(client.get(f"/api/jobs/{job['id']}/result.png"), 409)


def test_uploads_have_a_limit_told_beforehand(client: TestClient, photo: bytes) -> None:
    assert client.get("/api/info").json()["limits"]["upload"] == LIMITS.upload
    words = LIMITS.words()["upload"]
    assert "2 MB" in words
    big = files(photo, bytes(LIMITS.upload))
    assert refused(client.post("/api/check", files=big), 413) == words
    request = client.build_request("POST", "/api/check", files=big)

    def without_length() -> Generator[bytes]:
        body = request.read()
        yield from (body[i : i + 65536] for i in range(0, len(body), 65536))

    kind = {"content-type": request.headers["content-type"]}
    streamed = client.post("/api/check", content=without_length(), headers=kind)
    assert refused(streamed, 413) == words


@pytest.mark.parametrize(
    ("path", "form", "status", "words"),
    [
        ("check", [("photo", b"x"), *[("reference", b"x")] * 9], 413, "At most 8 references"),
        ("check", [("reference", b"x")], 400, "Send one photo"),
        ("check", [("photo", b"x"), ("photo", b"x")], 400, "Send one photo"),
        ("jobs", [("photo", b"x"), ("url", b"http://10.0.0.1/")], 400, "'url' that is not known"),
    ],
)
def test_forms_that_cannot_be_used(
    path: str, form: list[tuple[str, bytes]], status: int, words: str, client: TestClient
) -> None:
    parts = [(name, (f"{name}.png", data)) for name, data in form]
    assert words in refused(client.post(f"/api/{path}", files=parts), status)


def test_other_requests_that_cannot_be_used(client: TestClient, photo: bytes) -> None:
    bad = client.post("/api/jobs", data={"scale": "5"}, files=files(photo))
    assert "2, 3 or 4" in refused(bad, 400)
    refused(client.post("/api/jobs", json={"photo": "/etc/passwd"}), 415)
    refused(client.post("/api/jobs", files={"check": (None, "no-such-job")}), 404)
    assert refused(client.get("/api/nothing"), 404) == "There is nothing at this address."
    refused(client.get("/../pyproject.toml"), 404)
    refused(client.put("/api/jobs"), 405)


def test_foreign_pages_and_names_are_refused(client: TestClient, photo: bytes) -> None:
    for origin in ("http://evil.example", "null", "https://127.0.0.1.evil.example"):
        bad = client.post("/api/check", files=files(photo), headers={"origin": origin})
        refused(bad, 403)
    refused(client.delete("/api/jobs/x", headers={"sec-fetch-site": "cross-site"}), 403)
    refused(client.get("/", headers={"host": "rebound.example"}), 421)
    assert client.get("/", headers={"host": "localhost:8160"}).status_code == 200
    same = client.post("/api/check", files=files(b"x", b"x"), headers={"origin": HOST})
    assert same.status_code == 422  # let through to the photo itself
    assert "access-control-allow-origin" not in same.headers


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8160", True),
        ("localhost", True),
        ("[::1]:80", True),
        ("192.168.0.7:8160", True),
        ("example.org", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org:80", False),
        ("", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, known: bool) -> None:
    assert known_host(host) is known


def test_a_full_queue_says_so(tmp_path: Path, photo: bytes) -> None:
    lanes = WorkerProcess({**WORKER, "model": "auto"}), WorkerProcess({**WORKER, "model": "auto"})
    full = JobManager(tmp_path, *lanes, Limits(waiting=0))
    client = TestClient(make_app(full), base_url=HOST)  # no lifespan: no lane works
    assert "Too many photos" in refused(client.post("/api/jobs", files=files(photo)), 429)
    each = JobManager(tmp_path, *lanes, Limits(waiting_each=0))
    client = TestClient(make_app(each), base_url=HOST)
    assert "You have 0 photos" in refused(client.post("/api/check", files=files(photo)), 429)


# ---- the page's files


def test_the_page_comes_whole_and_from_nowhere_else(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self'; ")
    assert "unsafe" not in page.headers["content-security-policy"]
    for path in PAGE.iterdir():
        text = path.read_text(encoding="utf-8")
        away = set(re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'`)]*", text))
        assert away <= {"http://www.w3.org/2000/svg"}, path
        for name in re.findall(r"(?:src|href|from)=?\s*\"(?:\./)?([\w.-]+)\"", text):
            got = client.get(f"/{name}")
            assert got.status_code == 200, name
            assert got.headers["x-content-type-options"] == "nosniff"


@pytest.mark.slow
def test_the_examples_do_what_their_titles_say(client: TestClient) -> None:
    upscaler = Upscaler.load("detail-transfer")
    used: list[bool] = []
    for example in client.get("/api/info").json()["examples"]:
        photo = client.get(f"/api/examples/{example['photo']}").content
        upscaler.set_reference(
            [client.get(f"/api/examples/{n}").content for n in example["references"]]
        )
        composite = upscaler.register(load_photo(photo))
        assert composite is not None
        used.append(composite.matched)
    assert used == [True, True, False]
    refused(client.get("/api/examples/..%2Fexamples.py"), 404)
    assert set(examples.PHOTOS) >= {one["photo"] for one in examples.EXAMPLES}


# ---- queue, lanes, clock


def test_clients_have_turns() -> None:
    async def order() -> str:
        queue: FairQueue[str] = FairQueue()
        for item in ("a1", "a2", "a3", "b1", "c1", "b2"):
            queue.put(item[0], item)
        assert [queue.before(item) for item in ("a1", "b1", "c1", "a2", "b2", "a3")] == list(
            range(6)
        )
        queue.remove("c1")
        assert (len(queue), queue.of("a"), queue.of("c")) == (5, 3, 0)
        taken = [await queue.get() for _ in range(2)]
        queue.put("d", "d1")  # comes late, and still before the third of a
        return " ".join(taken + [await queue.get() for _ in range(4)])

    assert asyncio.run(order()) == "a1 b1 a2 b2 d1 a3"


@pytest.mark.posix
def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    async def go() -> None:
        lane = WorkerProcess({**WORKER, "model": "detail-transfer"})
        (tmp_path / "photo").write_bytes(encoded(np.zeros((9, 7, 3), np.uint8)))
        task = {"task": "look", "folder": str(tmp_path), "names": {"photo": "dot.png"}}
        os.kill((await lane.ready()).pid, signal.SIGSTOP)  # or it could be done before it is killed
        duty = asyncio.create_task(lane.work())
        killed = asyncio.create_task(lane.run(dict(task), "a"))
        while lane.current is None:
            await asyncio.sleep(0.02)
        assert lane.process is not None
        lane.process.kill()
        with pytest.raises(TaskError) as error:
            await killed
        assert str(error.value) == ENDED
        assert (await lane.run(dict(task), "a"))["photo"]["width"] == 7
        process = lane.process
        duty.cancel()
        await asyncio.wait([duty])
        assert process.returncode is not None
        assert lane.process is None

    asyncio.run(go())


def test_no_task_gets_a_process_that_is_being_ended() -> None:
    """Found by tools/load.py: a job failed where the one before it was cancelled at its end."""

    async def cancelled_and_next() -> None:
        lane = WorkerProcess({**WORKER, "model": "detail-transfer"})
        first = await lane.ready()
        ending = asyncio.create_task(lane.kill())
        await asyncio.sleep(0)  # the signal is sent; that the process has ended is not known yet
        assert await lane.ready() is not first
        await ending
        await lane.kill()
        assert first.returncode is not None

    asyncio.run(cancelled_and_next())


def test_the_time_left_counts_both_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    told: list[float] = []
    clock = EtaEstimator(lambda message: told.append(message["left"]), 2, (1.0, 1.0))

    class Foreseen:
        seconds = 10.0

    clock.announce(Foreseen())  # type: ignore[arg-type]
    now[0] = 8.0  # registration was foreseen with 4 s, took twice that
    clock.progress(0.4)
    now[0] = 20.0
    clock.progress(1.0)
    clock.next_run()
    now[0] = 32.0
    clock.progress(1.0)
    assert told == pytest.approx([20.0, 12.0, 12.0, 12.0, 0.0]), "registration says nothing of it"
    now[0] = 34.0  # the files are written
    assert clock.finished() == pytest.approx((34 / 20, 26 / 12))


def test_the_pace_of_a_first_job_is_measured_as_its_network_begins() -> None:
    """That of the process's start is long out of date, where others have come meanwhile."""

    class Foreseen:
        seconds = 10.0

    for runs, told_first, then in ((2, 20.0, 36.0), (1, 30.0, None)):
        told: list[float] = []
        clock = EtaEstimator(
            lambda message, to=told: to.append(message["left"]), runs, (1.0, 1.0), lambda: 3
        )
        clock.announce(Foreseen())  # type: ignore[arg-type]
        if then is not None:
            clock.progress(0.4)  # the registration
        assert told == [told_first, then][:runs]


def test_only_the_first_job_measures_its_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured: list[float] = []
    pace = Network.pace
    monkeypatch.setattr(Network, "pace", lambda self: measured.append(pace(self)) or 1e-3)
    PIL.Image.fromarray(np.full((8, 8, 3), 90, np.uint8)).save(tmp_path / "photo", format="png")
    bench = Bench("ssen", 450_000_000, 1, 4_000_000, 100_000_000)
    assert bench.paces[0] == pytest.approx(1e-3 / USUAL_COST[1])
    begun, told = len(measured), list[dict[str, Any]]()
    task = {"folder": str(tmp_path), "names": {"photo": "small.png"}, "scale": 4}
    enlarge(bench, task, told.append)
    assert len(measured) == begun + 1
    assert told[0]["left"] == pytest.approx(64 * 1e-3)
    assert bench.shown
    enlarge(bench, task, told.append)
    assert len(measured) == begun + 1


def test_jobs_are_forgotten_in_time(tmp_path: Path) -> None:
    async def go() -> list[str]:
        lane = WorkerProcess({})
        desk = JobManager(tmp_path, lane, lane, Limits(kept=3, keep_seconds=100))
        jobs = [desk.new("a") for _ in range(6)]
        for number, job in enumerate(jobs):
            job.asked = 1000.0 + number
        jobs[0].state = "working"
        await desk.sweep_once(1010.0)  # five are idle, of which three are kept
        kept = [str(jobs.index(job)) for job in desk.jobs.values()]
        await desk.sweep_once(1104.5)
        later = [str(jobs.index(job)) for job in desk.jobs.values()]
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(desk.jobs)
        return ["".join(kept), "".join(later)]

    assert asyncio.run(go()) == ["0345", "05"]


# ---- the command


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
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_server_stops_without_a_trace(
    how: signal.Signals,
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
    server.send_signal(how)
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
    assert refused(answer, 413) == LIMITS.words()["upload"]


def test_a_port_that_is_taken_is_named() -> None:
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(DataError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            listening("127.0.0.1", port)
    with pytest.raises(DataError, match="There is no port 70000"):
        listening("127.0.0.1", 70000)
    with pytest.raises(DataError, match="is no address of this machine"):
        listening("no.such.host.invalid", 0)


def test_only_this_machine_is_served_by_default() -> None:
    with listening("127.0.0.1", 0) as listener:
        assert listener.getsockname()[0] == "127.0.0.1"
    assert address("0.0.0.0", 80) == "http://127.0.0.1:80/"
    assert address("::1", 80) == "http://[::1]:80/"
    assert listener.family == socket.AF_INET


def test_folders_of_killed_servers_are_removed(tmp_path: Path) -> None:
    dead, mine, other = (
        tmp_path / f"{FOLDER}{name}" for name in (f"{NOBODY}-x", f"{os.getpid()}-x", "notes-x")
    )
    for folder in (dead, mine, other):
        (folder / "job").mkdir(parents=True)
    sweep_old_folders(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])


def test_folders_of_killed_servers_are_removed_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead, mine = (tmp_path / f"{FOLDER}{number}-x" for number in (NOBODY, os.getpid()))
    for folder in (dead, mine):
        folder.mkdir()
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("refsr.web.serve.os", SimpleNamespace(name="nt"))  # no getuid, no kill
    sweep_old_folders(tmp_path)
    assert list(tmp_path.iterdir()) == [mine]


def test_ctrl_c_does_not_reach_the_workers_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no session to start; a process group of its own does it."""
    given: dict[str, Any] = {}

    async def started(*_: str, **options: Any) -> None:
        given.update(options)

    monkeypatch.setattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 512, raising=False)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", started)
    asyncio.run(WorkerProcess(WORKER).ready())
    assert given["creationflags"] == 512


def test_references_looked_at_one_by_one_are_as_together(tmp_path: Path) -> None:
    """The check holds one reference at a time; its verdicts are those of the road."""
    hr = facade(3)[:256, :384]
    lr = imresize(hr, scale=0.25)
    view = seen_through(facade(3), SHIFT, (512, 384))
    others = [view, np.ascontiguousarray(view[:, :260]), hr[:, ::-1].copy()]
    PIL.Image.fromarray(lr).save(tmp_path / "photo", format="png")
    names = {"photo": "small.png"}
    for number, other in enumerate(others, start=1):
        PIL.Image.fromarray(other).save(tmp_path / f"reference-{number}", format="png")
        names[f"reference-{number}"] = f"{number}.png"
    bench = Bench("detail-transfer", 450_000_000, 1, 4_000_000, 100_000_000)
    answer = look(bench, {"folder": str(tmp_path), "names": names}, lambda _: None)
    bench.upscaler.set_reference(list(others))
    composite = bench.upscaler.register(load_photo(lr))
    assert composite is not None
    for index, row in enumerate(answer["references"]):
        wanted = describe(f"{index + 1}.png", composite, index)
        assert {key: row[key] for key in wanted} == wanted
        assert (tmp_path / f"reference-{index + 1}.jpg").exists()
    assert [row["used"] for row in answer["references"]] == [True, True, False]
    assert answer["expected_gain_db"] == round(expected_together(composite), 2)
