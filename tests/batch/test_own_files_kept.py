"""A batch reads what is the user's and writes over none of it, however its folders lie."""

from __future__ import annotations

import csv
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from batches import outputs, photo, records, run
from refsr.batch.conflicts import mark_conflicts
from refsr.batch.finished import fingerprints
from refsr.batch.jobs import BatchJob, find_references, plan_jobs, with_unique_outputs
from refsr.batch.journal import JOURNAL, own_files, read_records
from refsr.batch.options import BatchOptions
from refsr.cli import main
from refsr.errors import DataError
from refsr.image import atomic
from refsr.image.photo import load_photo
from refsr.registration.pool import build_pool
from refsr.weights import models

CHEAP = ["--model", "detail-transfer", "--workers", "1"]
Read = pytest.CaptureFixture[str]


def failures(out: Path) -> dict[str, str]:
    found = [one for one in records(out) if one["status"] == "failed"]
    return {Path(str(one["input"])).name: str(one["error"]) for one in found}


def contents(folder: Path, names: tuple[str, ...]) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def test_a_list_never_overwrites_the_photos_of_other_rows(tmp_path: Path) -> None:
    names = ("a.jpg", "b.png", "c.jpg", "r.report.json.png")
    for seed, name in enumerate(names):
        photo(tmp_path / name, seed=seed)
    lists = tmp_path / "jobs.csv"
    lists.write_text(
        "input,reference,output\na.jpg,c.jpg,b.png\nb.png,c.jpg,d.png\na.jpg,,c.JPG\na.jpg,,e.png\n"
    )
    before = contents(tmp_path, names)
    for _ in range(2):
        assert run(lists, "-o", tmp_path, *CHEAP) == 1
        assert contents(tmp_path, names) == before
        assert {"d.png", "e.png"} <= outputs(tmp_path)
        assert load_photo(tmp_path / "d.png").height == 32, "of the photo, not of a result"
    failed = [str(one["error"]) for one in records(tmp_path) if one["status"] == "failed"]
    assert failed[:2] == [
        f"{tmp_path / 'b.png'} is an input photo; choose another output folder.",
        f"{tmp_path / 'c.JPG'} is a reference; choose another output folder.",
    ]
    chained = tmp_path / "more.csv"
    chained.write_text("input,output\nd.png,f.png\n")
    assert run(chained, "-o", tmp_path, *CHEAP, "--own-results") == 1
    assert "d.png is a result of an earlier batch in this folder" in failures(tmp_path)["d.png"]


def test_maps_and_reports_are_checked_against_all_photos_and_the_album(tmp_path: Path) -> None:
    out, refs = tmp_path / "out", tmp_path / "out" / "refs"
    a, b = photo(tmp_path / "a.png"), photo(out / "a.map.png")
    album = [photo(refs / "x.map.png")]
    jobs = [BatchJob(a, out / "a.png"), BatchJob(b, out / "b.png"), BatchJob(a, refs / "x.png")]
    marked = mark_conflicts(jobs, BatchOptions(maps=True), album)
    assert [job.problem for job in marked] == [
        f"{out / 'a.map.png'} is an input photo; choose another output folder.",
        "",
        f"{refs / 'x.map.png'} is a file that the batch reads; choose another output folder.",
    ]
    assert not any(job.problem for job in mark_conflicts(jobs, BatchOptions(), album))


@pytest.mark.posix
def test_a_photo_behind_a_link_is_not_overwritten_either(tmp_path: Path) -> None:
    a = photo(tmp_path / "in" / "a.png")
    (tmp_path / "out").symlink_to(tmp_path / "in")
    assert run(tmp_path / "in", "-o", tmp_path / "out", *CHEAP) == 1
    assert "is an input photo" in failures(tmp_path / "out")["a.png"]
    assert load_photo(a).height == 8


@pytest.mark.parametrize("flags", [[], ["--resume"], ["--own-results"]])
def test_a_batch_into_its_own_folder_can_be_repeated(tmp_path: Path, flags: list[str]) -> None:
    for name in ("a.jpg", "sub/b.jpg"):
        photo(tmp_path / name)
    wanted = {"a.png", "sub/b.png", "a.map.png", "sub/b.map.png"}
    for _ in range(3):
        assert run(tmp_path, "-o", tmp_path, *CHEAP, "--maps", *flags) == 0
        assert outputs(tmp_path) == wanted | {"a.jpg", "sub/b.jpg"}
        assert load_photo(tmp_path / "a.png").height == 32
    moved = tmp_path.rename(tmp_path.with_name(f"{tmp_path.name}-moved"))
    assert run(moved, "-o", moved, *CHEAP, *flags) == 0
    assert outputs(moved) == wanted | {"a.jpg", "sub/b.jpg"}


PLACES = [("in", "in/out", None), ("in", "refs/out", "refs"), ("refs/in", "out", "refs")]
PLACES += [("in", "refs", "refs"), ("in/sub", "in", None), ("refs/in", "refs/out", "refs")]
PLACES += [("in", "in/refs/out", "in/refs"), ("in", "out", "in")]


@pytest.mark.parametrize(("source", "out", "refs"), PLACES)
def test_folders_inside_each_other_keep_apart(
    source: str, out: str, refs: str | None, tmp_path: Path
) -> None:
    """However they lie: no result is an input or a reference, no photo its own partner."""
    photos = [photo(tmp_path / source / name, seed=3) for name in ("a.jpg", "sub/b.jpg")]
    sharp = [photo(tmp_path / refs / "sharp.jpg", 32)] if refs and refs != source else []
    album = None if refs is None else tmp_path / refs
    command = [tmp_path / source, "-o", tmp_path / out, *CHEAP, "--own-results"]
    command += [] if album is None else ["--refs", album]
    for number in range(2):
        assert run(*command, *(["--resume"] if number else [])) == 0
        jobs = plan_jobs(tmp_path / source, tmp_path / out, album, "png")
        assert sorted(job.input for job in jobs) == photos
        assert all(job.input not in job.references for job in jobs)
        assert {job.output for job in jobs} == own_files(tmp_path / out)
        if album is not None:
            found = find_references(album, tmp_path / source, tmp_path / out)
            assert found == (sharp or photos)
    assert len(records(tmp_path / out)) == 2, "all finished at the first run"


def test_a_photo_is_not_searched_for_itself(tmp_path: Path) -> None:
    from refsr.batch.worker import without_itself

    album = [photo(tmp_path / name, 32, seed) for seed, name in enumerate(("a.png", "b.png"))]
    pool = build_pool(album, 10**6)
    kept = without_itself(pool, tmp_path / "." / "a.png")
    assert kept is not None
    assert [one.name for one in kept.thumbnails] == ["b.png"]
    assert without_itself(kept, tmp_path / "b.png") is None


def test_nothing_is_lost_from_the_journal_before_all_is_checked(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    photo(source / "a.png")
    assert run(source, "-o", out, *CHEAP) == 0
    before = (out / JOURNAL).read_bytes()
    (tmp_path / "refs").mkdir()
    (tmp_path / "refs" / "broken.jpg").write_bytes(b"no photo")
    for flags in (["--model", "no-such"], ["--refs", tmp_path / "refs"], ["--quality", 0]):
        assert run(source, "-o", out, *CHEAP, *flags) == 1
        assert (out / JOURNAL).read_bytes() == before
    assert run(source, "-o", out, *CHEAP, "--resume") == 0
    assert (out / JOURNAL).read_bytes() == before, "still finished"
    assert run(source, "-o", out, *CHEAP) == 0
    assert (out / JOURNAL).read_bytes().startswith(before)
    assert [one["status"] for one in read_records(out / JOURNAL)] == ["done", "new batch", "done"]


ODD_LINES = ["[" * 100_000, "[]", "1" * 5000, '{"output": ["a"]}', '{"name": 3}', "null", '"a"']
ODD_LINES += [
    '{"name": "a.png", "status": "done", "beside": 5}',
    '{"output": "\\u0000"}',
    "\x00\xff",
]


def test_a_damaged_journal_costs_work_and_nothing_else(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    photo(source / "a.png")
    photo(source / "b.png", seed=1)
    assert run(source, "-o", out, *CHEAP) == 0
    a, b = (out / JOURNAL).read_text().splitlines()
    (out / JOURNAL).write_text(
        "\n".join([*ODD_LINES, a, '{"name": "b.png", "status": "done"', b[:50]])
    )
    before = {name: (out / name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    assert run(source, "-o", out, *CHEAP, "--resume") == 0
    after = {name: (out / name).stat().st_mtime_ns for name in ("a.png", "b.png")}
    assert [name for name in before if before[name] != after[name]] == ["b.png"]


def test_resume_makes_maps_where_they_are_missing_and_only_there(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    photo(source / "a.png")
    assert run(source, "-o", out, *CHEAP, "--maps", "--reports", "--cache", tmp_path / "cache") == 0
    before = {name: (out / name).stat().st_mtime_ns for name in outputs(out)}
    for flags in ([], ["--maps"], ["--reports"], ["--quality", 50], ["--maps", "--reports"]):
        assert run(source, "-o", out, *CHEAP, "--resume", *flags) == 0
        assert {name: (out / name).stat().st_mtime_ns for name in outputs(out)} == before, flags
    (out / "a.map.png").unlink()
    assert run(source, "-o", out, *CHEAP, "--resume", "--maps") == 0
    assert outputs(out) == set(before)
    assert run(source, "-o", out, *CHEAP, "--format", "jpg", "--quality", 50) == 0
    low = (out / "a.jpg").stat().st_size
    assert run(source, "-o", out, *CHEAP, "--format", "jpg", "--resume") == 0
    assert (out / "a.jpg").stat().st_size > low, "another quality is another result"


STOPPED = """
import os, signal, sys, threading, time
from refsr.batch import local_engine
from refsr.cli import main

run_job = local_engine.run_job
def slow(*arguments):
    record = run_job(*arguments)  # ends, written, while the main thread is interrupted
    if not stopped.is_set():
        stopped.set()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
    return record
stopped = threading.Event()
local_engine.run_job = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.posix
def test_what_finishes_during_ctrl_c_is_in_the_journal(tmp_path: Path) -> None:
    for number in range(4):
        photo(tmp_path / "in" / f"{number}.png", seed=number)
    out = tmp_path / "out"
    flags = ["--model", "detail-transfer", "--workers", "2"]
    command = [sys.executable, "-c", STOPPED, "batch", tmp_path / "in", "-o", out, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    noted = {Path(str(one["output"])).name for one in records(out)}
    assert noted == outputs(out)
    assert 1 <= len(noted) <= 3
    assert f"{len(noted)} of 4 photos are finished; continue with --resume" in done.stderr


@pytest.mark.posix
def test_a_full_disk_ends_the_batch_at_once(
    tmp_path: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        photo(tmp_path / "in" / f"{number}.png", seed=number)
    out = tmp_path / "out"
    works: list[Path] = []

    def full(temporary: Path, target: Path) -> None:
        works.append(target)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic, "_replace", full)
    assert main(["batch", str(tmp_path / "in"), "-o", str(out), *CHEAP]) == 1
    words = capfd.readouterr().err.splitlines()
    assert words == [
        f"failed: {out / '0.png'} cannot be written: the disk is full.",
        f"refsr: The disk of {out} is full; make room and continue with --resume.",
    ]
    assert len(works) == 1, "the others are not computed"
    assert outputs(out) == set()


@pytest.mark.posix
def test_a_disk_that_is_full_already_is_known_before_the_work(
    tmp_path: Path, capfd: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "disk"
    out.mkdir()
    photo(tmp_path / "in" / "0.png")
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(out)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        (out / "filler").write_bytes(b"x" * 12_000)
        (out / JOURNAL).write_text("{}")  # takes the last block
        monkeypatch.setattr(
            "refsr.batch.local_engine.load_upscaler", lambda *_: pytest.fail("work has begun")
        )
        assert run(tmp_path / "in", "-o", out, *CHEAP) == 1
        assert "the disk is full" in capfd.readouterr().err
    finally:
        subprocess.run(["umount", str(out)], check=True)


def test_the_start_takes_time_in_proportion_and_reads_models_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One output name: 4,000 jobs took 85 seconds; each model was read for each job."""

    def seconds(count: int) -> float:
        jobs = [BatchJob(Path("in/a.jpg"), Path("out/a.png")) for _ in range(count)]
        started = time.process_time()
        planned = with_unique_outputs(jobs, "png")
        taken = time.process_time() - started
        assert len({job.output for job in planned}) == count
        return taken

    seconds(1000)
    assert seconds(16_000) < 8 * 4 * seconds(4_000) / 4 + 0.2  # linear: 4 times; quadratic: 16
    reads: list[object] = []
    find = models.find_model
    monkeypatch.setattr(models, "find_model", lambda name: reads.append(name) or find(name))
    album = [photo(tmp_path / "a.png")]
    fingerprint = fingerprints(BatchOptions(), album)
    keys = {fingerprint(BatchJob(Path(f"{n}"), Path(f"{n}.png"), search=True)) for n in range(3)}
    assert reads == ["ssen", "ssen-robust"]
    assert len(keys) == 1
    with (tmp_path / "many.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("input", "reference"), *(("a.png", f"r{n};s{n}") for n in range(20_000))]
        )
    started = time.process_time()
    (job,) = plan_jobs(tmp_path / "many.csv", tmp_path / "out", None, "png")
    assert len(job.references) == 40_000
    assert time.process_time() - started < 10, "20,000 rows of one input: quadratic takes minutes"


TABLE = 'Input;Reference ;OUTPUT\na.png;r.png;b.png\nä.png;"r.png;s.png";\n'
PLAIN = TABLE.replace('"r.png;s.png"', "r.png|s.png")
FILES = {
    "semicolons": TABLE.encode(),
    "byte order mark": TABLE.encode("utf-8-sig"),
    "utf-16": TABLE.encode("utf-16"),
    "utf-16 be": b"\xfe\xff" + TABLE.encode("utf-16-be"),
    "tabs": PLAIN.replace(";", "\t").replace("|", ";").encode(),
    "commas": PLAIN.replace(";", ",").replace("|", ";").encode(),
    "excel": b"sep=;\r\n" + TABLE.replace("\n", "\r\n").encode(),
}


@pytest.mark.parametrize("kind", FILES)
def test_lists_as_spreadsheets_write_them(kind: str, tmp_path: Path) -> None:
    lists, out = tmp_path / "jobs.csv", tmp_path / "out"
    lists.write_bytes(FILES[kind])
    a, umlaut = plan_jobs(lists, out, None, "png")
    assert a == BatchJob(tmp_path / "a.png", out / "b.png", (tmp_path / "r.png",))
    assert umlaut.input == tmp_path / "ä.png"
    assert umlaut.references == (tmp_path / "r.png", tmp_path / "s.png")
    assert umlaut.output == out / "ä.png"


def test_what_is_no_list_is_told_so(tmp_path: Path) -> None:
    lists = tmp_path / "jobs.csv"
    lists.write_bytes(TABLE.encode("cp1252"))
    with pytest.raises(DataError, match="not in UTF-8; save it as 'CSV UTF-8'"):
        plan_jobs(lists, tmp_path / "out", None, "png")
    for name in ("a.png", "no_ending"):
        (tmp_path / name).write_bytes(photo(tmp_path / "b.png").read_bytes())
        with pytest.raises(DataError, match=f"{name} is a photo; upscale a single one with `refsr"):
            plan_jobs(tmp_path / name, tmp_path / "out", None, "png")


def test_a_format_that_cannot_hold_the_result_is_known_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numpy as np
    import PIL.Image

    (tmp_path / "in").mkdir()
    PIL.Image.fromarray(np.zeros((4, 4200, 3), np.uint8)).save(tmp_path / "in" / "wide.png")
    monkeypatch.setattr(
        "refsr.upscaler.estimate_blindly", lambda *_: pytest.fail("the long job has begun")
    )
    assert run(tmp_path / "in", "-o", tmp_path / "out", *CHEAP, "--format", "webp") == 1
    assert "16800 x 16 pixels does not fit into WEBP" in failures(tmp_path / "out")["wide.png"]
