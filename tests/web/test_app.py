"""The HTTP API of `refsr web`: verdicts, jobs, downloads, and what it refuses."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from numpy.typing import NDArray

from refsr import Upscaler
from refsr.resize import imresize
from scenes import facade
from web_api import HOST, PATIENCE, WORKER, encoded, files, refused

pytest.importorskip("starlette", reason="the extra `web` is not installed")

from starlette.testclient import TestClient

from refsr.batch.jobs import OUTPUT_FORMATS
from refsr.web import example_photos
from refsr.web.app import PAGE, make_app
from refsr.web.job_manager import JobManager
from refsr.web.limits import Limits
from refsr.web.security import is_own_host
from refsr.web.worker_process import WorkerProcess

LIMITS = Limits(upload=2_000_000)


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory) -> JobManager:
    workers = (WorkerProcess({**WORKER, "model": name}) for name in ("detail-transfer", "auto"))
    return JobManager(tmp_path_factory.mktemp("jobs"), *workers, LIMITS)


@pytest.fixture(scope="module")
def client(manager: JobManager) -> Generator[TestClient]:
    with TestClient(make_app(manager), base_url=HOST, raise_server_exceptions=False) as client:
        yield client


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
    client: TestClient, photo: bytes, reference: bytes, mismatched: bytes
) -> None:
    answer = client.post("/api/check", files=files(photo, reference, mismatched)).json()
    fits, other = answer["references"]
    assert (fits["reference"], other["reference"]) == ("sharp 1.jpg", "sharp 2.jpg")
    assert fits["used"]
    assert re.fullmatch(r"It covers \d+ % of your photo; there expect a .*\.", fits["verdict"])
    assert fits["outlines"]
    assert other["verdict"] == (
        "This reference could not be matched: no place of the photo was found in it, and it will "
        "not be used."
    )
    assert other["outlines"] == []
    assert answer["photo"] == {
        "name": "small one.png",
        "width": 96,
        "height": 64,
        "degradation": "",
        "notes": [],
    }
    for part in ("photo", "reference-1", "reference-2"):
        picture = client.get(f"/api/jobs/{answer['id']}/pictures/{part}.jpg")
        assert picture.headers["content-type"] == "image/jpeg"
        assert max(PIL.Image.open(io.BytesIO(picture.content)).size) <= 900


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
def test_strict_is_what_the_library_makes_of_it(
    client: TestClient, done: dict[str, Any], photo: bytes, reference: bytes, tmp_path: Path
) -> None:
    assert not done["report"]["strict"]
    form = {"scale": "2", "strict": "yes"}
    job = client.post("/api/jobs", data=form, files=files(photo, reference)).json()
    strict = wait(client, job["id"], "done", "failed")["report"]
    assert strict["strict"]
    assert strict["unconfirmed"] >= done["report"]["unconfirmed"]
    upscaler = Upscaler.load(threads=1)
    upscaler.set_reference([reference])
    upscaler.upscale(photo, scale=2, strict=True).save(tmp_path / "own.png")
    got = client.get(f"/api/jobs/{job['id']}/result.png")
    assert got.content == (tmp_path / "own.png").read_bytes()


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
def test_downloads_of_another_width_and_quality(client: TestClient, done: dict[str, Any]) -> None:
    url = f"/api/jobs/{done['id']}/result"
    small = client.get(f"{url}.jpg?width=100&quality=30")
    assert PIL.Image.open(io.BytesIO(small.content)).size == (100, 67)
    assert "filename*=utf-8''small%20one-100px.jpg" in small.headers["content-disposition"]
    better = client.get(f"{url}.jpg?width=100&quality=95")
    assert len(better.content) > 1.5 * len(small.content)
    told = client.head(f"{url}.jpg?width=100&quality=30")  # as the page asks for the size
    assert int(told.headers["content-length"]) == len(small.content)
    whole, wide = client.get(f"{url}.png"), client.get(f"{url}.png?width=5000")
    assert wide.content == whole.content  # nothing is enlarged
    full = np.asarray(PIL.Image.open(io.BytesIO(whole.content)), np.float64)
    half = client.get(f"{url}.png?width=96")
    pixels = np.asarray(PIL.Image.open(io.BytesIO(half.content)), np.float64)
    assert np.abs(pixels - full.reshape(64, 2, 96, 2, 3).mean(axis=(1, 3))).max() <= 0.51
    for query in ("width=0", "width=x", "quality=101", "quality=-1", "width=1e3"):
        assert "must be a whole number" in refused(client.get(f"{url}.jpg?{query}"), 400)


@pytest.mark.slow
def test_the_map_and_the_report_come_as_files(
    client: TestClient, done: dict[str, Any], photo: bytes, reference: bytes
) -> None:
    drawn = client.get(f"/api/jobs/{done['id']}/provenance.png")
    assert "small%20one-map.png" in drawn.headers["content-disposition"]
    upscaler = Upscaler.load(threads=1)
    upscaler.set_reference([reference])
    expected = upscaler.upscale(photo, scale=2).map()
    assert np.array_equal(PIL.Image.open(io.BytesIO(drawn.content)), expected)
    report = client.get(f"/api/jobs/{done['id']}/report.json")
    assert "small%20one-report.json" in report.headers["content-disposition"]
    assert report.json() == {"input": "small one.png", **done["report"]}


def test_a_page_that_is_loaded_again_gets_its_photos_back(
    client: TestClient, photo: bytes, reference: bytes
) -> None:
    id = client.post("/api/check", files=files(photo, reference)).json()["id"]
    job = client.get(f"/api/jobs/{id}").json()
    assert job["names"] == {"photo": "small one.png", "reference-1": "sharp 1.jpg"}
    for part, data in (("photo", photo), ("reference-1", reference)):
        got = client.get(f"/api/jobs/{id}/uploads/{part}")
        assert got.content == data
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["content-disposition"].startswith("attachment")
    for part in ("reference-2", "photo.jpg", "..%2Flock", "result.png"):
        refused(client.get(f"/api/jobs/{id}/uploads/{part}"), 404)


@pytest.mark.slow
def test_looks_and_models_are_those_of_the_library(
    client: TestClient, photo: bytes, reference: bytes, tmp_path: Path
) -> None:
    for model, look in (("ssen-tiny", "true"), ("auto", "crisp"), ("detail-transfer", "true")):
        form = {"scale": "2", "model": model, "look": look}
        job = client.post("/api/jobs", data=form, files=files(photo, reference)).json()
        report = wait(client, job["id"], "done", "failed")["report"]
        upscaler = Upscaler.load(model, look=look, threads=1)
        upscaler.set_reference([reference])
        own = upscaler.upscale(photo, scale=2)
        assert (report["model"], report["look"]) == (own.report["model"], look)
        own.save(tmp_path / "own.png")
        got = client.get(f"/api/jobs/{job['id']}/result.png")
        assert got.content == (tmp_path / "own.png").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("format", OUTPUT_FORMATS)
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
    client: TestClient, manager: JobManager, reference: bytes
) -> None:
    large = encoded(imresize(facade(3), size=(450, 600)))
    first = client.post("/api/jobs", files=files(large, reference)).json()
    second = client.post("/api/jobs", files=files(large)).json()
    wait(client, first["id"], "working")
    assert wait(client, second["id"], "waiting")["before_you"] == 1
    process = manager.upscale_worker.process
    folder = manager.jobs[first["id"]].folder
    assert folder.exists()
    started = time.monotonic()
    assert client.delete(f"/api/jobs/{second['id']}").status_code == 204
    assert process is not None
    assert process.returncode is None  # a waiting job is only struck off
    assert client.delete(f"/api/jobs/{first['id']}").status_code == 204
    assert time.monotonic() - started < 10
    assert process.returncode is not None
    assert not folder.exists()
    assert "has expired" in refused(client.get(f"/api/jobs/{first['id']}"), 404)
    tiny = encoded(np.full((8, 8, 3), 90, np.uint8))
    after = client.post("/api/jobs", files=files(tiny)).json()
    assert wait(client, after["id"], "done")["report"]["output_size"] == [32, 32]


# ---- what is refused


def test_a_bad_photo_is_named_as_the_user_does(
    client: TestClient, manager: JobManager, photo: bytes
) -> None:
    before = set(manager.jobs)
    bad = client.post("/api/check", files=files(photo, b"Dear diary, today I wrote a text."))
    assert refused(bad, 422) == "sharp 1.jpg holds text, not a picture."
    assert bad.json()["part"] == "reference-1"
    bad = client.post("/api/check", files=files(photo[:900], photo))
    assert refused(bad, 422).startswith("small one.png is damaged or cut short")
    assert bad.json()["part"] == "photo"
    assert set(manager.jobs) == before  # their files are gone


def test_a_photo_of_too_many_pixels_is_refused(client: TestClient) -> None:
    wide = encoded(np.zeros((2001, 1000, 3), np.uint8))
    bad = client.post("/api/check", files=files(wide, wide))
    words = refused(bad, 422)
    assert words.startswith("small one.png has 1000 x 2001 pixels")
    assert "--" not in words  # a page has no flags
    assert bad.json()["part"] == "photo"


def test_a_photo_too_large_to_be_enlarged_may_keep_its_size(client: TestClient) -> None:
    wide = encoded(np.full((1100, 1000, 3), 90, np.uint8))
    job = client.post("/api/jobs", data={"scale": "2"}, files=files(wide)).json()
    told = wait(client, job["id"], "done", "failed")["error"]
    assert "1000 x 1100 pixels is too large for 2 times its size here; choose the same" in told
    job = client.post("/api/jobs", data={"scale": "1"}, files=files(wide)).json()
    report = wait(client, job["id"], "done", "failed")["report"]
    assert report["output_size"] == [1000, 1100]
    less = encoded(np.full((600, 900, 3), 90, np.uint8))
    job = client.post("/api/jobs", data={"scale": "4"}, files=files(less)).json()
    assert "choose 2x, or" in wait(client, job["id"], "done", "failed")["error"]
    checked = client.post("/api/check", files=files(wide)).json()
    assert checked["scale"] == 1
    assert checked["advice"] == "Your photo has all the detail that its size can hold."


def test_a_failed_job_says_why_and_keeps_no_files(client: TestClient, manager: JobManager) -> None:
    job = client.post("/api/jobs", files=files(b"\x89PNG but not really")).json()
    failed = wait(client, job["id"], "failed")
    assert "small one.png" in failed["error"]
    assert not manager.jobs[job["id"]].folder.exists()
    refused(client.post("/api/jobs", files={"check": (None, job["id"])}), 404)
    refused(client.get(f"/api/jobs/{job['id']}/result.png"), 409)


def test_uploads_have_a_limit_told_beforehand(client: TestClient, photo: bytes) -> None:
    assert client.get("/api/info").json()["limits"]["upload"] == LIMITS.upload
    words = LIMITS.messages()["upload"]
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
        ("jobs", [("photo", b"x"), ("url", b"http://10.0.0.1/")], 400, "Unknown form field 'url'"),
    ],
)
def test_forms_that_cannot_be_used(
    path: str, form: list[tuple[str, bytes]], status: int, words: str, client: TestClient
) -> None:
    parts = [(name, (f"{name}.png", data)) for name, data in form]
    assert words in refused(client.post(f"/api/{path}", files=parts), status)


def test_other_requests_that_cannot_be_used(client: TestClient, photo: bytes) -> None:
    bad = client.post("/api/jobs", data={"scale": "5"}, files=files(photo))
    assert "1, 2, 3 or 4" in refused(bad, 400)
    bad = client.post("/api/jobs", data={"strict": "maybe"}, files=files(photo))
    assert "strict must be no or yes." in refused(bad, 400)
    for model in ("/etc/passwd.onnx", "ssen-crisp", ""):
        bad = client.post("/api/jobs", data={"model": model}, files=files(photo))
        assert "model must be auto, detail-transfer, ssen, " in refused(bad, 400)
    bad = client.post("/api/jobs", data={"model": "ssen-tiny", "look": "crisp"}, files=files(photo))
    assert "ssen-tiny has no crisp look" in refused(bad, 400)
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
    assert is_own_host(host) is known


def test_a_full_queue_says_so(tmp_path: Path, photo: bytes) -> None:
    workers = WorkerProcess({**WORKER, "model": "auto"}), WorkerProcess({**WORKER, "model": "auto"})
    full = JobManager(tmp_path, *workers, Limits(waiting=0))
    client = TestClient(make_app(full), base_url=HOST)  # no lifespan: no worker works
    assert "Too many photos" in refused(client.post("/api/jobs", files=files(photo)), 429)
    each = JobManager(tmp_path, *workers, Limits(waiting_each=0))
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
        composite = upscaler.check(photo).composite
        assert composite is not None
        used.append(composite.matched)
    assert used == [True, True, False]
    refused(client.get("/api/examples/..%2Fexample_photos.py"), 404)
    assert set(example_photos.PHOTOS) >= {one["photo"] for one in example_photos.EXAMPLES}
